// fuzz_make_seeds FOLDER: writes FOLDER/h1b_fuzz/* and FOLDER/safetensors_fuzz/*.
#include <cstdio>
#include <filesystem>

#include "format/synth.h"
#include "tests/fuzz/paged_file.h"
#include "tests/support/hf_folder.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tiny_model.h"

int main(int argc, char** argv) {
  using namespace onebit;
  if (argc != 2) {
    std::fprintf(stderr, "usage: fuzz_make_seeds FOLDER\n");
    return 2;
  }
  const std::string out = argv[1];
  for (const char* target : {"/h1b_fuzz", "/safetensors_fuzz"}) std::filesystem::create_directories(out + target);

  const test::TempFolder folder;
  for (const auto& [name, packings, flags] :
       {std::tuple{"t2_q8", ModelPackings{Packing::kT2, Packing::kQ8}, fuzz::kRepairChecksums},
        std::tuple{"t1_6_bf16", ModelPackings{Packing::kT1_6, Packing::kBf16}, fuzz::kRepairChecksums},
        std::tuple{"checked", ModelPackings{Packing::kT2, Packing::kF16}, uint8_t{0}}}) {
    const auto path = folder.path("model.h1b");
    if (const auto status = write_synthetic_model(path, test::tiny_parts(test::least_config()), packings, 1); !status) {
      std::fprintf(stderr, "%s\n", status.error().message.c_str());
      return 1;
    }
    test::write_file(out + "/h1b_fuzz/" + name, fuzz::fold(test::read_file(path), flags));
  }

  const auto tensors = test::safetensors_file({{"a", test::f32_tensor({2, 1}, {1, 2})},
                                               {"b", test::bf16_tensor({3}, {1, 2, 3})},
                                               {"c", {"U8", {4, 1}, "abcd"}},
                                               {"d", {"I64", {1}, "12345678"}}});
  test::write_file(out + "/safetensors_fuzz/length_given", '\0' + tensors);
  test::write_file(out + "/safetensors_fuzz/length_made",
                   '\1' + tensors.substr(8, tensors.find('\0', 8) - 8) + '\0' + tensors.substr(8));
  return 0;
}
