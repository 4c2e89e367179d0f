// make_hf_folder FOLDER: a Hugging Face model folder of some megabytes, for tests that convert one.
#include <cstdio>
#include <filesystem>

#include "tests/support/hf_folder.h"
#include "tests/support/tiny_model.h"

int main(int argc, char** argv) {
  using namespace onebit;
  if (argc != 2) {
    std::fprintf(stderr, "usage: make_hf_folder FOLDER\n");
    return 2;
  }
  auto config = test::tiny_config();
  config.layers = 4;
  config.hidden = 256;
  config.heads = 4;
  config.head_dim = 64;
  config.kv_heads = 2;
  config.ffn = 512;
  config.vocabulary = 2048;
  std::filesystem::create_directories(argv[1]);
  test::write_hf_folder(argv[1], test::make_hf_model(config, TernaryStorage::kPackedMultiply).folder);
  return 0;
}
