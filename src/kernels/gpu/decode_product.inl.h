// Products of one row of activations in a token's pass: a block of threads has whole groups of 16 rows, of which each
// warp takes some units.
#pragma once

#include "kernels/gpu/decode_state.inl.h"

namespace onebit::gpu {
namespace {

/// Sums of one row of activations and the 16 rows of a group, by the matrix instruction, whose other columns are the
/// same again. A thread reads of a unit two neighbouring rows of two blocks. Fields of two bits are multiplied where
/// they stand, 4^j times too large, and each has a sum of its own.
template <Code kCode>
struct GroupSums {
  int32_t d[kFields<kCode>][4];

  GPU_DEVICE void clear() {
    for (auto& field : d)
      for (auto& sum : field) sum = 0;
  }
  /// Of rows 2 g and 2 g + 1, g = lane / 4, in the unit's blocks t (low) and t + 4 (high), t = lane % 4.
  GPU_DEVICE void add(const uint2& low, const uint2& high, const uint2* words, const uint32_t* table) {
    uint32_t fields[4] = {low.x, low.y, high.x, high.y};
    if constexpr (kCode == Code::kT1_6) {
      uint32_t fifth[4];
      GPU_UNROLL_ALL
      for (uint32_t i = 0; i < 4; ++i) {
        const Trits trits = decode_trits(fields[i], table);
        fields[i] = trits.x;
        fifth[i] = trits.y;
      }
      const uint2 x = words[4];
      multiply_16x8x32<false>(d[4], fifth, x.x, x.y);
    }
    GPU_UNROLL_ALL
    for (uint32_t j = 0; j < 4; ++j) {
      const uint32_t mask = 0x03030303u << 2 * j;
      const uint32_t a[4] = {fields[0] & mask, fields[1] & mask, fields[2] & mask, fields[3] & mask};
      const uint2 x = words[j];
      multiply_16x8x32<false>(d[j], a, x.x, x.y);
    }
  }
  /// Of row 2 g + upper.
  GPU_DEVICE int32_t total(bool upper) const {
    int32_t sum = 0;
    GPU_UNROLL_ALL
    for (uint32_t j = 0; j < kFields<kCode>; ++j) sum += (upper ? d[j][2] : d[j][0]) >> (j < 4 ? 2 * j : 0);
    return sum;
  }
};

/// Where a column's byte stands in q(): a thread of GroupSums finds its words of a unit one after another, those of a
/// field side by side.
template <Code kCode>
GPU_DEVICE uint32_t place_in_units(uint32_t column) {
  constexpr uint32_t kOfBlock = kColumns<kCode>;
  const uint32_t block = column / kOfBlock, in_block = column % kOfBlock;
  return block / kUnitBlocks * (kUnitBlocks * kOfBlock) + block % 4 * (2 * kOfBlock) + in_block / 4 * 8 +
         block % kUnitBlocks / 4 * 4 + in_block % 4;
}

/// Units `unit` to `end` of a group's weights at `codes`, of `blocks` blocks. In shared memory what stands behind the
/// last block of a unit that is not whole is read, and meets zeros.
template <Code kCode, bool kShared>
GPU_DEVICE void multiply_units(GroupSums<kCode>& sums, const unsigned char* codes, uint32_t blocks, uint32_t unit,
                               uint32_t end, const int8_t* q, const uint32_t* table) {
  constexpr uint32_t kUnitOfRow = kUnitBlocks * kColumns<kCode>;
  const uint32_t lane = thread() % kWarp, t = lane % 4;
  const unsigned char* from = codes + unit * kUnitBytes + t * kBlockSize + lane / 4 * 8;
  const int8_t* words = q + unit * kUnitOfRow + t * (2 * kColumns<kCode>);
  GPU_UNROLL(1)
  for (; unit < end; ++unit) {
    uint2 low, high;
    low.x = low.y = high.x = high.y = 0;
    const uint32_t block = unit * kUnitBlocks + t;
    if (kShared || block < blocks) low = *reinterpret_cast<const uint2*>(from);
    if (kShared || block + 4 < blocks) high = *reinterpret_cast<const uint2*>(from + kUnitBytes / 2);
    sums.add(low, high, reinterpret_cast<const uint2*>(words), table);
    from += kUnitBytes;
    words += kUnitOfRow;
  }
}

/// This warp's units of the block's groups of a product, added to sums().
template <Code kCode>
GPU_DEVICE void Decode::multiply(uint32_t slot, uint32_t i) const {
  const Work& work = state().work[slot];
  const WarpShare share = state().share[slot][thread_ / kWarp];
  const uint32_t per_group = work.per_group, t = thread_ % 4;
  uint32_t unit = share.in_group, left = share.count;
  for (uint32_t group = share.group; left > 0; ++group) {
    const uint32_t end = unit + left < per_group ? unit + left : per_group;
    left -= end - unit;
    GroupSums<kCode> total;
    total.clear();
    if (group < work.resident)
      multiply_units<kCode, true>(total, shared(work.offset + group * work.group_bytes), work.row_blocks, unit, end,
                                  q(), table());
    else
      multiply_units<kCode, false>(total, weights(slot, i, group), work.row_blocks, unit, end, q(), table());
    if (t < 2) atomic_add(sums() + group * kTileRows16 + thread_ % kWarp / 4 * 2 + t, total.total(t == 1));
    unit = 0;
  }
}

/// Scales of a row of the block, and of its pendant in up.
GPU_DEVICE RowScales Decode::row_scales(uint32_t slot, uint32_t i, uint32_t row) const {
  const uint32_t groups = state().work[slot].groups, group = row / kTileRows16 < groups ? row / kTileRows16 : 0;
  const float first = matrix(i, place(slot, group)).one_scale;
  return {first, slot == kGateUp ? matrix(i, place(slot, groups + group)).one_scale : first};
}

/// A product of the row in q(), published: of gate and up what comes out of both. The next layer's weights are on their
/// way afterwards, and sums() are zero. scales: of row thread_.
template <Code kCode>
GPU_DEVICE void Decode::product(uint32_t slot, uint32_t i, RowScales scales) const {
  const Work& work = state().work[slot];
  const uint32_t rows = work.groups * kTileRows16;
  Tagged* to = (slot == kQkv      ? a_.qkv
                : slot == kOutput ? a_.output
                : slot == kGateUp ? a_.gated
                                  : a_.down) +
               work.first * kTileRows16;
  copy_wait(&state().weights_here[slot], i & 1u);
  multiply<kCode>(slot, i);
  // What a row needs besides its sum, before the others are waited for.
  const float step = state().step;
  int32_t offset = 0;
  if (thread_ < rows)
    for (uint32_t k = 0; k < kDecodeWarps; k += 4) {
      const uint4 four = *reinterpret_cast<const uint4*>(state().sum + k);
      offset += static_cast<int32_t>(four.x + four.y + four.z + four.w);
    }
  sync_block();
  for (uint32_t row = thread_; row < rows; row += kDecodeThreads) {
    if (row != thread_) scales = row_scales(slot, i, row);  // a model that is too small for the device
    float y = static_cast<float>(sums()[row] - offset) * (scales.first * step);
    sums()[row] = 0;
    if (slot == kGateUp) {
      y = squared_relu_gate(y, static_cast<float>(sums()[rows + row] - offset) * (scales.second * step));
      sums()[rows + row] = 0;
    }
    publish(to + row, y, a_.tag + i);
  }
  if (thread_ / kWarp == kDecodeWarps - 1) order_weights(slot, i + 1);
}

}  // namespace
}  // namespace onebit::gpu
