// The largest logits of rows, on the device: descending, ties to the lower id (docs/numerics.md, 8).
#pragma once

#include "kernels/gpu/decode.inl.h"

namespace onebit::gpu {
namespace {

inline constexpr uint32_t kPickThreads = 256;
inline constexpr uint32_t kPickEach = 16;  // keys that a thread holds
inline constexpr uint32_t kPickPart = kPickThreads * kPickEach;

struct PickArgs {
  const float* logits;  // [rows][vocabulary]
  uint32_t vocabulary;
  uint32_t parts;          // of a row
  const uint32_t* wanted;  // [rows]: how many; 0: none
  uint64_t* keys;          // [rows][parts][kMostPicked]
  Picked* picked;          // [rows][kMostPicked]
  Problems* problems;
};

/// The `wanted` largest keys of a block, found one by one, each by whoever holds it.
GPU_DEVICE void pick_keys(uint64_t (&key)[kPickEach], uint32_t wanted, uint64_t* out) {
  auto* best = reinterpret_cast<uint64_t*>(shared_memory());  // [2][warps]
  const auto more = [](uint64_t a, uint64_t b) { return a > b ? a : b; };
  constexpr uint32_t kWarps = kPickThreads / kWarp;
  uint64_t mine = 0;
  for (const uint64_t k : key) mine = more(mine, k);
  for (uint32_t i = 0; i < wanted; ++i) {
    uint64_t* round = best + i % 2 * kWarps;  // two of them, so that one barrier a round is enough
    const uint64_t of_warp = reduce_warp(mine, more);
    if (thread() % kWarp == 0) round[thread() / kWarp] = of_warp;
    sync_block();
    uint64_t largest = 0;
    for (uint32_t w = 0; w < kWarps; ++w) largest = more(largest, round[w]);
    if (thread() == 0) out[i] = largest;
    if (mine == largest && largest != 0) {
      mine = 0;
      for (uint64_t& k : key) {
        if (k == largest) k = 0;
        mine = more(mine, k);
      }
    }
  }
}

/// Of a part of a row; also looks for what is not finite. A key is never 0.
GPU_KERNEL(kPickThreads, 1)
pick_parts(GPU_ARGUMENT PickArgs a) {
  const uint32_t row = block() / a.parts, part = block() % a.parts;
  const float* logits = a.logits + static_cast<uint64_t>(row) * a.vocabulary;
  uint64_t key[kPickEach];
  bool finite = true;
  for (uint32_t i = 0; i < kPickEach; ++i) {
    const uint32_t id = part * kPickPart + i * kPickThreads + thread();
    const float logit = id < a.vocabulary ? logits[id] : 0.0f;
    finite = finite && (bits_of(logit) & 0x7fffffffu) < kInfinityBits;
    key[i] = id < a.vocabulary ? pick_key(logit, id) : 0;
  }
  if (!finite) a.problems->logits = 1;
  pick_keys(key, a.wanted[row], a.keys + (static_cast<uint64_t>(row) * a.parts + part) * kMostPicked);
}

/// Of the parts' keys; vocabularies of up to kPickPart / kMostPicked parts.
GPU_KERNEL(kPickThreads, 1)
pick_rows(GPU_ARGUMENT PickArgs a) {
  const uint32_t wanted = a.wanted[block()];
  const uint64_t* keys = a.keys + static_cast<uint64_t>(block()) * a.parts * kMostPicked;
  auto* largest = reinterpret_cast<uint64_t*>(shared_memory()) + 2 * (kPickThreads / kWarp);  // [kMostPicked]
  uint64_t key[kPickEach];
  for (uint32_t i = 0; i < kPickEach; ++i) {
    const uint32_t at = i * kPickThreads + thread();
    key[i] = at < a.parts * wanted
                 ? keys[at / (wanted == 0 ? 1 : wanted) * kMostPicked + at % (wanted == 0 ? 1 : wanted)]
                 : 0;
  }
  pick_keys(key, wanted, largest);
  sync_block();
  for (uint32_t i = thread(); i < wanted; i += kPickThreads) {
    const uint64_t k = largest[i];
    const uint32_t id = 0xffffffffu - static_cast<uint32_t>(k & 0xffffffffu);
    if (k != 0)
      a.picked[block() * kMostPicked + i] = {static_cast<int32_t>(id),
                                             a.logits[static_cast<uint64_t>(block()) * a.vocabulary + id]};
  }
}

}  // namespace
}  // namespace onebit::gpu
