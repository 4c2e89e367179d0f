// The angles of RoPE (Su et al. 2021), which a model file stores for every position.
#pragma once

#include <cstdint>
#include <vector>

#include "format/model_config.h"

namespace onebit {

/// How a model's frequencies were changed to reach further than it was first trained for. As config.json's
/// rope_scaling has it (transformers' modeling_rope_utils).
struct RopeScaling {
  enum class Kind { kNone, kLinear, kLlama3, kYarn };
  Kind kind = Kind::kNone;
  double factor = 1;
  uint32_t original_context = 0;                 // positions before (kLlama3, kYarn)
  double low_frequency = 1, high_frequency = 4;  // kLlama3: low_freq_factor, high_freq_factor
  double beta_fast = 32, beta_slow = 1;          // kYarn (Peng et al. 2023)
  double attention_factor = 0;                   // kYarn: of cos and sin; 0: 0.1 ln(factor) + 1
};

/// Radians a position of the pairs 0 … head_dim / 2 - 1.
std::vector<double> rope_frequencies(const ModelConfig& config, const RopeScaling& scaling);

/// cos, then sin: [context][head_dim / 2] each, computed in double and rounded once.
std::vector<float> rope_tables(const ModelConfig& config, const RopeScaling& scaling = {});

}  // namespace onebit
