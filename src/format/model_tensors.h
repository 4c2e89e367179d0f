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
/// A layer's RMSNorm weights. kAttentionSub and kFfnSub are those of attn_output's and ffn_down's inputs.
enum class Norm {
  kAttention,
  kAttentionSub,
  kFfn,
  kFfnSub,
  kQueryHead,
  kKeyHead,
  kQueryInput,
  kKeyInput,
  kValueInput,
  kGateInput,
  kUpInput,
};
/// Those that a layer of this model has, in file order.
std::vector<Norm> norms_of(const ModelConfig& config);

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

/// How the ternary products of a model are stored: a packing, and how many weights share a scale.
struct LinearStorage {
  Packing packing = Packing::kT2;
  ScaleGranularity granularity = ScaleGranularity::kTensor;  // kTensor, kRow or kGroup
  uint32_t group = 0;                                        // columns that share one (kGroup): 32, 64 or 128
};

/// In file order: embedding, layers, output norm, head; `head` is q8 (a scale a row), f16 or bf16.
std::vector<TensorSpec> model_tensors(const ModelConfig& config, const LinearStorage& linears, Packing head);

}  // namespace onebit
