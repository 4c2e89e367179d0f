// How much of the prompts a step takes while answers are under way, so that these keep their pace.
#pragma once

#include <algorithm>
#include <cstdint>

namespace onebit {

/// What a token costs depends on its context, on its company in the step, on the machine, and on what else runs there.
/// So there is no model of it: parts shrink at once where a step took too long, and grow slowly where there was time
/// left.
class PromptPace {
 public:
  /// What a step may take, answers included.
  explicit PromptPace(double step_seconds) : step_seconds_(step_seconds) {}

  /// Tokens of prompts for the next step, at most `most`.
  uint32_t tokens(uint32_t most) const { return std::min(most, static_cast<uint32_t>(part_)); }

  /// What a step took that had `tokens` of prompts: as many as tokens() said, or all there were.
  void saw(uint32_t tokens, bool answers_under_way, double seconds) {
    if (tokens == 0) return;
    const double room = step_seconds_ / std::max(seconds, 1e-9);
    if (!answers_under_way) {
      if (!known_) part_ = tokens * room / 8;  // answers will want their share; it grows soon
    } else if (room < 1) {
      part_ = std::min(part_, std::max(tokens * room, part_ / 2));  // halved at most: it may have been a hiccup
    } else if (tokens >= static_cast<uint32_t>(part_)) {
      part_ *= std::min(room, kGrowth);
    }
    known_ = true;
    part_ = std::clamp(part_, kLeast, kMost);
  }

 private:
  static constexpr double kLeast = 4;  // so that prompts get on where answers alone take all the time
  static constexpr double kMost = 1 << 16;
  static constexpr double kGrowth = 1.25;

  const double step_seconds_;
  double part_ = kLeast;
  bool known_ = false;
};

}  // namespace onebit
