// The bounds that docs/numerics.md states, over every binary32 input.
#include "kernels/exp_log.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

// Compiled twice, as the reference kernels are: the default copy calls fma in libm, which is ten times slower.
#if defined(__x86_64__) && !defined(ONEBIT_SANITIZED)
#define TWO_TARGETS __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define TWO_TARGETS
#endif

namespace onebit {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// The distance between binary32 numbers around the exact result.
double ulp(double exact) {
  int exponent = 0;
  std::frexp(exact, &exponent);
  return std::ldexp(1.0, std::max(exponent, -125) - 24);
}

TWO_TARGETS double worst_exp_error(uint32_t first, uint32_t last) {
  double worst = 0;
  for (uint32_t bits = first; bits <= last; ++bits) {
    const auto x = std::bit_cast<float>(bits);
    const double exact = std::exp(static_cast<double>(x));
    worst = std::max(worst, std::fabs(static_cast<double>(exp_f32(x)) - exact) / ulp(exact));
  }
  return worst;
}

TWO_TARGETS uint32_t differences_below_zero(uint32_t first, uint32_t last, uint32_t step) {
  uint32_t differences = 0;
  for (uint32_t bits = first; bits <= last; bits += step) {
    const auto x = std::bit_cast<float>(bits);
    differences += std::bit_cast<uint32_t>(exp_not_positive(x)) != std::bit_cast<uint32_t>(exp_f32(x)) ? 1 : 0;
  }
  return differences;
}

TWO_TARGETS double worst_log_error(uint32_t first, uint32_t last) {
  double worst = 0;
  for (uint32_t bits = first; bits <= last; ++bits) {
    const auto x = std::bit_cast<float>(bits);
    const double exact = std::log(static_cast<double>(x));
    if (exact == 0) continue;
    worst = std::max(worst, std::fabs(static_cast<double>(log_f32(x)) - exact) / ulp(exact));
  }
  return worst;
}

constexpr uint32_t bits_of(float x) {
  return std::bit_cast<uint32_t>(x);
}

TEST(ExpLog, ExpIsWithin1_1UlpForEveryNegativeInput) {
  EXPECT_LT(worst_exp_error(bits_of(-0x1p-30f), bits_of(-87.0f)), 1.1);
}
TEST(ExpLog, ExpIsWithin1_1UlpForEveryPositiveInput) {
  EXPECT_LT(worst_exp_error(bits_of(0x1p-30f), bits_of(0x1.62e42ep+6f)), 1.1);
}
TEST(ExpLog, LogIsWithin0_9UlpBelowOne) {
  EXPECT_LT(worst_log_error(1, bits_of(1.0f)), 0.9);
}
TEST(ExpLog, LogIsWithin0_9UlpAboveOne) {
  EXPECT_LT(worst_log_error(bits_of(1.0f), bits_of(std::numeric_limits<float>::max())), 0.9);
}

TEST(ExpLog, ExpOfWhatIsNotPositiveHasTheSameBits) {
  EXPECT_EQ(differences_below_zero(bits_of(-0x1p-30f), bits_of(-88.0f), 1), 0u);
  EXPECT_EQ(differences_below_zero(bits_of(-0.0f), bits_of(-kInfinity), 997), 0u);
  EXPECT_EQ(exp_not_positive(-kInfinity), 0.0f);
  EXPECT_EQ(exp_not_positive(0.0f), 1.0f);
  EXPECT_TRUE(std::isnan(exp_not_positive(std::numeric_limits<float>::quiet_NaN())));
}

TEST(ExpLog, ExpOfTinyNumbersIsOne) {
  for (uint32_t bits = 0; bits < bits_of(0x1p-30f); bits += 9973) {
    EXPECT_EQ(exp_f32(std::bit_cast<float>(bits)), 1.0f);
    EXPECT_EQ(exp_f32(-std::bit_cast<float>(bits)), 1.0f);
  }
}

TEST(ExpLog, ExpAtItsEnds) {
  EXPECT_EQ(exp_f32(0.0f), 1.0f);
  EXPECT_EQ(exp_f32(-0.0f), 1.0f);
  EXPECT_EQ(bits_of(exp_f32(std::nextafter(-87.0f, -88.0f))), 0u);
  EXPECT_EQ(bits_of(exp_f32(-1e30f)), 0u);
  EXPECT_EQ(bits_of(exp_f32(-kInfinity)), 0u);
  EXPECT_TRUE(std::isfinite(exp_f32(0x1.62e42ep+6f)));
  EXPECT_EQ(exp_f32(89.0f), kInfinity);
  EXPECT_EQ(exp_f32(kInfinity), kInfinity);
  EXPECT_TRUE(std::isnan(exp_f32(std::numeric_limits<float>::quiet_NaN())));
}

TEST(ExpLog, ExpNeverFallsAsItsArgumentGrows) {
  float last = 0;
  for (float x = -87.0f; x < 88.7f; x += 1e-4f) {
    const float y = exp_f32(x);
    ASSERT_GE(y, last) << x;
    last = y;
  }
}

TEST(ExpLog, LogAtItsEnds) {
  EXPECT_EQ(log_f32(1.0f), 0.0f);
  EXPECT_EQ(log_f32(0.0f), -kInfinity);
  EXPECT_EQ(log_f32(-0.0f), -kInfinity);
  EXPECT_EQ(log_f32(kInfinity), kInfinity);
  EXPECT_TRUE(std::isnan(log_f32(-1.0f)));
  EXPECT_TRUE(std::isnan(log_f32(std::numeric_limits<float>::quiet_NaN())));
}

}  // namespace
}  // namespace onebit
