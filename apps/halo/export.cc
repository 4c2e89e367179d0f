#include <filesystem>

#include "format/gguf_architecture.h"
#include "format/gguf_export.h"
#include "halo/commands.h"
#include "halo/common.h"
#include "halo/models.h"
#include "halo/progress.h"

namespace onebit::halo {
namespace {

struct ExportArguments {
  std::string model, output;
  std::string type = "tq2_0", embedding = "bf16", architecture;
};

gguf::Type type_by_name(std::string_view name) {
  for (const auto type :
       {gguf::Type::kTq1_0, gguf::Type::kTq2_0, gguf::Type::kQ8_0, gguf::Type::kBf16, gguf::Type::kF16})
    if (gguf::info_of(type).name == name) return type;
  return gguf::Type::kF32;
}

Status export_model(const ExportArguments& a) {
  ASSIGN_OR_RETURN(const auto path, model_path(a.model));
  std::error_code none;
  if (std::filesystem::equivalent(path, a.output, none))
    return fail("{}: is the model itself; name another file with -o", a.output);
  ASSIGN_OR_RETURN(const auto file, H1bFile::open(path));
  GgufOptions options;
  options.ternary = type_by_name(a.type);
  options.embedding = type_by_name(a.embedding);
  options.architecture = a.architecture;
  GgufSummary summary;
  {
    ProgressBar bar;
    ASSIGN_OR_RETURN(summary,
                     export_gguf(file, a.output, options, [&](uint64_t done, uint64_t total, std::string_view tensor) {
                       bar.update(done, total, tensor);
                     }));
  }
  if (!summary.caution.empty()) fmt::print(stderr, "halo: {}\n", summary.caution);
  for (const auto& note : summary.notes) fmt::print(stderr, "halo: {}\n", note);
  fmt::print("{}: {:.1f} MB\n", a.output, static_cast<double>(std::filesystem::file_size(a.output)) / 1e6);
  return {};
}

}  // namespace

void add_export(CLI::App& app, int& exit_code) {
  auto a = std::make_shared<ExportArguments>();
  auto* command = app.add_subcommand("export", "Write a model as GGUF, for other programs and back");
  command->add_option("-m,--model", a->model, "Model: a file (.h1b) or a name; the bundled one where absent")
      ->type_name("MODEL");
  command->add_option("-o,--output", a->output, "The file to write")->required()->type_name("FILE");
  command
      ->add_option("--type", a->type, "Of the ternary products: tq1_0 (1.69 bits a weight), tq2_0 (2.06), f16 or bf16")
      ->check(CLI::IsMember({"tq1_0", "tq2_0", "f16", "bf16"}))
      ->capture_default_str();
  command
      ->add_option("--embedding", a->embedding,
                   "Of the embedding table and an untied head: bf16, q8_0 (half as big, rounded), f16 or f32")
      ->check(CLI::IsMember({"q8_0", "bf16", "f16", "f32"}))
      ->capture_default_str();
  command
      ->add_option(
          "--architecture", a->architecture,
          "The name that readers know the model by, the first that fits where absent: " + gguf_architecture_names())
      ->type_name("NAME");
  command->footer(
      "'halo convert' makes the same model of the file again; what would not be the same is told. llama.cpp's "
      "architecture\n"
      "bitnet gates with SiLU instead of a squared ReLU, so its answers to models that have that gate differ; its "
      "speed does\n"
      "not. bitnet-b1.58 is what bitnet.cpp reads.");
  command->callback([a, &exit_code] {
    if (auto status = export_model(*a); !status) exit_code = report(status.error());
  });
}

}  // namespace onebit::halo
