// The shape of a model: what config.json says, as the fixed struct of an .h1b file holds it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace onebit {

using TokenId = int32_t;

/// The feed-forward gate: activation(gate) · up.
enum class Activation : uint32_t {
  kSquaredRelu = 1,  // relu(x)²
  kSilu = 2,         // x / (1 + e^-x)
};

/// How the states of a text's tokens become one embedding.
enum class Pooling : uint32_t {
  kNone = 0,  // of a model: it was not made for embeddings
  kLast = 1,  // the last token's state
  kMean = 2,
};

/// The RMSNorms (Zhang, Sennrich 2019) besides the two before attention and feed-forward that every model has.
/// Families differ in little else: BitNet 2B-4T and b1.58-large and -3B have sub-norms, LLaMA-shaped models (Falcon3,
/// Falcon-E, TriLM) have none, Qwen3-shaped ones head norms, BitNet's embedding models those and projection norms.
struct NormChoice {
  bool sub = false;          // of attn_output's and ffn_down's inputs
  bool heads = false;        // of each query head and key head, before RoPE
  bool projections = false;  // of each ternary product's input, the sub-norms' two included; needs `sub`

  friend bool operator==(const NormChoice&, const NormChoice&) = default;
};

struct ModelConfig {
  NormChoice norms{.sub = true};
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
  Pooling pooling = Pooling::kNone;

  uint32_t query_width() const { return heads * head_dim; }
  uint32_t kv_width() const { return kv_heads * head_dim; }
};

/// What the field calls a model with these norms: "bitnet", "llama", "qwen3"; for people, nothing is decided by it.
std::string_view family_name(const ModelConfig& config);
std::string_view name_of(Activation activation);  // "relu2", "silu"

/// Ranges that every later size computation relies on: each dimension at least 1 and small enough that
/// no product of two overflows 64 bits. The error names the field, what was found and what is allowed.
Status validate(const ModelConfig& config);

}  // namespace onebit
