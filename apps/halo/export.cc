#include <filesystem>

#include "format/gguf_export.h"
#include "halo/commands.h"
#include "halo/common.h"
#include "halo/models.h"
#include "halo/progress.h"

namespace onebit::halo {
namespace {

struct ExportArguments {
  std::string model, output;
  std::string type = "tq2_0", embedding = "q8_0";
};

Status export_model(const ExportArguments& a) {
  ASSIGN_OR_RETURN(const auto path, model_path(a.model));
  ASSIGN_OR_RETURN(const auto file, H1bFile::open(path));
  GgufOptions options;
  options.ternary = a.type == "tq1_0" ? GgufTernary::kTq1_0 : GgufTernary::kTq2_0;
  options.embedding = a.embedding == "bf16" ? GgufEmbedding::kBf16 : GgufEmbedding::kQ8_0;
  {
    ProgressBar bar;
    RETURN_IF_ERROR(export_gguf(file, a.output, options, [&](uint64_t done, uint64_t total, std::string_view tensor) {
      bar.update(done, total, tensor);
    }));
  }
  fmt::print("{}: {:.1f} MB\n", a.output, static_cast<double>(std::filesystem::file_size(a.output)) / 1e6);
  return {};
}

}  // namespace

void add_export(CLI::App& app, int& exit_code) {
  auto a = std::make_shared<ExportArguments>();
  auto* command =
      app.add_subcommand("export", "Write a model as GGUF, for speed comparisons with programs that read it");
  command->add_option("-m,--model", a->model, "Model: a file (.h1b) or a name; the bundled one where absent")
      ->type_name("MODEL");
  command->add_option("-o,--output", a->output, "The file to write")->required()->type_name("FILE");
  command->add_option("--type", a->type, "Of the ternary products: tq1_0 (1.69 bits a weight) or tq2_0 (2.06)")
      ->check(CLI::IsMember({"tq1_0", "tq2_0"}))
      ->capture_default_str();
  command->add_option("--embedding", a->embedding, "Of the embedding table and an untied head: q8_0 or bf16")
      ->check(CLI::IsMember({"q8_0", "bf16"}))
      ->capture_default_str();
  command->footer(
      "The ternary weights are exact. llama.cpp's architecture for such files gates with SiLU instead of this model's\n"
      "squared ReLU, so its answers differ; its speed does not.");
  command->callback([a, &exit_code] {
    if (auto status = export_model(*a); !status) exit_code = report(status.error());
  });
}

}  // namespace onebit::halo
