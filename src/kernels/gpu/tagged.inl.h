// Values that pass from block to block without a barrier: each stands in 64 bits beside the number of the layer that it
// belongs to, written and read at once. A reader that finds the number has the value; one load is the wait and the
// transport.
#pragma once

#include "kernels/gpu/rows.inl.h"

namespace onebit::gpu {
namespace {

using Tagged = uint64_t;

GPU_DEVICE void publish(Tagged* to, float value, uint32_t tag) {
  store_relaxed(to, static_cast<uint64_t>(tag) << 32 | bits_of(value));
}

/// value[k] = what stands at(k), for all k < count, count <= kMost, once it has the tag. All loads are under way at once:
/// they come from afar.
template <uint32_t kMost, class At>
GPU_DEVICE void gather(float (&value)[kMost], uint32_t count, uint32_t tag, At at) {
  Tagged got[kMost];
  GPU_UNROLL_ALL
  for (uint32_t k = 0; k < kMost; ++k) got[k] = static_cast<uint64_t>(k < count ? ~tag : tag) << 32;
  for (bool here = false; !here;) {
    GPU_UNROLL_ALL
    for (uint32_t k = 0; k < kMost; ++k)
      if (static_cast<uint32_t>(got[k] >> 32) != tag) got[k] = load_relaxed(at(k));
    here = true;
    GPU_UNROLL_ALL
    for (uint32_t k = 0; k < kMost; ++k) here = here && static_cast<uint32_t>(got[k] >> 32) == tag;
    if (!here) pause();
  }
  GPU_UNROLL_ALL
  for (uint32_t k = 0; k < kMost; ++k) value[k] = float_of(static_cast<uint32_t>(got[k]));
}

}  // namespace
}  // namespace onebit::gpu
