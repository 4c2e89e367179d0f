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
#include "kernels/gpu/decode_product.inl.h"
#include "kernels/gpu/decode_state.inl.h"

namespace onebit::gpu {
namespace {

/// Elements of a row that a thread has at most.
inline constexpr uint32_t kMostOfRow = 16;
static_assert(kDecodeThreads == 2 * kLaneCount);

/// A row, its RMSNorm and that quantised, in q(), with the bytes that pad it. Two threads have a lane of the contract's
/// sum: one its first elements, the other goes on from there. Ends with a barrier; what stands in q() before may be
/// needed until its first one. y: null, or where the norm goes as well.
template <Code kCode>
GPU_DEVICE void Decode::norm(const RowIn& in, float* y) const {
  DecodeState& s = state();
  const uint32_t lane = thread_ % kLaneCount, warp = thread_ / kWarp;
  const uint32_t all = lane < in.n ? (in.n - 1 - lane) / kLaneCount + 1 : 0;
  const uint32_t split = ((in.n - 1) / kLaneCount + 2) / 2;  // elements of those who begin
  const bool goes_on = thread_ >= kLaneCount;
  const uint32_t first = goes_on ? split * kLaneCount + lane : lane;
  const uint32_t count = goes_on ? (all > split ? all - split : 0) : (all < split ? all : split);
  // visit(k, whether there is a k-th element). Sixteen predicates kept from one loop to the next would fill the
  // registers.
  const auto each = [&](auto visit) {
    const uint32_t there = opaque(count);
    by_eights<kMostOfRow>(split, [&](uint32_t k) { visit(k, k < there); });
  };
  // With t2, 256 columns are two units, so a thread's elements are 256 bytes apart in either order.
  const uint32_t first_place = in.plain || kCode == Code::kT1_6 ? first : place_in_units<kCode>(first);
  const auto place = [&](uint32_t k) {
    if (kCode == Code::kT1_6 && !in.plain) return uint32_t{places()[first + k * kLaneCount]};
    return first_place + k * kLaneCount;
  };
  float w[kMostOfRow], v[kMostOfRow];
  each([&](uint32_t k, bool there) { w[k] = there ? in.weight[first + k * kLaneCount] : 0.0f; });
  const uint32_t columns = in.row_blocks * (in.plain ? kColumns<Code::kQ8> : kColumns<kCode>);
  for (uint32_t i = in.n + thread_; i < columns; i += kDecodeThreads) q()[in.plain ? i : place_in_units<kCode>(i)] = 0;
  if (in.from != nullptr) {
    const auto at = [&](uint32_t k) { return in.from + first + k * kLaneCount; };
    if (in.waits) await(at(0), count > 0, in.tag);
    gather(v, count, split, in.tag, at);
  }
  mark(in.mark);
  if (in.from == nullptr || in.adds)
    each([&](uint32_t k, bool there) {
      if (!there) return;
      float* mine = x() + first + k * kLaneCount;
      v[k] = in.from == nullptr ? *mine : *mine + v[k];
      *mine = v[k];
    });
  float sum = 0.0f;
  const auto add_up = [&] {
    each([&](uint32_t k, bool there) {
      if (there) sum = std::fma(v[k], v[k], sum);
    });
    s.lanes[lane] = sum;
  };
  if (!goes_on) add_up();
  sync_block();
  if (goes_on) {
    sum = s.lanes[lane];
    add_up();
  }
  sync_block();
  const float mean = halve_lanes(s.lanes) / static_cast<float>(in.n);
  const float inverse = 1.0f / std::sqrt(mean + a_.model.shape.rms_epsilon);
  uint32_t largest = bits_of(1e-5f);
  each([&](uint32_t k, bool there) {
    if (!there) return;
    v[k] = v[k] * inverse * w[k];
    largest = larger(largest, bits_of(v[k]) & 0x7fffffffu);
  });
  if (y != nullptr)
    each([&](uint32_t k, bool there) {
      if (there) y[first + k * kLaneCount] = v[k];
    });
  largest = largest_in_warp(largest);
  if (thread_ % kWarp == 0) s.largest[warp] = largest;
  sync_block();
  largest = largest_in_warp(s.largest[thread_ % kDecodeWarps]);
  const float factor = 127.0f / float_of(largest);
  const bool finite = largest < kInfinityBits;
  if (thread_ == kDecodeThreads - 1) {
    s.step = float_of(largest) / 127.0f;
    s.finite = finite;
  }
  int32_t total = 0;
  each([&](uint32_t k, bool there) {
    if (!there) return;
    const int32_t value = finite ? quantized(v[k], factor) : 0;
    total += value;
    q()[place(k)] = static_cast<int8_t>(value);
  });
  total = sum_in_warp(total);
  if (thread_ % kWarp == 0) s.sum[warp] = total;
  sync_block();
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
    GPU_UNROLL(1)
    for (uint32_t slot = 0; slot < kSlots; ++slot) d.order_weights(slot, 0);
    GPU_UNROLL(1)
    for (uint32_t values = 0; values < 2; ++values) d.order_kv(0, values != 0);
  }
  if (thread() % kWarp == 0) d.share_out();
  for (uint32_t slot = 0; slot < kSlots; ++slot)
    for (uint32_t i = thread(); i < d.state().work[slot].all() * kTileRows16; i += kDecodeThreads) d.sums()[i] = 0;
  if constexpr (kCode == Code::kT1_6) {
    fill_trit_table(d.table());
    const uint32_t queries = c.heads * c.head_dim, widest = larger(larger(c.hidden, queries), c.ffn);
    for (uint32_t i = thread(); i < widest; i += kDecodeThreads)
      d.places()[i] = static_cast<uint16_t>(place_in_units<kCode>(i));
  }
  if (block() == 0) prefetch_norms(d.layer(0), c);
  const uint16_t* embedding = a.model.embedding + static_cast<uint64_t>(a.token) * c.hidden;
  for (uint32_t i = thread(); i < c.hidden; i += kDecodeThreads) d.x()[i] = bf16_to_float(embedding[i]);
  sync_block();
}

/// blocks: one a multiprocessor, all at once, and none without a group of each product; kDecodeThreads threads.
template <Code kCode, KvFormat kFormat>
GPU_KERNEL(kDecodeThreads, 1)
decode(GPU_ARGUMENT DecodeArgs argument) {
  const DecodeArgs& a = argument_of(argument);
  const Shape& c = a.model.shape;
  decode_begin<kCode>(Decode(a));
  // One loop, so that what all products do stands in the program once.
  GPU_UNROLL(1)
  for (uint32_t phase = 0; phase <= c.layers * kSlots; ++phase) {
    const Decode d(a);
    const uint32_t i = phase / kSlots, slot = phase < c.layers * kSlots ? phase % kSlots : kHead;
    if (slot == kQkv) copy_async_wait<0>();  // layer i + 1, before the next barrier
    if (slot == kOutput) {
      d.fetch_layer(i + 2);
      copy_async_commit();
      if (i + 1 < c.layers && block() == (i + 1) % blocks()) prefetch_norms(d.layer(i + 1), c);
      d.attention<kFormat>(i);
    }
    const bool half_head = a.model.half_head != nullptr && slot == kHead && block() == 0;
    const RowScales scales = d.row_scales(slot < kSlots ? slot : kDown, i, thread());
    d.norm<kCode>(d.row_in(slot, i), half_head ? a.normed : nullptr);
    if (slot != kHead) d.product<kCode>(slot, i, scales);
  }
  const Decode d(a);
  if (block() == 0 && thread() == 0 && !d.state().finite) a.problems->residual = 1;
  if (a.wants_logits != 0 && a.model.half_head == nullptr) d.head<Code::kQ8>();
  d.mark(c.layers * 5 + 1);
  d.report();
}

}  // namespace
}  // namespace onebit::gpu
