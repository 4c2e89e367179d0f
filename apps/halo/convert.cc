#include "format/import/convert.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "format/import/gguf_import.h"
#include "format/import/hf_tokenizer.h"
#include "halo/commands.h"
#include "halo/common.h"
#include "halo/convert.h"
#include "halo/progress.h"

namespace onebit::halo {
namespace {

/// The name of a layout, or a .json file that describes one.
Result<ChatChoice> read_chat_choice(const std::string& given) {
  if (!given.ends_with(".json")) {
    ASSIGN_OR_RETURN(const auto layout, chat_layout_by_name(given));
    return ChatChoice{layout};
  }
  ASSIGN_OR_RETURN(const auto text, read_text_file(given, size_t{1} << 20));
  ASSIGN_OR_RETURN(auto format, parse_chat_description(text, given));
  return ChatChoice{ChatLayout::kDescribed, std::move(format)};
}

}  // namespace

/// That what is written does not take the place of what is read.
static Status check_output(const ConvertOptions& o) {
  if (o.output.empty()) return fail("-o: no file is named");
  std::error_code none;
  if (!std::filesystem::exists(o.folder, none)) return fail("{}: is not there", o.folder);
  const auto same = [&](const std::filesystem::path& path) {
    std::error_code ignored;
    return std::filesystem::equivalent(path, o.output, ignored);
  };
  bool taken = same(o.folder);
  if (std::filesystem::is_directory(o.folder, none))
    for (const auto& entry : std::filesystem::directory_iterator(o.folder, none)) taken = taken || same(entry.path());
  if (taken) return fail("{}: is what would be converted; name another file with -o", o.output);
  return {};
}

Status resolve(ConvertArguments& a) {
  auto& o = a.options;
  ASSIGN_OR_RETURN(o.packings.ternary, packing_by_name(a.packing));
  ASSIGN_OR_RETURN(o.packings.head, packing_by_name(a.head));
  if (!a.chat_layout.empty()) {
    ASSIGN_OR_RETURN(o.chat, read_chat_choice(a.chat_layout));
  }
  o.converter = converter_name();
  o.date = iso_date();
  return {};
}

Status convert(ConvertArguments& a) {
  const auto& o = a.options;
  RETURN_IF_ERROR(check_output(o));
  ConvertSummary summary;
  {
    ProgressBar bar;
    const auto convert_source = GgufFile::is_gguf(o.folder) ? convert_gguf : convert_hf_folder;
    ASSIGN_OR_RETURN(summary, convert_source(o, [&](uint64_t done, uint64_t total, std::string_view tensor) {
                       bar.update(done, total, tensor);
                     }));
  }
  for (const auto& note : summary.notes) fmt::print(stderr, "halo: {}\n", note);
  const auto& damage = summary.damage;
  const auto share = [](uint64_t part, uint64_t of) {
    return 100.0 * static_cast<double>(part) / static_cast<double>(of);
  };
  if (damage.changed_weights > 0)
    fmt::print(stderr,
               "halo: not trained 3:4 sparse: {} of {} ternary weights changed ({:.1f} %, in {:.1f} % of the groups of "
               "four), by {:.0f} % of their length; measure what is left with 'halo ppl'\n",
               damage.changed_weights, damage.weights, share(damage.changed_weights, damage.weights),
               share(damage.changed_groups, damage.groups), 100 * damage.relative_error());
  if (a.json) {
    fmt::print("{}\n", nlohmann::json{{"file", o.output},
                                      {"bytes", std::filesystem::file_size(o.output)},
                                      {"chat_layout", name_of(summary.chat_layout)},
                                      {"changed_weights", damage.changed_weights}}
                           .dump());
    return {};
  }
  fmt::print("{}: {} layers, hidden {}, vocabulary {}, chat layout {}, {:.1f} MB\n", o.output, summary.config.layers,
             summary.config.hidden, summary.config.vocabulary, name_of(summary.chat_layout),
             static_cast<double>(std::filesystem::file_size(o.output)) / 1e6);
  if (summary.chat_layout == ChatLayout::kNone)
    fmt::print(stderr,
               "halo: the chat template is none of those known ({}): 'halo run' works, 'halo chat' does not; "
               "name or describe one with --chat-layout\n",
               chat_layout_names());
  return {};
}

void ConvertArguments::add_to(CLI::App& command) {
  command
      .add_option(
          "--packing", packing,
          "Ternary weights: t1_6 (1.6 bits each), t2 (2 bits; faster on few cores without AVX-512), or s1_25 (1.25 "
          "bits) for models trained 3:4 sparse")
      ->check(CLI::IsMember({"t2", "t1_6", "s1_25"}))
      ->capture_default_str();
  command.add_flag("--force", options.packings.force_sparse,
                   "For s1_25: change the weights of a model that was not trained for it, and print how much");
  command.add_option("--head", head, "Output layer: q8 (int8 rows), f16 or bf16")
      ->check(CLI::IsMember({"q8", "f16", "bf16"}))
      ->capture_default_str();
  command
      .add_option("--chat-layout", chat_layout,
                  "Instead of the one recognised: " + chat_layout_names() + ", or a .json file that describes one")
      ->type_name("NAME|FILE");
  command.add_option("--licence", options.licence, "The weights' licence, kept in the file");
}

void add_convert(CLI::App& app, int& exit_code) {
  auto a = std::make_shared<ConvertArguments>();
  auto* command = app.add_subcommand("convert", "A Hugging Face model folder or a GGUF file to an .h1b file");
  command
      ->add_option("source", a->options.folder,
                   "A folder with config.json, tokenizer.json and model.safetensors (or shards), or a GGUF file")
      ->required()
      ->type_name("FOLDER|FILE");
  command->add_option("-o,--output", a->options.output, "The file to write; an old one is replaced when all went well")
      ->required()
      ->type_name("FILE");
  a->add_to(*command);
  command->add_option("--name", a->options.name, "The model's name; the folder's or the one in the file where absent");
  command->add_flag("--json", a->json, "Print one JSON object: file, bytes, chat_layout");
  command->footer(
      "Reads BitNet b1.58 models as microsoft/bitnet-b1.58-2B-4T (packed) and its -bf16 masters are stored:\n"
      "  halo convert bitnet-b1.58-2B-4T -o bitnet-2b-4t.h1b\n"
      "and GGUF files of them with products in i2_s, tq1_0, tq2_0, q2_0 or unpacked:\n"
      "  halo convert ggml-model-i2_s.gguf -o bitnet-2b-4t.h1b");
  command->callback([a, &exit_code] {
    auto status = resolve(*a);
    if (status) status = convert(*a);
    if (!status) exit_code = report(status.error());
  });
}

}  // namespace onebit::halo
