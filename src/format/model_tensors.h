// The tensors that a model of a given shape consists of: one list for writers and readers.
#pragma once

#include <string>
#include <vector>

#include "format/model_config.h"
#include "format/tensor.h"

namespace onebit {

/// A layer's ternary products in the order of the forward pass.
enum class Linear { kQuery, kKey, kValue, kAttentionOutput, kGate, kUp, kDown };
inline constexpr std::array kLinears{Linear::kQuery, Linear::kKey, Linear::kValue, Linear::kAttentionOutput,
                                     Linear::kGate,  Linear::kUp,  Linear::kDown};
/// A layer's RMSNorm weights in the order of the forward pass.
enum class Norm { kAttention, kAttentionSub, kFfn, kFfnSub };
inline constexpr std::array kNorms{Norm::kAttention, Norm::kAttentionSub, Norm::kFfn, Norm::kFfnSub};

inline constexpr const char* kEmbeddingName = "token_embd";
inline constexpr const char* kOutputNormName = "output_norm";
inline constexpr const char* kHeadName = "head";

/// "blk.3.attn_q", …
std::string tensor_name(uint32_t layer, Linear linear);
std::string tensor_name(uint32_t layer, Norm norm);

/// [outputs][inputs] of a product and width of a norm.
struct LinearShape {
  uint32_t outputs = 0, inputs = 0;
};
LinearShape shape_of(const ModelConfig& config, Linear linear);
uint32_t width_of(const ModelConfig& config, Norm norm);

/// In file order: embedding, layers, output norm, head. `ternary` is t2 or t1_6 with one scale a
/// tensor; `head` is q8 (a scale a row), f16 or bf16.
std::vector<TensorSpec> model_tensors(const ModelConfig& config, Packing ternary, Packing head);

}  // namespace onebit
