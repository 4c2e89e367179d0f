// Models of any shape with seeded random weights: speed depends on shapes, not on values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "format/model_writer.h"

namespace onebit {

/// The shape of a published model, as its config.json has it (contexts of at most 4,096).
struct SynthPreset {
  const char* name;
  const char* of;
  ModelConfig config;
  uint32_t scale_group;  // columns that share a scale; 0: a product has one
};
const std::vector<SynthPreset>& synth_presets();

/// `base`'s tokenizer with exactly `vocabulary` tokens: generated merges fill the ids between its plain
/// tokens and its special ones, which move to the end; a smaller vocabulary drops the last merges.
Result<TokenizerData> resize_tokenizer(const TokenizerData& base, uint32_t vocabulary);

/// Writes a model whose every byte follows from config, packings and seed. Weights are about one third
/// each of -1, 0 and 1, scaled so that activations keep their size.
Status write_synthetic_model(const std::string& path, const ModelParts& parts, const ModelPackings& packings,
                             uint64_t seed, const WriteProgress& progress = {});

}  // namespace onebit
