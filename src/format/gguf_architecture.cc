#include "format/gguf_architecture.h"

#include <algorithm>
#include <array>

namespace onebit {
namespace {

constexpr NormChoice kSubNorms{.sub = true}, kHeadNorms{.heads = true};

constexpr std::array kArchitectures{
    // llama.cpp, for bitnet_b1_58-large and -3B. First of those with sub-norms: it is what most programs read.
    GgufArchitecture{.name = "bitnet", .norms = kSubNorms, .activation = Activation::kSilu, .scale_tensors = true},
    // bitnet.cpp and ik_llama.cpp, for BitNet 2B-4T and what came before it.
    GgufArchitecture{.name = "bitnet-b1.58", .norms = kSubNorms, .activation = Activation::kSquaredRelu},
    GgufArchitecture{.name = "bitnet-25", .norms = kSubNorms, .activation = Activation::kSquaredRelu},
    // Llama3-8B-1.58, Falcon3, TriLM.
    GgufArchitecture{.name = "llama", .norms = {}, .activation = Activation::kSilu, .interleaved_rope = true},
    // Ternary-Bonsai.
    GgufArchitecture{.name = "qwen3", .norms = kHeadNorms, .activation = Activation::kSilu},
};

}  // namespace

const GgufArchitecture* find_gguf_architecture(std::string_view name) {
  const auto it = std::find_if(kArchitectures.begin(), kArchitectures.end(),
                               [&](const GgufArchitecture& known) { return known.name == name; });
  return it == kArchitectures.end() ? nullptr : &*it;
}

const GgufArchitecture* gguf_architecture_of(const ModelConfig& config) {
  const auto it = std::find_if(kArchitectures.begin(), kArchitectures.end(),
                               [&](const GgufArchitecture& known) { return known.norms == config.norms; });
  return it == kArchitectures.end() ? nullptr : &*it;
}

std::string gguf_architecture_names() {
  std::string names;
  for (const auto& known : kArchitectures) names += (names.empty() ? "" : ", ") + std::string(known.name);
  return names;
}

uint64_t gguf_row(const GgufArchitecture& architecture, const ModelConfig& config, Linear linear, uint64_t row) {
  if (!architecture.interleaved_rope || (linear != Linear::kQuery && linear != Linear::kKey)) return row;
  const uint64_t half = config.head_dim / 2, in_head = row % config.head_dim;
  return row - in_head + 2 * (in_head % half) + in_head / half;
}

}  // namespace onebit
