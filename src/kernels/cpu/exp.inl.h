// e^x for sixteen values, as kernels/exp_log.h computes it.
#pragma once

namespace onebit {
namespace {

/// e^x = y · 2^n, before that power is applied.
struct ScaledExp {
  Simd::F32 y, n;
};

inline __attribute__((always_inline)) ScaledExp scaled_exp(Simd::F32 x) {
  const auto c = [](float value) { return Simd::splat_f32(value); };
  const auto n = Simd::sub(Simd::add(Simd::mul(x, c(0x1.715476p+0f)), c(0x1.8p+23f)), c(0x1.8p+23f));
  auto r = Simd::fma(n, c(-0x1.62e4p-1f), x);
  r = Simd::fma(n, c(-0x1.7f7d1cp-20f), r);
  auto p = c(0x1.6d110ap-10f);
  p = Simd::fma(p, r, c(0x1.120b6ep-7f));
  p = Simd::fma(p, r, c(0x1.55551ap-5f));
  p = Simd::fma(p, r, c(0x1.5554dcp-3f));
  p = Simd::fma(p, r, c(0x1.0p-1f));
  return {Simd::add(c(1.0f), Simd::fma(Simd::mul(r, r), p, r)), n};
}

/// For x <= 0 or NaN: an infinite score makes its answer NaN, which ends it.
inline __attribute__((always_inline)) Simd::F32 exp_negative(Simd::F32 x) {
  const auto e = scaled_exp(x);
  return Simd::zero_below(x, -87.0f,
                          Simd::scale_by_power(e.y, Simd::max(Simd::splat_f32(-127.0f), e.n)));  // keeps a NaN
}

/// For any x.
inline __attribute__((always_inline)) Simd::F32 exp_any(Simd::F32 x) {
  const auto e = scaled_exp(x);
  const auto n = Simd::min(Simd::splat_f32(128.0f), Simd::max(Simd::splat_f32(-127.0f), e.n));  // a NaN is in y too
  const auto y = Simd::scale_by_power(e.y, n);
  return Simd::infinity_above(x, 0x1.62e42ep+6f, Simd::zero_below(x, -87.0f, y));
}

}  // namespace
}  // namespace onebit
