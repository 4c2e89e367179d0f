#include "base/half.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

namespace onebit {
namespace {

/// The value of a binary16 from its definition.
double half_value(uint16_t h) {
  const int exponent = (h >> 10) & 31;
  const int fraction = h & 1023;
  const double magnitude = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  return (h & 0x8000) != 0 ? -magnitude : magnitude;
}

TEST(Half, EveryFiniteValueWidensExactlyAndComesBack) {
  for (uint32_t h = 0; h < 65536; ++h) {
    const auto half = static_cast<uint16_t>(h);
    const float wide = half_to_float(half);
    if ((h & 0x7c00u) == 0x7c00u) {
      EXPECT_EQ((h & 0x3ffu) == 0 ? std::isinf(wide) : std::isnan(wide), true) << h;
      continue;
    }
    ASSERT_EQ(static_cast<double>(wide), half_value(half)) << h;
    ASSERT_EQ(std::signbit(wide), (h & 0x8000u) != 0) << h;
    ASSERT_EQ(float_to_half(wide), half) << h;
  }
}

TEST(Half, NarrowingRoundsToNearestEven) {
  // Between every two neighbours: just below the middle, the middle, just above it.
  for (uint16_t h = 0; h < 0x7bff; ++h) {
    const auto low = half_value(h), high = half_value(static_cast<uint16_t>(h + 1));
    const auto middle = static_cast<float>((low + high) / 2);
    const auto even = static_cast<uint16_t>(h + (h & 1));
    ASSERT_EQ(float_to_half(middle), even) << h;
    ASSERT_EQ(float_to_half(std::nextafter(middle, 0.0f)), h) << h;
    ASSERT_EQ(float_to_half(std::nextafter(middle, 1e9f)), h + 1) << h;
    ASSERT_EQ(float_to_half(-middle), even | 0x8000) << h;
  }
}

TEST(Half, NarrowingClampsTo65504) {
  for (const float big : {65504.0f, 65519.9f, 65520.0f, 1e6f, std::numeric_limits<float>::infinity()}) {
    EXPECT_EQ(float_to_half(big), 0x7bff);
    EXPECT_EQ(float_to_half(-big), 0xfbff);
  }
  EXPECT_TRUE(std::isnan(half_to_float(float_to_half(std::numeric_limits<float>::quiet_NaN()))));
}

TEST(Bfloat16, EveryValueWidensAndComesBack) {
  for (uint32_t b = 0; b < 65536; ++b) {
    const float wide = bf16_to_float(static_cast<uint16_t>(b));
    if (std::isnan(wide)) continue;
    ASSERT_EQ(float_to_bf16(wide), b);
  }
}

TEST(Bfloat16, NarrowingRoundsToNearestEven) {
  std::mt19937 random(1);
  for (int i = 0; i < 100000; ++i) {
    const float x = std::bit_cast<float>(static_cast<uint32_t>(random()));
    if (!std::isfinite(x)) continue;
    const auto low = static_cast<uint16_t>(std::bit_cast<uint32_t>(x) >> 16);  // towards zero
    const double below = bf16_to_float(low), above = bf16_to_float(static_cast<uint16_t>(low + 1));
    if (!std::isfinite(above)) continue;
    const double to_low = std::fabs(x - below), to_high = std::fabs(above - x);
    const bool up = to_high < to_low || (to_high == to_low && (low & 1) != 0);
    ASSERT_EQ(float_to_bf16(x), low + (up ? 1 : 0)) << x;
  }
}

}  // namespace
}  // namespace onebit
