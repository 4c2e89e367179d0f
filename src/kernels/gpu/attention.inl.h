// What all kernels for attention know of the contract (docs/numerics.md, 5): blocks of 64 positions fold inside
// super-blocks of 16, then these.
#pragma once

#include "kernels/exp_log.h"
#include "kernels/gpu/rows.inl.h"

namespace onebit::gpu {
namespace {

inline constexpr uint32_t kSuperBlock = 16;
inline constexpr uint32_t kMostGroup = 16;  // query heads that share a KV head

GPU_DEVICE uint32_t blocks_of(uint32_t positions) {
  return (positions + kPagePositions - 1) / kPagePositions;
}
GPU_DEVICE uint32_t supers_of(uint32_t positions) {
  return (blocks_of(positions) + kSuperBlock - 1) / kSuperBlock;
}

/// A result over some positions: o [head_dim], m and l beside it. Slots of a row's head are [blocks] + [supers].
struct Results {
  float *o, *m, *l;
};

/// Two neighbouring elements.
struct alignas(8) Pair {
  float x, y;
};

/// RoPE of the pair (i, i + half) of x: docs/numerics.md, 4.
struct Rotated {
  float low, high;
};
GPU_DEVICE Rotated rotate(float a, float b, float cos, float sin) {
  return {std::fma(-b, sin, a * cos), std::fma(a, sin, b * cos)};
}

}  // namespace
}  // namespace onebit::gpu
