// What happens to a row of activations between two products.
#pragma once

#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/exp.inl.h"

namespace onebit {
namespace {

constexpr uint32_t kLanes = 256, kLaneVectors = kLanes / 16;

/// The contract's lanes (3), sixteen to a vector.
struct Lanes {
  Simd::F32 of[kLaneVectors];

  Lanes() {
    for (auto& v : of) v = Simd::zero_f32();
  }
  /// l += l + 128, l += l + 64, … to one.
  float sum() {
    for (uint32_t half = kLaneVectors / 2; half > 0; half /= 2)
      for (uint32_t v = 0; v < half; ++v) of[v] = Simd::add(of[v], of[v + half]);
    alignas(64) float lane[16];
    Simd::store_f32(lane, of[0]);
    for (uint32_t half = 8; half > 0; half /= 2)
      for (uint32_t l = 0; l < half; ++l) lane[l] += lane[l + half];
    return lane[0];
  }
};

/// lane_dot with y given by a loader: load(i) gives 16 values of it, at(i) one.
template <class Load, class At>
inline float lane_dot(const float* x, uint32_t n, Load load, At at) {
  Lanes lanes;
  uint32_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
#pragma GCC unroll 16
    for (uint32_t v = 0; v < kLaneVectors; ++v)
      lanes.of[v] = Simd::fma(Simd::load_f32(x + i + 16 * v), load(i + 16 * v), lanes.of[v]);
  uint32_t v = 0;
  for (; i + 16 <= n; i += 16, ++v) lanes.of[v] = Simd::fma(Simd::load_f32(x + i), load(i), lanes.of[v]);
  if (i < n) {
    alignas(64) float lane[16];
    Simd::store_f32(lane, lanes.of[v]);
    for (uint32_t l = 0; i < n; ++i, ++l) lane[l] = __builtin_fmaf(x[i], at(i), lane[l]);
    lanes.of[v] = Simd::load_f32(lane);
  }
  return lanes.sum();
}

void rms_norm(const float* x, const float* weight, float epsilon, uint32_t n, float* y) {
  const float squares =
      lane_dot(x, n, [&](uint32_t i) { return Simd::load_f32(x + i); }, [&](uint32_t i) { return x[i]; });
  const float mean = squares / static_cast<float>(n);
  const float inverse = 1.0f / __builtin_sqrtf(mean + epsilon);
  const auto factor = Simd::splat_f32(inverse);
  uint32_t i = 0;
  for (; i + 16 <= n; i += 16)
    Simd::store_f32(y + i, Simd::mul(Simd::mul(Simd::load_f32(x + i), factor), Simd::load_f32(weight + i)));
  for (; i < n; ++i) y[i] = x[i] * inverse * weight[i];
}

inline uint32_t bits_of(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  return bits;
}
inline float float_of(uint32_t bits) {
  float x;
  __builtin_memcpy(&x, &bits, sizeof x);
  return x;
}

/// The bits of max|x|, at least those of 1e-5; as integers, so that a NaN is the largest of all.
inline uint32_t largest_magnitude(const float* x, uint32_t n) {
  uint32_t i = 0;
  auto vector = Simd::splat_i32(static_cast<int32_t>(bits_of(1e-5f)));
  for (; i + 16 <= n; i += 16) vector = Simd::max_bits(vector, Simd::load_f32(x + i));
  uint32_t largest = Simd::reduce_max(vector);
  for (; i < n; ++i) {
    const uint32_t magnitude = bits_of(x[i]) & 0x7fffffffu;
    largest = magnitude > largest ? magnitude : largest;
  }
  return largest;
}

void quantize(const float* x, uint32_t n, int8_t* q, size_t stride, float* scale, int32_t* sum) {
  const uint32_t largest = largest_magnitude(x, n);
  const float s = float_of(largest);
  *scale = s / 127.0f;
  for (size_t i = n / 64 * 64; i < stride; ++i) q[i] = 0;
  *sum = 0;
  if (largest >= 0x7f800000u) {  // not finite: every product becomes NaN by its scale
    for (uint32_t i = 0; i < n; ++i) q[i] = 0;
    return;
  }
  const float factor = 127.0f / s;
  uint32_t i = 0;
  for (; i + 16 <= n; i += 16) Simd::store_i8(q + i, Simd::mul(Simd::load_f32(x + i), Simd::splat_f32(factor)));
  for (; i < n; ++i) q[i] = static_cast<int8_t>(__builtin_nearbyintf(x[i] * factor));
  auto ones = Simd::zero_i32();
  for (i = 0; i < n; i += 64)
    ones = Simd::dot_small(ones, Simd::splat_byte(1), Simd::load_i32(reinterpret_cast<const int32_t*>(q + i)));
  alignas(64) int32_t lane[16];
  Simd::store_i32(lane, ones);
  for (const int32_t l : lane) *sum += l;
}

void rope(float* x, uint32_t heads, uint32_t head_dim, const float* cos, const float* sin) {
  const uint32_t half = head_dim / 2;
  for (uint32_t head = 0; head < heads; ++head, x += head_dim) {
    uint32_t i = 0;
    for (; i + 16 <= half; i += 16) {
      const auto a = Simd::load_f32(x + i), b = Simd::load_f32(x + i + half);
      const auto c = Simd::load_f32(cos + i), s = Simd::load_f32(sin + i);
      Simd::store_f32(x + i, Simd::fma(Simd::sub(Simd::splat_f32(-0.0f), b), s, Simd::mul(a, c)));
      Simd::store_f32(x + i + half, Simd::fma(a, s, Simd::mul(b, c)));
    }
    for (; i < half; ++i) {
      const float a = x[i], b = x[i + half];
      x[i] = __builtin_fmaf(-b, sin[i], a * cos[i]);
      x[i + half] = __builtin_fmaf(a, sin[i], b * cos[i]);
    }
  }
}

void squared_relu_gate(const float* gate, const float* up, uint32_t n, float* y) {
  uint32_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const auto r = Simd::max(Simd::zero_f32(), Simd::load_f32(gate + i));  // keeps a NaN
    Simd::store_f32(y + i, Simd::mul(Simd::mul(r, r), Simd::load_f32(up + i)));
  }
  for (; i < n; ++i) {
    const float r = gate[i] < 0.0f ? 0.0f : gate[i];
    y[i] = (r * r) * up[i];
  }
}

void silu_gate(const float* gate, const float* up, uint32_t n, float* y) {
  const auto sixteen = [](const float* g, const float* u, float* to) {
    const auto x = Simd::load_f32(g);
    const auto below = Simd::add(Simd::splat_f32(1.0f), exp_any(Simd::sub(Simd::splat_f32(-0.0f), x)));
    Simd::store_f32(to, Simd::mul(Simd::div(x, below), Simd::load_f32(u)));
  };
  uint32_t i = 0;
  for (; i + 16 <= n; i += 16) sixteen(gate + i, up + i, y + i);
  if (i == n) return;
  float g[16] = {}, u[16] = {};
  for (uint32_t j = 0; i + j < n; ++j) {
    g[j] = gate[i + j];
    u[j] = up[i + j];
  }
  sixteen(g, u, g);
  for (uint32_t j = 0; i + j < n; ++j) y[i + j] = g[j];
}

void widen_bf16(const uint16_t* x, uint32_t n, float* y) {
  for (uint32_t i = 0; i < n; ++i) y[i] = float_of(uint32_t{x[i]} << 16);
}

void half_rows(const uint16_t* w, bool bf16, uint32_t columns, uint32_t begin, uint32_t end, const float* x, float* y) {
  for (uint32_t row = begin; row < end; ++row) {
    const uint16_t* of_row = w + size_t{row} * columns;
    alignas(64) uint16_t rest[16] = {};  // of the row, so that one value can be widened as sixteen are
    const auto one = [&](uint32_t i) {
      rest[0] = of_row[i];
      alignas(64) float wide[16];
      Simd::store_f32(wide, bf16 ? Simd::load_bf16(rest) : Simd::load_f16(rest));
      return wide[0];
    };
    y[row] = bf16 ? lane_dot(
                        x, columns, [&](uint32_t i) { return Simd::load_bf16(of_row + i); }, one)
                  : lane_dot(x, columns, [&](uint32_t i) { return Simd::load_f16(of_row + i); }, one);
  }
}

}  // namespace
}  // namespace onebit
