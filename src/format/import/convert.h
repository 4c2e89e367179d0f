// A Hugging Face model folder -> an .h1b file. GGUF files: gguf_import.h.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "format/model_writer.h"

namespace onebit {

struct ConvertOptions {
  std::string folder;  // config.json, tokenizer.json, model.safetensors or shards, …; or a GGUF file
  std::string output;
  ModelPackings packings;
  std::optional<ChatChoice> chat;  // otherwise recognised from the folder's chat template
  std::string name;                // for provenance; the folder's name where empty
  std::string source;              // for provenance: where it came from; the folder's name where empty
  std::string licence;
  std::string converter;  // program, version and commit, for provenance
  std::string date;       // ISO 8601, for provenance
};

struct ConvertSummary {
  ModelConfig config;
  ChatLayout chat_layout = ChatLayout::kNone;
  s1_25::Damage damage;            // of s1_25 that was forced
  std::vector<std::string> notes;  // what was taken for granted, for a user to read
};

/// What s1_25, where it is asked for, changes of the weights: an error where they would have to change and `options`
/// does not force it.
Result<s1_25::Damage> check_sparse(const ConvertOptions& options, const ModelConfig& config, WeightSource& weights);

/// Writes `options.output` whole or not at all. Errors name the file and the field.
Result<ConvertSummary> convert_hf_folder(const ConvertOptions& options, const WriteProgress& progress = {});

}  // namespace onebit
