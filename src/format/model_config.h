// The shape of a model: what config.json says, as the fixed struct of an .h1b file holds it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace onebit {

using TokenId = int32_t;

/// The families of forward pass. One value for each combination that NUMERICS defines.
enum class Architecture : uint32_t {
  /// microsoft/bitnet-b1.58-2B-4T: pre-norms, a sub-norm before attn_output and before ffn_down.
  kBitnet = 1,
};

/// The feed-forward gate: activation(gate) · up.
enum class Activation : uint32_t {
  kSquaredRelu = 1,  // relu(x)²
};

struct ModelConfig {
  Architecture architecture = Architecture::kBitnet;
  Activation activation = Activation::kSquaredRelu;
  uint32_t layers = 0;
  uint32_t hidden = 0;      // width of the residual stream
  uint32_t heads = 0;       // query heads
  uint32_t kv_heads = 0;    // key/value heads; heads / kv_heads query heads share each (GQA)
  uint32_t head_dim = 0;    // even, for RoPE
  uint32_t ffn = 0;         // width between gate/up and down
  uint32_t vocabulary = 0;  // rows of the embedding and of the head
  uint32_t context = 0;     // positions the RoPE tables hold: no sequence may be longer
  float rms_epsilon = 0;
  double rope_theta = 0;   // only told: the tables in the file are what is computed with
  bool tied_head = false;  // the head's weights are the embedding's

  uint32_t query_width() const { return heads * head_dim; }
  uint32_t kv_width() const { return kv_heads * head_dim; }
};

/// Ranges that every later size computation relies on: each dimension at least 1 and small enough that
/// no product of two overflows 64 bits. The error names the field, what was found and what is allowed.
Status validate(const ModelConfig& config);

}  // namespace onebit
