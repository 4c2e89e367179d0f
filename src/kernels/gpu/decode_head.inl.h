// The end of a token's pass: the logits of an int8 head, the largest of them, and what the host hears.
#pragma once

#include "kernels/gpu/decode_state.inl.h"

namespace onebit::gpu {
namespace {

/// Orders logits, larger first, ties to the lower id.
GPU_DEVICE uint64_t pick_key(float logit, uint32_t id) {
  const uint32_t u = bits_of(logit == 0.0f ? 0.0f : logit);  // -0 and +0 are a tie
  const uint32_t ordered = (u & 0x80000000u) != 0 ? ~u : u | 0x80000000u;
  return static_cast<uint64_t>(ordered) << 32 | (0xffffffffu - id);
}

/// This block's groups of 16 rows, each divided over the warps.
template <Code kCode>
GPU_DEVICE void Decode::head() const {
  const DeviceMatrix& m = a_.model.head;
  const auto cut = [](uint32_t n, uint32_t i, uint32_t of) {
    return static_cast<uint32_t>(static_cast<uint64_t>(n) * i / of);
  };
  const uint32_t begin = cut(m.groups, block(), blocks()), end = cut(m.groups, block() + 1, blocks());
  const uint32_t lane = thread() % kWarp, warp = thread() / kWarp;
  const uint32_t first = cut(m.units(), warp, kDecodeWarps) * kUnitBlocks + lane / 4;
  const uint32_t most = cut(m.units(), warp + 1, kDecodeWarps) * kUnitBlocks;
  const uint32_t last = most < m.blocks ? most : m.blocks;
  // Where the layers' weights were: their last use is over.
  auto* sums = reinterpret_cast<int32_t*>(shared(a_.slots_offset));
  for (uint32_t i = thread(); i < (end - begin) * kTileRows16; i += kDecodeThreads) sums[i] = 0;
  sync_block();
  // A group's first loads are under way while the one before is added up.
  constexpr uint32_t kAhead = 5;
  uint4 ahead[kAhead];
  const auto load = [&](uint32_t group) {
    const unsigned char* data = m.data + static_cast<uint64_t>(group) * m.blocks * kBlockSize + lane % 4 * 16;
    GPU_UNROLL_ALL
    for (uint32_t j = 0; j < kAhead; ++j) {
      const uint32_t at = first + j * kUnitBlocks;
      if (at < last) ahead[j] = load_stream(data + static_cast<uint64_t>(at) * kBlockSize);
    }
  };
  load(begin);
  for (uint32_t group = begin; group < end; ++group) {
    RowSums<kCode> total;
    total.clear();
    GPU_UNROLL_ALL
    for (uint32_t j = 0; j < kAhead; ++j) {
      const uint32_t at = first + j * kUnitBlocks;
      if (at < last) total.add_block(ahead[j], words_of<kCode>(q(), at, m.blocks), nullptr);
    }
    if (group + 1 < end) load(group + 1);
    const unsigned char* data = m.data + static_cast<uint64_t>(group) * m.blocks * kBlockSize + lane % 4 * 16;
    for (uint32_t at = first + kAhead * kUnitBlocks; at < last; at += kUnitBlocks)
      total.add_block(load_stream(data + static_cast<uint64_t>(at) * kBlockSize), words_of<kCode>(q(), at, m.blocks),
                      nullptr);
    const int32_t sum = total.over_warp();
    if (row_is_mine()) atomic_add(sums + (group - begin) * kTileRows16 + row_of_thread(), sum);
  }
  sync_block();
  uint64_t best = 0;
  bool finite = true;
  const float step = state().step;
  for (uint32_t i = thread(); i < (end - begin) * kTileRows16; i += kDecodeThreads) {
    const uint32_t id = begin * kTileRows16 + i;
    if (id >= m.rows) break;
    const float logit = static_cast<float>(sums[i]) * (m.scale(id) * step);
    finite = finite && (bits_of(logit) & 0x7fffffffu) < kInfinityBits;
    if (a_.wants_logits > 1) a_.logits[id] = logit;
    const uint64_t key = pick_key(logit, id);
    best = best > key ? best : key;
  }
  if (!finite) a_.problems->logits = 1;
  best = reduce_warp(best, [](uint64_t a, uint64_t b) { return a > b ? a : b; });
  if (lane == 0) atomic_max(a_.best, best);
}

/// By all blocks: the last one writes to the host's memory, which is nearer to the host than a copy that it orders.
GPU_DEVICE void Decode::report() const {
  sync_block();
  if (thread() != 0 || atomic_add_release(a_.ticket, 1u) + 1 != blocks()) return;
  *a_.ticket = 0;
  fence();
  const uint64_t problems = load_relaxed(reinterpret_cast<const uint64_t*>(a_.problems));
  a_.answer->problems = {static_cast<uint32_t>(problems), static_cast<uint32_t>(problems >> 32)};
  a_.answer->best = load_relaxed(a_.best);
}

}  // namespace
}  // namespace onebit::gpu
