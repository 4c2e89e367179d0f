// config.json of a Hugging Face model folder -> ModelConfig.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "format/model_config.h"
#include "format/rope.h"

namespace onebit {

/// How the folder's ternary weights are stored.
enum class TernaryStorage {
  kPackedMultiply,  // uint8 codes; outputs are multiplied by weight_scale (linear_class autobitlinear)
  kPackedDivide,    // uint8 codes; outputs are divided by weight_scale (linear_class bitlinear)
  kMaster,          // full-precision weights that are ternarised when they are loaded ("online")
  kUnpacked,        // floats that are -1, 0 or 1 times a scale already (TriLM, Ternary-Bonsai)
};

/// What the sub-norms are called.
enum class SubNormNames {
  kBitnet2B,  // self_attn.attn_sub_norm, mlp.ffn_sub_norm
  kBitnet3B,  // self_attn.inner_attn_ln, mlp.ffn_layernorm: bitnet_b1_58-large and -3B
};

struct HfConfig {
  ModelConfig model;  // whether it has projection norms is seen in the weights
  TernaryStorage storage = TernaryStorage::kPackedMultiply;
  SubNormNames sub_norm_names = SubNormNames::kBitnet2B;
  bool needs_projection_norms = false;  // told by the config; they are seen in the weights anyhow
  RopeScaling rope;
};

/// Fields that change the forward pass and are not supported are refused by name, never ignored.
/// `path` begins every error.
Result<HfConfig> parse_hf_config(std::string_view text, std::string_view path);

}  // namespace onebit
