#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>

#include "engine/philox.h"

namespace onebit {
namespace {

// Known answers that the authors of Philox publish with it (Random123, kat_vectors).
TEST(Philox, GivesThePublishedNumbers) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (std::array<uint32_t, 4>{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}));
  constexpr uint32_t kOnes = 0xffffffffu;
  EXPECT_EQ(philox4x32({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (std::array<uint32_t, 4>{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}));
  EXPECT_EQ(philox4x32({0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}, {0xa4093822u, 0x299f31d0u}),
            (std::array<uint32_t, 4>{0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u}));
}

TEST(Philox, UniformNumbersFillTheUnitInterval) {
  double sum = 0;
  for (uint32_t i = 0; i < 100000; ++i) {
    const double u = uniform_random(42, 0, i, 0);
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    sum += u;
  }
  EXPECT_NEAR(sum / 100000, 0.5, 0.005);
  EXPECT_NE(uniform_random(42, 0, 1, 0), uniform_random(43, 0, 1, 0));
  EXPECT_NE(uniform_random(42, 0, 1, 0), uniform_random(42, 1, 1, 0));
  EXPECT_NE(uniform_random(42, 0, 1, 0), uniform_random(42, 0, 1, 1));
}

/// How often each token is chosen over many positions.
std::map<TokenId, double> frequencies(const SamplingParams& params, const std::vector<float>& logits) {
  constexpr uint32_t kDraws = 20000;
  Sampler sampler(params, {});
  std::map<TokenId, double> counts;
  for (uint32_t position = 0; position < kDraws; ++position) counts[sampler.sample(logits, position)] += 1.0 / kDraws;
  return counts;
}

// Probabilities 0.5, 0.25, 0.125, 0.0625, 0.0625.
const std::vector<float> kLogits{std::log(8.0f), std::log(4.0f), std::log(2.0f), 0.0f, 0.0f};

TEST(Sampler, TypicalKeepsWhatIsAsSurprisingAsExpected) {
  // Surprises in bits: 1, 2, 3, 4, 4; expected 1.875. So the second comes first, then the first, the third, …
  const auto kept = [](float p) {
    std::vector<TokenId> ids;
    for (const auto& [id, f] : frequencies({.temperature = 1.0f, .typical_p = p, .seed = 2}, kLogits))
      ids.push_back(id);
    return ids;
  };
  EXPECT_EQ(kept(0.2f), (std::vector<TokenId>{1}));
  EXPECT_EQ(kept(0.7f), (std::vector<TokenId>{0, 1}));
  EXPECT_EQ(kept(0.8f), (std::vector<TokenId>{0, 1, 2}));
  EXPECT_EQ(kept(1.0f).size(), 5u);
}

TEST(Sampler, ATinyTemperatureIsGreedy) {
  for (const float t : {1e-40f, 1e-6f, 1e-5f}) {
    Sampler sampler({.temperature = t, .seed = 1}, {});
    EXPECT_EQ(sampler.sample(std::vector<float>{1.0f, 30.0f, 2.0f}, 0), 1) << t;
  }
}

TEST(Sampler, XtcDropsTheTopChoicesButTheLeastOfThem) {
  const auto always =
      frequencies({.temperature = 1.0f, .xtc_probability = 1.0f, .xtc_threshold = 0.12f, .seed = 3}, kLogits);
  EXPECT_EQ(always.size(), 3u) << "0 and 1 are gone, 2 stays as the least likely from the threshold on";
  EXPECT_NEAR(always.at(2), 0.5, 0.015);
  const auto half =
      frequencies({.temperature = 1.0f, .xtc_probability = 0.5f, .xtc_threshold = 0.12f, .seed = 3}, kLogits);
  EXPECT_NEAR(half.at(0), 0.25, 0.015);
  const auto none =
      frequencies({.temperature = 1.0f, .xtc_probability = 1.0f, .xtc_threshold = 0.4f, .seed = 3}, kLogits);
  EXPECT_EQ(none.size(), 5u) << "a single one from the threshold on stays";
}

/// The logits that DRY leaves, seen by where greedy goes: token `id` wins until its penalty passes `lead`.
bool dry_blocks(SamplingParams params, std::vector<TokenId> prompt, TokenId id, float lead) {
  std::vector<float> logits(10, 0.0f);
  logits[static_cast<size_t>(id)] = lead;
  Sampler sampler(std::move(params), prompt);
  return sampler.sample(logits, static_cast<uint32_t>(prompt.size())) != id;
}

TEST(Sampler, DryPenalisesWhatWouldLengthenARepetition) {
  const SamplingParams dry{.dry_multiplier = 1.0f, .dry_base = 2.0f, .dry_allowed_length = 2};
  // "1 2 3 4 … 1 2 3": 4 would repeat 3 tokens and more: 1 · 2^(3 - 2) = 2.
  EXPECT_TRUE(dry_blocks(dry, {1, 2, 3, 4, 5, 1, 2, 3}, 4, 1.9f));
  EXPECT_FALSE(dry_blocks(dry, {1, 2, 3, 4, 5, 1, 2, 3}, 4, 2.1f));
  EXPECT_FALSE(dry_blocks(dry, {1, 2, 3, 4, 5, 1, 2, 3}, 6, 0.1f)) << "what never followed is free";
  EXPECT_FALSE(dry_blocks(dry, {3, 4, 5, 6, 3}, 4, 0.1f)) << "one token is no repetition yet";
  auto breaking = dry;
  breaking.dry_breakers = {2};
  EXPECT_FALSE(dry_blocks(breaking, {1, 2, 3, 4, 5, 1, 2, 3}, 4, 0.1f)) << "nothing reaches over a breaker";
  auto near = dry;
  near.dry_last_n = 4;
  EXPECT_FALSE(dry_blocks(near, {1, 2, 3, 4, 5, 1, 2, 3}, 4, 0.1f)) << "too far back";
  EXPECT_TRUE(dry_blocks(dry, std::vector<TokenId>(5000, 7), 7, 1000.0f)) << "and it ends";
}

TEST(Sampler, GreedyTakesTheLargestAndTiesGoToTheLowerId) {
  Sampler sampler({}, {});
  EXPECT_EQ(sampler.sample(std::vector<float>{1.0f, 3.0f, 3.0f, 2.0f}, 0), 1);
  EXPECT_EQ(sampler.sample(std::vector<float>{0.0f, 0.0f}, 1), 0);
  EXPECT_EQ(sampler.sample(std::vector<float>{-0.0f, 0.0f}, 1), 0);
}

TEST(Sampler, TemperatureOneFollowsTheProbabilities) {
  const auto f = frequencies({.temperature = 1.0f, .seed = 5}, kLogits);
  EXPECT_NEAR(f.at(0), 0.5, 0.015);
  EXPECT_NEAR(f.at(1), 0.25, 0.015);
  EXPECT_NEAR(f.at(2), 0.125, 0.015);
  EXPECT_NEAR(f.at(4), 0.0625, 0.01);
}

TEST(Sampler, LowTemperatureSharpens) {
  const auto f = frequencies({.temperature = 0.5f, .seed = 5}, kLogits);  // squares the probabilities
  EXPECT_NEAR(f.at(0), 0.25 / (0.25 + 0.0625 + 0.015625 + 2 * 0.00390625), 0.015);
}

TEST(Sampler, TopKKeepsTheLikeliestAndTheLowerIdAmongEquals) {
  const auto f = frequencies({.temperature = 1.0f, .top_k = 4, .seed = 1}, kLogits);
  EXPECT_EQ(f.size(), 4u);
  EXPECT_FALSE(f.contains(4));
  EXPECT_NEAR(f.at(0), 0.5 / 0.9375, 0.015);
}

TEST(Sampler, TopPKeepsTheFewestThatReachIt) {
  EXPECT_EQ(frequencies({.temperature = 1.0f, .top_p = 0.5f, .seed = 1}, kLogits).size(), 1u);
  EXPECT_EQ(frequencies({.temperature = 1.0f, .top_p = 0.51f, .seed = 1}, kLogits).size(), 2u);
  EXPECT_EQ(frequencies({.temperature = 1.0f, .top_p = 0.0f, .seed = 1}, kLogits).size(), 1u);
  EXPECT_EQ(frequencies({.temperature = 1.0f, .top_p = 0.9f, .seed = 1}, kLogits).size(), 4u);
}

TEST(Sampler, MinPDropsWhatIsFarBelowTheBest) {
  EXPECT_EQ(frequencies({.temperature = 1.0f, .min_p = 0.2f, .seed = 1}, kLogits).size(), 3u);
  EXPECT_EQ(frequencies({.temperature = 1.0f, .min_p = 1.0f, .seed = 1}, kLogits).size(), 1u);
}

TEST(Sampler, TheSameSeedChoosesTheSameTokensAndAnotherOneOthers) {
  const auto draw = [](uint64_t seed, uint32_t choice) {
    Sampler sampler({.temperature = 1.0f, .seed = seed, .choice = choice}, {});
    std::vector<TokenId> ids;
    for (uint32_t i = 0; i < 50; ++i) ids.push_back(sampler.sample(kLogits, i));
    return ids;
  };
  EXPECT_EQ(draw(1, 0), draw(1, 0));
  EXPECT_NE(draw(1, 0), draw(2, 0));
  EXPECT_NE(draw(1, 0), draw(1, 1));
}

TEST(Sampler, PenaltiesAndBiasMoveTheChoice) {
  const std::vector<float> logits{2.0f, 1.9f, -1.0f};
  EXPECT_EQ(Sampler({.logit_bias = {{2, 10.0f}}}, {}).sample(logits, 0), 2);
  const std::vector<TokenId> prompt{0};
  EXPECT_EQ(Sampler({.repetition_penalty = 2.0f}, prompt).sample(logits, 0), 1);
  // A negative logit is multiplied, so that it falls too.
  const std::vector<TokenId> all{0, 1};
  EXPECT_EQ(Sampler({.repetition_penalty = 2.0f}, all).sample(std::vector<float>{-1.0f, -1.5f, -1.8f}, 0), 2);
  Sampler frequency({.frequency_penalty = 0.06f}, prompt);  // the prompt does not count
  EXPECT_EQ(frequency.sample(logits, 0), 0);
  EXPECT_EQ(frequency.sample(logits, 1), 0);
  EXPECT_EQ(frequency.sample(logits, 2), 1);
  Sampler presence({.presence_penalty = 0.2f}, {});
  EXPECT_EQ(presence.sample(logits, 0), 0);
  EXPECT_EQ(presence.sample(logits, 1), 1);
  EXPECT_EQ(presence.sample(logits, 2), 0);
}

TEST(Sampler, ParametersOutOfRangeAreNamed) {
  const auto error = [](const SamplingParams& p) {
    const auto status = validate(p, 100);
    return status ? std::string() : status.error().message;
  };
  EXPECT_EQ(error({}), "");
  EXPECT_NE(error({.temperature = -1.0f}).find("temperature is -1"), std::string::npos);
  EXPECT_NE(error({.temperature = std::nanf("")}).find("temperature"), std::string::npos);
  EXPECT_NE(error({.top_p = 1.5f}).find("top_p"), std::string::npos);
  EXPECT_NE(error({.min_p = -0.5f}).find("min_p"), std::string::npos);
  EXPECT_NE(error({.repetition_penalty = 0.0f}).find("repetition_penalty"), std::string::npos);
  EXPECT_NE(error({.logit_bias = {{100, 1.0f}}}).find("token id 100"), std::string::npos);
  EXPECT_NE(error({.logit_bias = {{-1, 1.0f}}}).find("token id -1"), std::string::npos);
}

TEST(LogSoftmax, ProbabilitiesSumToOneAndAgreeWithDouble) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0.0f, 4.0f);
  std::vector<float> logits(8192);
  for (auto& l : logits) l = normal(random);
  const LogSoftmax log_softmax(logits);
  double sum = 0, exact = 0;
  for (const float l : logits) exact += std::exp(static_cast<double>(l));
  for (size_t i = 0; i < logits.size(); ++i) {
    const float p = log_softmax(static_cast<TokenId>(i));
    sum += std::exp(static_cast<double>(p));
    ASSERT_NEAR(p, logits[i] - std::log(exact), 1e-5);
  }
  EXPECT_NEAR(sum, 1.0, 1e-5);
}

TEST(LogSoftmax, TopIsSortedAndTiesGoToTheLowerId) {
  const std::vector<float> logits{1.0f, 5.0f, 5.0f, 3.0f};
  const auto top = LogSoftmax(logits).top(3);
  ASSERT_EQ(top.size(), 3u);
  EXPECT_EQ(top[0].id, 1);
  EXPECT_EQ(top[1].id, 2);
  EXPECT_EQ(top[2].id, 3);
  EXPECT_EQ(LogSoftmax(logits).top(10).size(), 4u);
  EXPECT_TRUE(LogSoftmax(logits).top(0).empty());
}

}  // namespace
}  // namespace onebit
