// fuzz_make_seeds FOLDER: writes FOLDER/gguf_fuzz/*, FOLDER/h1b_fuzz/* and FOLDER/safetensors_fuzz/*.
#include <cstdio>
#include <filesystem>

#include "format/gguf_export.h"
#include "format/synth.h"
#include "tests/fuzz/paged_file.h"
#include "tests/support/gguf_edit.h"
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
  for (const char* target : {"/gguf_fuzz", "/h1b_fuzz", "/safetensors_fuzz"})
    std::filesystem::create_directories(out + target);

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

  for (const auto& [name, architecture, type] :
       {std::tuple{"bitnet_f16", "bitnet", gguf::Type::kF16}, std::tuple{"llama_bf16", "llama", gguf::Type::kBf16}}) {
    const auto path = folder.path("model.h1b"), target = folder.path("model.gguf");
    auto config = test::least_config();
    config.norms.sub = std::string_view(name) == "bitnet_f16";
    GgufOptions options;
    options.architecture = architecture;
    options.ternary = type;
    const auto written = write_synthetic_model(path, test::tiny_parts(config), {}, 1);
    const auto model = written ? H1bFile::open(path) : tl::unexpected(written.error());
    const auto exported = model ? export_gguf(*model, target, options) : tl::unexpected(model.error());
    if (!exported) {
      std::fprintf(stderr, "%s\n", exported.error().message.c_str());
      return 1;
    }
    test::write_file(out + "/gguf_fuzz/" + name, test::read_file(target));
  }
  test::GgufParts blocks;  // one tensor of every type, and a value of most
  blocks.metadata = {{"general.architecture", test::gguf_value("qwen3")},
                     {"numbers", test::gguf_array(test::kGI32, 2, "12345678")},
                     {"texts", test::gguf_array({"a", "bc"})},
                     {"f64", test::gguf_value(test::kGF64, 0.5)}};
  for (const uint32_t type : {0u, 1u, 2u, 8u, 12u, 14u, 30u, 34u, 35u, 36u, 42u, 99u}) {
    const auto* info = gguf::find_type(type);
    const size_t bytes = info == nullptr ? 9 : 256 / info->block * info->block_bytes + info->tail_bytes;
    blocks.tensors.push_back({fmt::format("t{}", type), {256}, type, std::string(bytes, '\x15')});
  }
  test::write_file(out + "/gguf_fuzz/blocks", test::gguf_bytes(blocks));

  const auto tensors = test::safetensors_file({{"a", test::f32_tensor({2, 1}, {1, 2})},
                                               {"b", test::bf16_tensor({3}, {1, 2, 3})},
                                               {"c", {"U8", {4, 1}, "abcd"}},
                                               {"d", {"I64", {1}, "12345678"}}});
  test::write_file(out + "/safetensors_fuzz/length_given", '\0' + tensors);
  test::write_file(out + "/safetensors_fuzz/length_made",
                   '\1' + tensors.substr(8, tensors.find('\0', 8) - 8) + '\0' + tensors.substr(8));
  return 0;
}
