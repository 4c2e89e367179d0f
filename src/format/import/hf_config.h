// config.json of a Hugging Face model folder -> ModelConfig.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "format/model_config.h"

namespace onebit {

/// How the folder's ternary weights are stored.
enum class TernaryStorage {
  kPackedMultiply,  // uint8 codes; outputs are multiplied by weight_scale (linear_class autobitlinear)
  kPackedDivide,    // uint8 codes; outputs are divided by weight_scale (linear_class bitlinear)
  kMaster,          // full-precision weights that are ternarised when they are loaded ("online")
};

struct HfConfig {
  ModelConfig model;
  TernaryStorage storage = TernaryStorage::kPackedMultiply;
};

/// Fields that change the forward pass and are not supported are refused by name, never ignored.
/// `path` begins every error.
Result<HfConfig> parse_hf_config(std::string_view text, std::string_view path);

}  // namespace onebit
