// One token of one sequence: the whole forward pass in one kernel whose blocks, one a multiprocessor, are all on the
// device at once.
//
// No barrier stands between its phases. A block of threads computes whole rows of each product and publishes them as
// tagged values (tagged.inl.h); whoever needs a row waits for its values themselves. Every block keeps the residual
// stream and repeats the work on rows (norms, quantisation): that is shorter than a second way from block to block.
// A block's weights of a layer come to shared memory while it works on the layer before, so that the memory is never
// idle while blocks wait for each other.
//
// A layer's values are written over the last layer's. That is safe because every block has rows of every product: once
// somebody has all rows of a product, all blocks have read what that product was made of.
#pragma once

#include "kernels/gpu/decode_attention.inl.h"
#include "kernels/gpu/decode_head.inl.h"
#include "kernels/gpu/decode_state.inl.h"

namespace onebit::gpu {
namespace {

/// Elements of a row that a thread has at most: of the model's width, of the feed-forward's.
inline constexpr uint32_t kNarrow = 8, kWide = 16;
static_assert(kDecodeThreads == 2 * kLaneCount);

/// A row, its RMSNorm and that quantised, in q(), with the bytes that pad it. Two threads have a lane of the contract's
/// sum: one its first elements, the other goes on from there. Ends with a barrier; what stands in q() before may be
/// needed until its first one. y: null, or where the norm goes as well.
template <Code kCode, uint32_t kMost>
GPU_DEVICE void Decode::norm(const RowIn& in, float* y) const {
  DecodeState& s = state();
  const uint32_t lane = thread() % kLaneCount, warp = thread() / kWarp, of_lane = (in.n - 1 - lane) / kLaneCount + 1;
  const uint32_t split = ((in.n - 1) / kLaneCount + 2) / 2, all = lane < in.n ? of_lane : 0;
  const bool goes_on = thread() >= kLaneCount;
  const uint32_t first = goes_on ? split * kLaneCount + lane : lane;
  const uint32_t count = goes_on ? (all > split ? all - split : 0) : (all < split ? all : split);
  float w[kMost], v[kMost];
  GPU_UNROLL_ALL
  for (uint32_t k = 0; k < kMost; ++k) w[k] = k < count ? in.weight[first + k * kLaneCount] : 0.0f;
  for (uint32_t i = in.n + thread(); i < in.row_blocks * kColumns<kCode>; i += kDecodeThreads)
    q()[place_of<kCode>(i, in.row_blocks)] = 0;
  if (in.from != nullptr) gather(v, count, in.tag, [&](uint32_t k) { return in.from + first + k * kLaneCount; });
  mark(in.mark);
  if (in.from == nullptr || in.adds) {
    GPU_UNROLL_ALL
    for (uint32_t k = 0; k < kMost; ++k) {
      if (k >= count) continue;
      float* mine = x() + first + k * kLaneCount;
      v[k] = in.from == nullptr ? *mine : *mine + v[k];
      *mine = v[k];
    }
  }
  const auto add_up = [&](float sum) {
    GPU_UNROLL_ALL
    for (uint32_t k = 0; k < kMost; ++k)
      if (k < count) sum = std::fma(v[k], v[k], sum);
    return sum;
  };
  if (!goes_on) s.lanes[lane] = add_up(0.0f);
  sync_block();
  if (goes_on) s.lanes[lane] = add_up(s.lanes[lane]);
  sync_block();
  const float mean = halve_lanes(s.lanes) / static_cast<float>(in.n);
  const float inverse = 1.0f / std::sqrt(mean + a_.model.shape.rms_epsilon);
  uint32_t largest = bits_of(1e-5f);
  GPU_UNROLL_ALL
  for (uint32_t k = 0; k < kMost; ++k) {
    v[k] = k < count ? v[k] * inverse * w[k] : 0.0f;
    largest = larger(largest, bits_of(v[k]) & 0x7fffffffu);
  }
  largest = largest_in_warp(largest);
  if (thread() % kWarp == 0) s.largest[warp] = largest;
  sync_block();
  largest = largest_in_warp(s.largest[thread() % kDecodeWarps]);
  const float factor = 127.0f / float_of(largest);
  const bool finite = largest < kInfinityBits;
  if (thread() == kDecodeThreads - 1) s.step = float_of(largest) / 127.0f;
  int32_t sum = 0;
  GPU_UNROLL_ALL
  for (uint32_t k = 0; k < kMost; ++k) {
    if (k >= count) continue;
    const int32_t value = finite ? quantized(v[k], factor) : 0;
    sum += value;
    q()[place_of<kCode>(first + k * kLaneCount, in.row_blocks)] = static_cast<int8_t>(value);
    if (y != nullptr) y[first + k * kLaneCount] = v[k];
  }
  sum = sum_in_warp(sum);
  if (thread() % kWarp == 0) s.sum[warp] = sum;
  sync_block();
}

/// This warp's units of the block's groups of a product, added to sums().
template <Code kCode>
GPU_DEVICE void Decode::multiply(uint32_t slot, uint32_t i) const {
  const Work& work = state().work[slot];
  const WarpShare& share = state().share[slot][thread() / kWarp];
  const uint32_t row_blocks = work.row_blocks, per_group = work.per_group, lane = thread() % kWarp;
  uint32_t group = share.group, unit = share.in_group;
  const auto load = [&](uint32_t g, uint32_t u) {
    if (u * kUnitBlocks + lane / 4 >= row_blocks) return no_weights();
    const uint32_t at = u * kUnitBytes + lane * 16;
    if (g < work.resident) return *reinterpret_cast<const uint4*>(shared(work.offset + g * work.group_bytes + at));
    return load_stream(weights(slot, i, g) + at);
  };
  RowSums<kCode> total;
  total.clear();
  uint4 codes = share.count > 0 ? load(group, unit) : no_weights();
  for (uint32_t left = share.count; left > 0; --left) {
    const bool ends = unit + 1 == per_group;
    const uint32_t next_group = group + (ends ? 1 : 0), next_unit = ends ? 0 : unit + 1;
    const uint4 next = left > 1 ? load(next_group, next_unit) : no_weights();
    const uint32_t index = unit * kUnitBlocks + lane / 4;
    if (index < row_blocks) total.add_block(codes, words_of<kCode>(q(), index, row_blocks), table());
    if (ends || left == 1) {
      const int32_t sum = total.over_warp();
      if (row_is_mine()) atomic_add(sums() + group * kTileRows16 + row_of_thread(), sum);
      total.clear();
    }
    codes = next;
    group = next_group;
    unit = next_unit;
  }
}

/// Rows of the block's groups from their sums, which are zero afterwards; of gate and up what comes out of both.
GPU_DEVICE void Decode::publish_rows(uint32_t slot, uint32_t i, Tagged* to) const {
  const Work& work = state().work[slot];
  int32_t offset = 0;
  GPU_UNROLL_ALL
  for (const int32_t part : state().sum) offset += part;
  const uint32_t rows = work.groups * kTileRows16;
  const auto value = [&](uint32_t row) {
    const float scale = place(slot, i, row / kTileRows16).matrix->one_scale;
    return static_cast<float>(sums()[row] - offset) * (scale * state().step);
  };
  for (uint32_t row = thread(); row < rows; row += kDecodeThreads) {
    const float y = slot == kGateUp ? squared_relu_gate(value(row), value(rows + row)) : value(row);
    publish(to + work.first * kTileRows16 + row, y, a_.tag + i);
    sums()[row] = 0;
    if (slot == kGateUp) sums()[rows + row] = 0;
  }
}

/// A product of the row in q(); the next layer's weights are on their way afterwards.
template <Code kCode>
GPU_DEVICE void Decode::product(uint32_t slot, uint32_t i) const {
  copy_wait(&state().weights_here[slot], i & 1u);
  multiply<kCode>(slot, i);
  sync_block();
  publish_rows(slot, i, slot == kQkv ? a_.qkv : slot == kOutput ? a_.output : slot == kGateUp ? a_.gated : a_.down);
  if (thread() / kWarp == kDecodeWarps - 1) order_weights(slot, i + 1);
}

/// Tells the second-level cache which weights of norms the next layer wants.
GPU_DEVICE void prefetch_norms(const DeviceLayer& w, const Shape& c) {
  constexpr uint32_t kLine = 32;  // floats
  const auto row = [&](const float* from, uint32_t n) {
    for (uint32_t i = thread() * kLine; i < n; i += kDecodeThreads * kLine) prefetch(from + i);
  };
  row(w.attn_norm, c.hidden);
  row(w.attn_sub_norm, c.heads * c.head_dim);
  row(w.ffn_norm, c.hidden);
  row(w.ffn_sub_norm, c.ffn);
}

/// What a block needs before its first layer. Ends with a barrier.
template <Code kCode>
GPU_DEVICE void decode_begin(const Decode& d) {
  const DecodeArgs& a = d.a_;
  const auto& c = a.model.shape;
  if (block() == 0 && thread() == 0) {
    a.problems->residual = a.problems->logits = 0;
    *a.best = 0;
  }
  for (uint32_t i = 0; i < 2; ++i) d.fetch_layer(i);
  copy_async_commit();
  copy_async_wait<0>();
  sync_block();
  if (thread() == 0) d.divide();
  sync_block();
  if (thread() / kWarp == kDecodeWarps - 1) {
    for (uint32_t slot = 0; slot < kSlots; ++slot) d.order_weights(slot, 0);
    d.order_keys(0);
    d.order_values(0);
  }
  if (thread() % kWarp == 0) d.share_out();
  for (uint32_t slot = 0; slot < kSlots; ++slot)
    for (uint32_t i = thread(); i < d.state().work[slot].all() * kTileRows16; i += kDecodeThreads) d.sums()[i] = 0;
  if constexpr (kCode == Code::kT1_6) fill_trit_table(d.table());
  if (block() == 0) prefetch_norms(d.layer(0), c);
  const uint16_t* embedding = a.model.embedding + static_cast<uint64_t>(a.token) * c.hidden;
  for (uint32_t i = thread(); i < c.hidden; i += kDecodeThreads) d.x()[i] = bf16_to_float(embedding[i]);
  sync_block();
}

/// blocks: one a multiprocessor, all at once, and none without a group of each product; kDecodeThreads threads.
template <Code kCode, KvFormat kFormat>
GPU_KERNEL(kDecodeThreads, 1)
decode(GPU_ARGUMENT DecodeArgs argument) {
  const DecodeArgs& given = argument_of(argument);
  for (uint32_t i = thread(); i < sizeof(DecodeArgs) / 4; i += kDecodeThreads)
    reinterpret_cast<uint32_t*>(shared_memory())[i] = reinterpret_cast<const uint32_t*>(&given)[i];
  sync_block();
  const Decode d;
  const DecodeArgs& a = d.a_;
  const auto& m = a.model;
  const auto& c = m.shape;
  decode_begin<kCode>(d);
  GPU_UNROLL(1)
  for (uint32_t i = 0; i < c.layers; ++i) {
    copy_async_wait<0>();  // layer i + 1, before the next barrier
    // A loop, so that what all products do stands in the program once.
    GPU_UNROLL(1)
    for (uint32_t slot = 0; slot < kSlots; ++slot) {
      if (slot == kOutput) {
        d.fetch_layer(i + 2);
        copy_async_commit();
        if (i + 1 < c.layers && block() == (i + 1) % blocks()) prefetch_norms(d.layer(i + 1), c);
        d.attention<kFormat>(i);
      }
      const RowIn in = d.row_in(slot, i);
      if (slot == kDown)
        d.norm<kCode, kWide>(in, nullptr);
      else
        d.norm<kCode, kNarrow>(in, nullptr);
      d.product<kCode>(slot, i);
    }
  }

  float* y = reinterpret_cast<float*>(d.shared(a.slots_offset));
  d.norm<Code::kQ8, kNarrow>(
      {a.down, true, c.hidden, a.tag + c.layers - 1, m.head.blocks, m.output_norm, c.layers * 5}, y);
  if (block() == 0)
    for (uint32_t e = thread(); e < c.hidden; e += kDecodeThreads) {
      if ((bits_of(d.x()[e]) & 0x7fffffffu) >= kInfinityBits || (bits_of(y[e]) & 0x7fffffffu) >= kInfinityBits)
        a.problems->residual = 1;
      if (m.half_head != nullptr) a.normed[e] = y[e];
    }
  sync_block();
  if (a.wants_logits != 0 && m.half_head == nullptr) d.head<Code::kQ8>();
  d.mark(c.layers * 5 + 1);
  d.report();
}

}  // namespace
}  // namespace onebit::gpu
