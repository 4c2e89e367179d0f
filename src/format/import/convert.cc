#include "format/import/convert.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/utf8.h"
#include "format/import/hf_config.h"
#include "format/import/hf_tokenizer.h"
#include "format/import/hf_weights.h"
#include "format/import/json.h"
#include "format/import/safetensors.h"

namespace onebit {
namespace {

Result<HfTokenizerFiles> read_tokenizer_files(const std::string& folder, std::string config_json) {
  HfTokenizerFiles files;
  files.folder = folder;
  files.config_json = std::move(config_json);
  const auto path_of = [&](const char* name) { return (std::filesystem::path(folder) / name).string(); };
  std::error_code none;
  const bool pieces = !std::filesystem::exists(path_of("tokenizer.json"), none) &&
                      std::filesystem::exists(path_of("tokenizer.model"), none);
  auto& text = pieces ? files.tokenizer_model : files.tokenizer_json;
  ASSIGN_OR_RETURN(text, read_text_file(path_of(pieces ? "tokenizer.model" : "tokenizer.json"), kMaxJsonBytes));
  for (const auto& [name, beside] : {std::pair{"tokenizer_config.json", &files.tokenizer_config_json},
                                     {"generation_config.json", &files.generation_config_json},
                                     {"chat_template.jinja", &files.chat_template_jinja}}) {
    std::error_code ignored;
    if (!std::filesystem::exists(path_of(name), ignored)) continue;
    ASSIGN_OR_RETURN(*beside, read_text_file(path_of(name), kMaxJsonBytes));
  }
  return files;
}

/// What sentence-transformers writes beside a model that gives embeddings.
Status read_pooling(const std::string& folder, ModelConfig& config) {
  const auto path = (std::filesystem::path(folder) / "1_Pooling" / "config.json").string();
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return {};
  ASSIGN_OR_RETURN(const auto text, read_text_file(path, kMaxJsonBytes));
  ASSIGN_OR_RETURN(const auto root, parse_json_object(text, path));
  const auto on = [&](const char* key) { return root.value(key, nlohmann::json(false)) == true; };
  if (on("pooling_mode_lasttoken") == on("pooling_mode_mean_tokens"))
    return fail("{}: expected one of pooling_mode_lasttoken and pooling_mode_mean_tokens to be true", path);
  config.pooling = on("pooling_mode_lasttoken") ? Pooling::kLast : Pooling::kMean;
  return {};
}

Provenance provenance_of(const ConvertOptions& options, TernaryStorage storage) {
  const auto folder = std::filesystem::path(options.folder).lexically_normal();
  const auto folder_name = (folder.has_filename() ? folder : folder.parent_path()).filename().string();
  Provenance p;
  p.emplace_back("name", options.name.empty() ? folder_name : options.name);
  p.emplace_back("source", options.source.empty() ? folder_name : options.source);
  p.emplace_back("source_format", storage == TernaryStorage::kMaster     ? "safetensors, full-precision masters"
                                  : storage == TernaryStorage::kUnpacked ? "safetensors, unpacked ternary"
                                                                         : "safetensors, packed ternary");
  if (!options.licence.empty()) p.emplace_back("licence", options.licence);
  p.emplace_back("converter", options.converter);
  p.emplace_back("date", options.date);
  for (auto& [key, value] : p) value = utf8_replace_invalid(value);
  return p;
}

}  // namespace

Result<s1_25::Damage> check_sparse(const ConvertOptions& options, const ModelConfig& config, WeightSource& weights) {
  if (options.packings.ternary != Packing::kS1_25) return s1_25::Damage{};
  ASSIGN_OR_RETURN(const auto damage, sparse_damage(config, weights));
  if (damage.changed_weights == 0 || options.packings.force_sparse) return damage;
  return fail(
      "{}: was not trained for s1_25: of every four weights exactly one has to be zero, and {:.1f} % of the groups "
      "are otherwise; {} of {} weights would change ({:.0f} % of them), which no dense model survives. Convert it "
      "to t1_6, or see for yourself with --force",
      options.folder, 100.0 * static_cast<double>(damage.changed_groups) / static_cast<double>(damage.groups),
      damage.changed_weights, damage.weights,
      100.0 * static_cast<double>(damage.changed_weights) / static_cast<double>(damage.weights));
}

Result<ConvertSummary> convert_hf_folder(const ConvertOptions& options, const WriteProgress& progress) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(options.folder, ignored))
    return fail("{}: is neither a GGUF file nor a folder; give the folder that holds config.json and model.safetensors",
                options.folder);
  const auto config_path = (std::filesystem::path(options.folder) / "config.json").string();
  ASSIGN_OR_RETURN(auto config_text, read_text_file(config_path, kMaxJsonBytes));
  ASSIGN_OR_RETURN(auto config, parse_hf_config(config_text, config_path));
  ASSIGN_OR_RETURN(const auto tokenizer_files, read_tokenizer_files(options.folder, std::move(config_text)));
  ASSIGN_OR_RETURN(const auto tensors, Safetensors::open_folder(options.folder));
  RETURN_IF_ERROR(read_pooling(options.folder, config.model));
  ASSIGN_OR_RETURN(auto weights, HfWeights::open(tensors, config));
  ASSIGN_OR_RETURN(const auto damage, check_sparse(options, config.model, weights));
  ModelParts parts;
  parts.config = config.model;
  parts.rope = config.rope;
  ASSIGN_OR_RETURN(parts.tokenizer, import_hf_tokenizer(tokenizer_files, config.model.vocabulary, options.chat));
  parts.provenance = provenance_of(options, config.storage);
  if (auto written = write_model(options.output, parts, options.packings, weights, progress); !written) {
    RETURN_IF_ERROR(tensors.check_unchanged());  // the better explanation of what was found in the weights
    return tl::unexpected(written.error());
  }
  return ConvertSummary{config.model, parts.tokenizer.chat.layout, damage, {}};
}

}  // namespace onebit
