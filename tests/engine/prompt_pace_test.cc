#include "engine/prompt_pace.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace onebit {
namespace {

constexpr double kAim = 0.14;
constexpr uint32_t kMost = 256;

/// A machine on which a step takes what the answers take and something for each token of a prompt, more of it the
/// longer the prompt is already. Gives each step's time.
std::vector<double> compute_prompt(PromptPace& pace, uint32_t length, double answers, double token, double depth) {
  std::vector<double> steps;
  for (uint32_t done = 0; done < length;) {
    const uint32_t part = std::min(pace.tokens(kMost), length - done);
    steps.push_back(answers + part * (token + depth * done));
    pace.saw(part, true, steps.back());
    done += part;
  }
  return steps;
}

TEST(PromptPace, StepsKeepTheirTimeWhateverTheMachineAndTheDepth) {
  for (const auto& [answers, token, depth] :
       {std::array{0.033, 0.0025, 2e-6}, {0.070, 0.0065, 2e-6}, {0.001, 0.00001, 0.0}, {0.1, 0.0002, 1e-7}}) {
    PromptPace pace(kAim);
    pace.saw(512, false, 512 * token);
    const auto steps = compute_prompt(pace, 3900, answers, token, depth);
    for (size_t i = 0; i < steps.size(); ++i)
      EXPECT_LT(steps[i], 1.1 * kAim) << "step " << i << ", answers " << answers;
  }
}

TEST(PromptPace, PromptsGetOnWhereAnswersTakeAllTheTime) {
  PromptPace pace(kAim);
  for (int i = 0; i < 20; ++i) {
    EXPECT_GE(pace.tokens(kMost), 4u);
    pace.saw(pace.tokens(kMost), true, 10 * kAim);
  }
  EXPECT_EQ(pace.tokens(kMost), 4u);
  EXPECT_EQ(pace.tokens(2), 2u);
}

TEST(PromptPace, AHiccupIsForgottenSoon) {
  PromptPace pace(kAim);
  pace.saw(512, false, 1.0);
  compute_prompt(pace, 3900, 0.03, 0.002, 0);
  const uint32_t usual = pace.tokens(kMost);
  pace.saw(usual, true, 100 * kAim);
  EXPECT_GE(pace.tokens(kMost), usual / 2);
  for (int i = 0; i < 10; ++i) pace.saw(pace.tokens(kMost), true, 0.03 + pace.tokens(kMost) * 0.002);
  EXPECT_GE(pace.tokens(kMost), usual * 9 / 10);
}

TEST(PromptPace, ShortPromptsSayNothingOfLongerOnes) {
  PromptPace pace(kAim);
  pace.saw(512, false, 1.0);
  compute_prompt(pace, 3900, 0.03, 0.002, 0);
  const uint32_t usual = pace.tokens(kMost);
  for (int i = 0; i < 100; ++i) pace.saw(3, true, 0.035);
  EXPECT_EQ(pace.tokens(kMost), usual);
}

}  // namespace
}  // namespace onebit
