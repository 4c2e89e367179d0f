// A model file's tensors bound to their places in the forward pass, every shape checked once.
#pragma once

#include <span>
#include <variant>
#include <vector>

#include "base/result.h"
#include "format/h1b_file.h"
#include "kernels/matrix.h"

namespace onebit {

/// A norm that the model's NormChoice has not is empty.
struct LayerWeights {
  std::span<const float> attn_norm;                 // (hidden)
  IntegerMatrix attn_q;                             // (heads * head_dim, hidden)
  IntegerMatrix attn_k, attn_v;                     // (kv_heads * head_dim, hidden)
  std::span<const float> attn_sub_norm;             // (heads * head_dim)
  IntegerMatrix attn_output;                        // (hidden, heads * head_dim)
  std::span<const float> ffn_norm;                  // (hidden)
  IntegerMatrix ffn_gate, ffn_up;                   // (ffn, hidden)
  std::span<const float> ffn_sub_norm;              // (ffn)
  IntegerMatrix ffn_down;                           // (hidden, ffn)
  std::span<const float> q_head_norm, k_head_norm;  // (head_dim)
  std::span<const float> q_input_norm, k_input_norm, v_input_norm, gate_input_norm, up_input_norm;  // (hidden)
};

/// Borrowed from the file, which must outlive it.
struct ModelWeights {
  const H1bFile* file = nullptr;  // whose bytes these are
  ModelConfig config;
  HalfMatrix embedding;  // (vocabulary, hidden), bf16
  std::vector<LayerWeights> layers;
  std::span<const float> output_norm;            // (hidden)
  std::variant<IntegerMatrix, HalfMatrix> head;  // (vocabulary, hidden)
  std::span<const float> rope_cos, rope_sin;     // (context, head_dim / 2)
};

/// Which weights the logits are computed with.
enum class HeadChoice {
  kStored,     // the file's head tensor (q8 unless it was converted otherwise)
  kEmbedding,  // the bf16 embedding table; for models with a tied head: the verification head
};

/// What attention's scores are multiplied by: 1 / sqrt(head_dim).
float score_factor_of(const ModelConfig& config);

/// Errors name the file and the tensor that is missing or misshapen.
Result<ModelWeights> bind_weights(const H1bFile& file, HeadChoice head);

}  // namespace onebit
