// Work on a row of activations by one block of threads: RMSNorm and quantisation in the contract's order
// (docs/numerics.md, 2 and 3).
#pragma once

#include <bit>
#include <cmath>

#include "kernels/gpu/model.inl.h"

namespace onebit::gpu {
namespace {

inline constexpr uint32_t kLaneCount = 256;
inline constexpr uint32_t kInfinityBits = 0x7f800000u;

GPU_DEVICE uint32_t bits_of(float x) {
  return std::bit_cast<uint32_t>(x);
}
GPU_DEVICE float float_of(uint32_t u) {
  return std::bit_cast<float>(u);
}
GPU_DEVICE float bf16_to_float(uint16_t bits) {
  return float_of(static_cast<uint32_t>(bits) << 16);
}

/// float(v) of a word's signed byte i. Exact: 2^23 + 128 + v is a float whose last bits are v + 128.
GPU_DEVICE float float_of_byte(uint32_t word, uint32_t i) {
  return float_of((word >> (8 * i) & 0xffu) ^ 0x4b000080u) - 8388736.0f;
}

template <class T, class Combine>
GPU_DEVICE T reduce_warp(T v, Combine combine) {
  for (uint32_t mask = kWarp / 2; mask > 0; mask /= 2) v = combine(v, shuffle_xor(v, mask));
  return v;
}
GPU_DEVICE uint32_t larger(uint32_t a, uint32_t b) {
  return a > b ? a : b;
}

/// Halves 256 lanes to one, each warp for itself: l += l + 128, l + 64, … The sum does not depend on the order of an
/// addition's operands, so a butterfly gives every thread the bits of lane 0.
GPU_DEVICE float halve_lanes(const float* lanes) {
  const float* a = lanes + thread() % kWarp;
  const float even = (a[0] + a[128]) + (a[64] + a[192]);
  const float odd = (a[32] + a[160]) + (a[96] + a[224]);
  return reduce_warp(even + odd, [](float x, float y) { return x + y; });
}

/// A block's shared scratch for these functions.
struct RowScratch {
  float lanes[kLaneCount];
  uint32_t largest[32];  // by warp
  int32_t sum[32];       // by warp
};

/// What is known of a quantised row besides its bytes.
struct RowScale {
  float s;      // the largest magnitude
  int32_t sum;  // of the int8 values
};

/// The largest of the threads' values, for all of them.
GPU_DEVICE uint32_t largest_in_block(uint32_t v, RowScratch& scratch) {
  v = largest_in_warp(v);
  if (thread() % kWarp == 0) scratch.largest[thread() / kWarp] = v;
  sync_block();
  const uint32_t warps = threads() / kWarp;
  v = thread() % kWarp < warps ? scratch.largest[thread() % kWarp] : 0u;
  return largest_in_warp(v);
}

GPU_DEVICE int32_t sum_in_block(int32_t v, RowScratch& scratch) {
  v = sum_in_warp(v);
  if (thread() % kWarp == 0) scratch.sum[thread() / kWarp] = v;
  sync_block();
  const uint32_t warps = threads() / kWarp;
  v = thread() % kWarp < warps ? scratch.sum[thread() % kWarp] : 0;
  return sum_in_warp(v);
}

/// x · factor to nearest even, where factor is 127 / s and |x| <= s, all finite. What is added leaves the integer in
/// the lowest bits of the sum, and since |x · factor| is less than 127.5 there is nothing to clamp.
GPU_DEVICE int32_t quantized(float x, float factor) {
  return static_cast<int32_t>(bits_of(x * factor + 0x1.8p+23f) - 0x4b400000u);
}

GPU_DEVICE float squared_relu_gate(float gate, float up) {
  const float r = gate > 0.0f ? gate : (gate == gate ? 0.0f : gate);
  return (r * r) * up;
}

}  // namespace
}  // namespace onebit::gpu
