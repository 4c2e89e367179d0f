#include "format/synth.h"

#include <algorithm>
#include <filesystem>

#include "halo/commands.h"
#include "halo/common.h"
#include "halo/models.h"
#include "halo/progress.h"

namespace onebit::halo {
namespace {

struct SynthArguments {
  std::string preset;
  std::string output;
  std::string tokenizer_from;
  std::string packing = "t1_6";
  std::string head = "q8";
  uint64_t seed = 1;
  std::optional<uint32_t> layers, hidden, heads, kv_heads, head_dim, ffn, vocabulary, context;
};

Status synth(const SynthArguments& a) {
  ModelParts parts;
  ModelPackings packings;
  ASSIGN_OR_RETURN(packings.ternary, packing_by_name(a.packing));
  ASSIGN_OR_RETURN(packings.head, packing_by_name(a.head));
  const auto& presets = synth_presets();
  const auto preset = std::find_if(presets.begin(), presets.end(), [&](const auto& p) { return a.preset == p.name; });
  if (preset == presets.end()) return fail("unknown preset '{}'", a.preset);
  parts.config = preset->config;
  packings.synthetic_scale_group = preset->scale_group;
  auto& c = parts.config;
  for (const auto& [given, field] : {std::pair{&a.layers, &c.layers},
                                     {&a.hidden, &c.hidden},
                                     {&a.heads, &c.heads},
                                     {&a.kv_heads, &c.kv_heads},
                                     {&a.head_dim, &c.head_dim},
                                     {&a.ffn, &c.ffn},
                                     {&a.vocabulary, &c.vocabulary},
                                     {&a.context, &c.context}})
    if (given->has_value()) *field = **given;
  RETURN_IF_ERROR(validate(c));
  ASSIGN_OR_RETURN(const auto base_path, model_path(a.tokenizer_from));
  ASSIGN_OR_RETURN(const auto base_file, H1bFile::open(base_path));
  ASSIGN_OR_RETURN(const auto base, base_file.tokenizer());
  ASSIGN_OR_RETURN(parts.tokenizer, resize_tokenizer(base, c.vocabulary));
  parts.provenance = {
      {"name", fmt::format("synthetic {}", a.preset)},
      {"source", fmt::format("seeded random weights, seed {}: for speed and tests, not for answers", a.seed)},
      {"converter", converter_name()},
      {"date", iso_date()}};
  {
    ProgressBar bar;
    RETURN_IF_ERROR(write_synthetic_model(
        a.output, parts, packings, a.seed,
        [&](uint64_t done, uint64_t total, std::string_view tensor) { bar.update(done, total, tensor); }));
  }
  fmt::print("{}: {} layers, hidden {}, vocabulary {}, {:.1f} MB\n", a.output, c.layers, c.hidden, c.vocabulary,
             static_cast<double>(std::filesystem::file_size(a.output)) / 1e6);
  return {};
}

}  // namespace

void add_synth(CLI::App& app, int& exit_code) {
  auto a = std::make_shared<SynthArguments>();
  auto* command = app.add_subcommand("synth", "A model of a real shape with seeded random weights, for speed work");
  std::vector<std::string> names;
  for (const auto& preset : synth_presets()) names.emplace_back(preset.name);
  command
      ->add_option("preset", a->preset,
                   "Whose shape: bitnet-2b-4t is microsoft/bitnet-b1.58-2B-4T's, tiny the bundled model's")
      ->required()
      ->check(CLI::IsMember(names));
  command->add_option("-o,--output", a->output, "The file to write")->required()->type_name("FILE");
  command->add_option("--packing", a->packing, "Ternary weights: t1_6, t2, or s1_25 (3:4 sparse ones)")
      ->check(CLI::IsMember({"t2", "t1_6", "s1_25"}))
      ->capture_default_str();
  command->add_option("--head", a->head, "Output layer: q8, f16 or bf16")
      ->check(CLI::IsMember({"q8", "f16", "bf16"}))
      ->capture_default_str();
  command->add_option("--seed", a->seed, "The same seed gives the same weights")->capture_default_str();
  const char* group = "Shape, instead of the preset's";
  command->add_option("--layers", a->layers)->group(group);
  command->add_option("--hidden", a->hidden, "Width of the residual stream")->group(group);
  command->add_option("--heads", a->heads, "Query heads")->group(group);
  command->add_option("--kv-heads", a->kv_heads, "Key/value heads")->group(group);
  command->add_option("--head-dim", a->head_dim)->group(group);
  command->add_option("--ffn", a->ffn, "Width of the feed-forward layer")->group(group);
  command->add_option("--vocabulary", a->vocabulary)->group(group);
  command->add_option("--context", a->context, "Positions")->group(group);
  command->add_option("--tokenizer-from", a->tokenizer_from, "Model file whose tokenizer is extended; the bundled one")
      ->type_name("FILE");
  command->callback([a, &exit_code] {
    if (auto status = synth(*a); !status) exit_code = report(status.error());
  });
}

}  // namespace onebit::halo
