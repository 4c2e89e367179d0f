// exp and log of the numerics contract (docs/numerics.md, 6): the same operations on every machine.
//
// libm is not used on any path that reaches a bit: its results differ between versions and CPUs. Both
// functions are a fixed sequence of IEEE-754 binary32 operations, fma where it is written, no table.
// tests/kernels/exp_log_test.cc proves the bounds over every input.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#if defined(__CUDACC__) || defined(__HIP__)
#define ONEBIT_HOST_DEVICE __host__ __device__
#else
#define ONEBIT_HOST_DEVICE
#endif

namespace onebit {

/// e^x within 1.1 ulp. exp(0) = 1 exactly; x < -87 gives +0 (no denormal results); x > 88.72283 gives
/// +inf; NaN stays NaN.
ONEBIT_HOST_DEVICE inline float exp_f32(float x) {
  // x = n ln 2 + r, |r| <= ln 2 / 2; adding and subtracting 1.5 · 2^23 rounds to nearest even.
  const float n = (x * 0x1.715476p+0f + 0x1.8p+23f) - 0x1.8p+23f;
  float r = std::fma(n, -0x1.62e4p-1f, x);  // ln 2 in two parts; n times the high one is exact
  r = std::fma(n, -0x1.7f7d1cp-20f, r);
  // (e^r - 1 - r) / r², interpolated at the Chebyshev nodes.
  float p = 0x1.6d110ap-10f;
  p = std::fma(p, r, 0x1.120b6ep-7f);
  p = std::fma(p, r, 0x1.55551ap-5f);
  p = std::fma(p, r, 0x1.5554dcp-3f);
  p = std::fma(p, r, 0x1.0p-1f);
  const float y = 1.0f + std::fma(r * r, p, r);
  // 2^n as 2^h · 2^(n - h), since n may be 128. A guarded n keeps the conversion defined for any x.
  const bool in_range = x >= -87.0f && x <= 0x1.62e42ep+6f;
  const auto i = static_cast<int32_t>(in_range ? n : 0.0f);
  const int32_t h = i / 2;
  const float scaled = y * std::bit_cast<float>((h + 127) << 23) * std::bit_cast<float>((i - h + 127) << 23);
  if (in_range) return scaled;
  return x < 0.0f ? 0.0f : (x > 0.0f ? std::numeric_limits<float>::infinity() : x);
}

/// exp_f32(x) in the same bits for x <= 0 and NaN, by fewer operations; of x > 0 something else. That is what attention
/// wants: scores less the largest of them.
ONEBIT_HOST_DEVICE inline float exp_not_positive(float x) {
  const float shifted = x * 0x1.715476p+0f + 0x1.8p+23f;  // n stands in its last bits
  const float n = shifted - 0x1.8p+23f;
  float r = std::fma(n, -0x1.62e4p-1f, x);
  r = std::fma(n, -0x1.7f7d1cp-20f, r);
  float p = 0x1.6d110ap-10f;
  p = std::fma(p, r, 0x1.120b6ep-7f);
  p = std::fma(p, r, 0x1.55551ap-5f);
  p = std::fma(p, r, 0x1.5554dcp-3f);
  p = std::fma(p, r, 0x1.0p-1f);
  const float y = 1.0f + std::fma(r * r, p, r);
  // Nothing above e^-87 is denormal, nor is its 2^n.
  const float scaled = y * std::bit_cast<float>((std::bit_cast<uint32_t>(shifted) << 23) + 0x3f800000u);
  return x < -87.0f ? 0.0f : scaled;
}

/// Natural logarithm within 0.9 ulp for positive x, denormals included; log(0) = -inf, log(+inf) = +inf,
/// NaN for x < 0 and NaN.
ONEBIT_HOST_DEVICE inline float log_f32(float x) {
  if (!(x > 0.0f)) return x == 0.0f ? -std::numeric_limits<float>::infinity() : std::numeric_limits<float>::quiet_NaN();
  if (x > std::numeric_limits<float>::max()) return x;
  float e = 0.0f;
  if (x < 0x1p-126f) {
    x *= 0x1p24f;
    e = -24.0f;
  }
  // x = 2^k m with m in [sqrt(1/2), sqrt(2)): the offset makes the exponent field switch there.
  const auto bits = std::bit_cast<uint32_t>(x) - 0x3f3504f3u;
  const auto k = static_cast<int32_t>(bits) >> 23;
  const float m = std::bit_cast<float>((bits & 0x007fffffu) + 0x3f3504f3u);
  e += static_cast<float>(k);
  const float f = m - 1.0f;
  // (log(1 + f) - f + f²/2) / f³, interpolated at the Chebyshev nodes.
  float p = 0x1.1d8e5ep-4f;
  p = std::fma(p, f, -0x1.d6393ep-4f);
  p = std::fma(p, f, 0x1.dea43p-4f);
  p = std::fma(p, f, -0x1.fcf46ep-4f);
  p = std::fma(p, f, 0x1.23d202p-3f);
  p = std::fma(p, f, -0x1.555b4ap-3f);
  p = std::fma(p, f, 0x1.999d5ap-3f);
  p = std::fma(p, f, -0x1.fffffcp-3f);
  p = std::fma(p, f, 0x1.555554p-2f);
  const float f2 = f * f;
  float y = std::fma(e, 0x1.7f7d1cp-20f, p * f * f2);  // low part of e ln 2 and the small terms first
  y = std::fma(f2, -0.5f, y);
  return std::fma(e, 0x1.62e4p-1f, f + y);
}

}  // namespace onebit
