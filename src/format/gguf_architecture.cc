#include "format/gguf_architecture.h"

#include <algorithm>

namespace onebit {
namespace {

constexpr std::array kArchitectures{
    // llama.cpp: sub-norms; RoPE over halves.
    GgufArchitecture{.name = "bitnet", .activation = std::nullopt, .scale_tensors = true},
    // bitnet.cpp and ik_llama.cpp, for BitNet 2B-4T and what came before it.
    GgufArchitecture{.name = "bitnet-b1.58", .activation = Activation::kSquaredRelu},
    GgufArchitecture{.name = "bitnet-25", .activation = Activation::kSquaredRelu},
};

}  // namespace

const GgufArchitecture* find_gguf_architecture(std::string_view name) {
  const auto it = std::find_if(kArchitectures.begin(), kArchitectures.end(),
                               [&](const GgufArchitecture& known) { return known.name == name; });
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
