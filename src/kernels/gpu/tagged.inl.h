// Values that pass from block to block without a barrier: each stands in 64 bits beside the number of the layer that it
// belongs to, written and read at once. A reader that finds the number has the value; one load is the wait and the
// transport.
#pragma once

#include <utility>

#include "kernels/gpu/rows.inl.h"

namespace onebit::gpu {
namespace {

using Tagged = uint64_t;

GPU_DEVICE void publish(Tagged* to, float value, uint32_t tag) {
  store_relaxed(to, static_cast<uint64_t>(tag) << 32 | bits_of(value));
}

template <class Visit, uint32_t... kOffsets>
GPU_DEVICE void visit_from(uint32_t begin, const Visit& visit,
                           std::integer_sequence<uint32_t, kOffsets...> /*offsets*/) {
  (visit(begin + kOffsets), ...);
}
/// Calls visit(k) for k < most, and in the last eight possibly for some more; most is the same for a whole warp. Not a
/// loop, since what is indexed by k must be in registers.
template <uint32_t kMost, uint32_t kBegin = 0, class Visit>
GPU_DEVICE void by_eights(uint32_t most, const Visit& visit) {
  constexpr uint32_t kEach = kMost - kBegin < 8 ? kMost - kBegin : 8;
  if (kBegin >= most) return;
  visit_from(kBegin, visit, std::make_integer_sequence<uint32_t, kEach>{});
  if constexpr (kBegin + kEach < kMost) by_eights<kMost, kBegin + kEach>(most, visit);
}

/// Waits for one value, if `mine`, for who would only be in others' way with more loads than that.
GPU_DEVICE void await(const Tagged* at, bool mine, uint32_t tag) {
  while (mine && static_cast<uint32_t>(load_relaxed(at) >> 32) != tag) pause();
}

/// value[k] = what stands at(k), for all k < count, once it has the tag. All loads are under way at once: they come
/// from afar. count <= most <= kMost; most is the same for a whole warp.
template <uint32_t kMost, class At>
GPU_DEVICE void gather(float (&value)[kMost], uint32_t count, uint32_t most, uint32_t tag, At at) {
  Tagged got[kMost];
  by_eights<kMost>(most, [&](uint32_t k) { got[k] = static_cast<uint64_t>(k < count ? ~tag : tag) << 32; });
  for (bool here = false; !here;) {
    by_eights<kMost>(most, [&](uint32_t k) {
      if (static_cast<uint32_t>(got[k] >> 32) != tag) got[k] = load_relaxed(at(k));
    });
    here = true;
    by_eights<kMost>(most, [&](uint32_t k) { here = here && static_cast<uint32_t>(got[k] >> 32) == tag; });
    if (!here) pause();
  }
  by_eights<kMost>(most, [&](uint32_t k) { value[k] = float_of(static_cast<uint32_t>(got[k])); });
}

}  // namespace
}  // namespace onebit::gpu
