// Where the time of gen-2's steps goes.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace onebit {

/// Kinds of work in a step, in the order of docs and tables.
enum class StepPart : uint32_t { kQkv, kAttention, kAttentionOutput, kGateUp, kDown, kHead, kRows };
inline constexpr size_t kStepParts = 7;

inline std::string_view name_of(StepPart part) {
  constexpr std::array<std::string_view, kStepParts> names{"qkv",  "attention", "attn_output", "gate_up",
                                                           "down", "head",      "rows between"};
  return names[static_cast<size_t>(part)];
}

/// Seconds by part, as the thread that runs the step (a GPU's first block) sees them, summed over steps.
struct StepProfile {
  bool on = true;  // a GPU's steps take a little longer where their times are asked for
  std::array<double, kStepParts> seconds{};
  uint64_t steps = 0;
  double& operator[](StepPart part) { return seconds[static_cast<size_t>(part)]; }
};

}  // namespace onebit
