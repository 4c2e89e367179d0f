// A step of many rows, kernel by kernel: what stands between the products (products.inl.h).
#pragma once

#include "kernels/gpu/attention.inl.h"
#include "kernels/gpu/place.inl.h"

namespace onebit::gpu {
namespace {

/// x [rows][hidden].
GPU_KERNEL(kRowThreads, 1)
embed_rows(const uint16_t* embedding, StepView step, uint32_t hidden, float* x) {
  const uint16_t* from = embedding + static_cast<uint64_t>(step.rows[block()].token) * hidden;
  float* to = x + static_cast<uint64_t>(block()) * hidden;
  for (uint32_t i = thread(); i < hidden; i += kRowThreads) to[i] = bf16_to_float(from[i]);
}

struct NormArgs {
  float* x;  // [rows][n]
  uint32_t n;
  const float* weight;
  float epsilon;
  ProductRows added;  // by `matrix`, to x, which is written then; sums null: nothing is
  DeviceMatrix matrix;
  QuantizedRows out;
  uint32_t row_bytes;        // of a row's whole chunks
  const uint32_t* row_list;  // block i takes row row_list[i] of x, and row i of out; null: the same
  float* y;                  // null, or [rows][n]: the normalised rows as they are
  Problems* problems;        // null, or who hears of what is not finite in x or its norm
};

/// A row's elements as a block's threads hold them, each those of its lane (docs/numerics.md, 3): in registers up to
/// kEach each, or, kEach 0, in shared memory. The k-th of a thread is kRowThreads · k behind its first.
template <class T, uint32_t kEach>
struct HeldRow {
  T v[kEach];
  /// call(kRowThreads · k, v[k]) for what is in the row; left: elements of the row from this thread's first one on.
  template <class Call>
  GPU_DEVICE void each(uint32_t left, Call call) {
    GPU_UNROLL_ALL
    for (uint32_t k = 0; k < kEach; ++k)
      if (k * kRowThreads < left) call(k * kRowThreads, v[k]);
  }
  /// The same, and also for what is not in the row.
  template <class Call>
  GPU_DEVICE void all(uint32_t /*left*/, Call call) {
    GPU_UNROLL_ALL
    for (uint32_t k = 0; k < kEach; ++k) call(k * kRowThreads, v[k]);
  }
};
template <class T>
struct HeldRow<T, 0> {
  T* v;
  template <class Call>
  GPU_DEVICE void each(uint32_t left, Call call) {
    for (uint32_t at = 0; at < left; at += kRowThreads) call(at, v[at]);
  }
  template <class Call>
  GPU_DEVICE void all(uint32_t left, Call call) {
    each(left, call);
  }
};

GPU_DEVICE bool is_finite(float x) {
  return (bits_of(x) & 0x7fffffffu) < kInfinityBits;
}

/// x of a row, with the product that is still to be added; zeros behind its end. i: this thread's first element.
template <uint32_t kEach>
GPU_DEVICE void take_row(HeldRow<float, kEach>& held, float* x, uint32_t left, const ProductRows& added,
                         const DeviceMatrix& matrix, uint32_t row, uint32_t i) {
  held.all(left, [](uint32_t, float& value) { value = 0.0f; });
  x += i;
  if (added.sums == nullptr) {
    held.each(left, [&](uint32_t at, float& value) { value = x[at]; });
    return;
  }
  int32_t* sums = added.sums + static_cast<uint64_t>(row) * added.stride + i;
  const float s = added.s[row];
  const int32_t offset = added.sum[row];
  if (matrix.scales == nullptr) {
    const float scale = matrix.one_scale;
    held.each(left, [&](uint32_t at, float& value) { value = x[at] + product_value(sums[at], offset, scale, s); });
  } else {
    const float* scales = matrix.scales + i;
    held.each(left, [&](uint32_t at, float& value) { value = x[at] + product_value(sums[at], offset, scales[at], s); });
  }
  held.each(left, [&](uint32_t at, float& value) { x[at] = value; });
  if (added.clear != 0) held.each(left, [&](uint32_t at, float&) { sums[at] = 0; });
}

/// Weights of a norm, known before the row is: in registers where there are enough for both.
inline constexpr uint32_t kMostHeldWeights = 12;
template <uint32_t kEach>
struct NormWeights {
  const float* from;  // from this thread's first element on
  HeldRow<float, kEach <= kMostHeldWeights ? kEach : 0> held;
  GPU_DEVICE void take(uint32_t left) {
    if constexpr (kEach > kMostHeldWeights) return;
    held.all(left, [](uint32_t, float& value) { value = 0.0f; });
    held.each(left, [&](uint32_t at, float& value) { value = from[at]; });
  }
  GPU_DEVICE float of(uint32_t at) const {
    if constexpr (kEach > kMostHeldWeights) return from[at];
    return held.v[kEach == 0 ? at : at / kRowThreads];
  }
};

/// x becomes its norm. Returns the largest magnitude, as bits.
template <uint32_t kEach>
GPU_DEVICE uint32_t normalise(HeldRow<float, kEach>& x, const NormWeights<kEach>& weights, uint32_t left,
                              float inverse) {
  uint32_t largest = bits_of(1e-5f);
  x.each(left, [&](uint32_t at, float& value) {
    value = value * inverse * weights.of(at);
    largest = larger(largest, bits_of(value) & 0x7fffffffu);
  });
  return largest;
}

/// RMSNorm of a row and its quantisation for products with blocks of kCode. Shared: RowScratch, row_bytes, and for
/// kEach 0 two rows of n floats.
template <Code kCode, uint32_t kEach>
GPU_KERNEL(kRowThreads, kEach <= kMostHeldWeights ? 4 : 2)
norm_rows(GPU_ARGUMENT NormArgs a) {
  auto& scratch = *reinterpret_cast<RowScratch*>(shared_memory());
  auto* bytes = reinterpret_cast<int8_t*>(shared_memory() + sizeof(RowScratch));
  HeldRow<float, kEach> held;
  NormWeights<kEach> weights;
  const uint32_t i = thread(), left = i < a.n ? a.n - i : 0;
  if constexpr (kEach == 0) {
    held.v = reinterpret_cast<float*>(bytes + a.row_bytes) + i;
    weights.held.v = held.v + a.n;
  }
  weights.from = a.weight + i;
  weights.take(left);
  wait_for_earlier();
  let_next_begin();
  const uint32_t row = a.row_list != nullptr ? a.row_list[block()] : block();
  take_row<kEach>(held, a.x + static_cast<uint64_t>(row) * a.n, left, a.added, a.matrix, row, i);
  float sum = 0.0f;
  held.all(left, [&](uint32_t, float& x) { sum = std::fma(x, x, sum); });
  scratch.lanes[thread()] = sum;
  sync_block();
  const float inverse = 1.0f / std::sqrt(halve_lanes(scratch.lanes) / static_cast<float>(a.n) + a.epsilon);
  // Where an element is not finite its norm is not: infinities make `inverse` zero.
  uint32_t largest = normalise(held, weights, left, inverse);
  if (a.y != nullptr) {
    float* y = a.y + static_cast<uint64_t>(block()) * a.n + i;
    held.each(left, [&](uint32_t at, float& value) { y[at] = value; });
  }
  largest = largest_in_block(largest, scratch);
  const bool sound = largest < kInfinityBits;
  const float s = float_of(largest), factor = 127.0f / s;
  int32_t quantized_sum = 0;
  // From one of a thread's elements to the next.
  constexpr bool kWholeUnits = kCode == Code::kQ8 || kRowThreads % (kColumns<kCode> * kUnitBlocks) == 0;
  const uint32_t place = chunk_place<kCode>(i);
  held.each(left, [&](uint32_t at, float& y) {
    const int32_t v = sound ? quantized(y, factor) : 0;
    quantized_sum += v;
    bytes[kWholeUnits ? at + place : chunk_place<kCode>(at + i)] = static_cast<int8_t>(v);
  });
  for (uint32_t at = a.n + i; at < a.row_bytes; at += kRowThreads) bytes[chunk_place<kCode>(at)] = 0;
  quantized_sum = sum_in_block(quantized_sum, scratch);
  for (uint32_t at = i * 16; at < a.row_bytes; at += kRowThreads * 16)
    *reinterpret_cast<uint4*>(quantized_at(a.out, block(), at)) = *reinterpret_cast<const uint4*>(bytes + at);
  if (i == 0) {
    a.out.s[block()] = s / 127.0f;
    a.out.sum[block()] = quantized_sum;
    if (a.problems != nullptr && !sound) a.problems->residual = 1;
  }
}

/// Adds the last product to the residual stream, and looks for what is not finite there.
struct FinishArgs {
  float* x;  // [rows][n]
  uint32_t n;
  ProductRows added;
  DeviceMatrix matrix;
  Problems* problems;
};
GPU_KERNEL(kRowThreads, 2)
finish_rows(GPU_ARGUMENT FinishArgs a) {
  float* x = a.x + static_cast<uint64_t>(block()) * a.n;
  int32_t* sums = a.added.sums + static_cast<uint64_t>(block()) * a.added.stride;
  wait_for_earlier();
  let_next_begin();
  const float s = a.added.s[block()];
  const int32_t offset = a.added.sum[block()];
  bool finite = true;
  GPU_UNROLL(4)
  for (uint32_t i = thread(); i < a.n; i += kRowThreads) {
    const float value = x[i] + product_value(sums[i], offset, a.matrix.scale(i), s);
    x[i] = value;
    finite = finite && is_finite(value);
  }
  if (!finite) a.problems->residual = 1;
}

/// One KV block for one row, all heads of a KV head.
inline constexpr uint32_t kNoRow = 0xffffffffu;
struct AttendTask {
  uint32_t row, kv_block;  // kNoRow: a place without a task
  uint32_t blocks;         // that the row sees
  uint32_t first_part;     // slots of parts before this row's, a head's worth each
};
struct AttendArgs {
  Shape shape;
  KvPlan kv;
  StepView step;
  QkvRows qkv;
  uint32_t layer;
  const AttendTask* tasks;
  Results parts;  // of a row: [heads][blocks]
  uint32_t stage_kv;
  uint32_t kv_offset;  // in shared memory, after the floats
};

template <KvFormat kFormat>
GPU_KERNEL(kRowThreads, 1)
attend_rows(GPU_ARGUMENT AttendArgs a) {
  const auto& c = a.shape;
  const uint32_t group = c.heads / c.kv_heads, kv_head = block() % c.kv_heads;
  const AttendTask task = a.tasks[block() / c.kv_heads];
  if (task.row == kNoRow) return;
  const Row row = a.step.rows[task.row];
  auto s = attend_shared<kFormat>(reinterpret_cast<float*>(shared_memory()), group, c.head_dim);
  unsigned char* kv =
      a.kv.at(a.step.pages[a.step.sequences[row.sequence].first_page + task.kv_block], a.layer, kv_head);
  s.kv = kv;
  // What this step has not written is on its way before the kernels before this one have ended.
  const bool old = (task.kv_block + 1) * kPagePositions <= a.step.sequences[row.sequence].first_position;
  if (!old) wait_for_earlier();
  if (a.stage_kv != 0) {
    s.kv = shared_memory() + a.kv_offset;
    for (uint32_t i = thread(); i < a.kv.block_bytes / 16; i += kRowThreads) copy_async(s.kv + i * 16, kv + i * 16);
    copy_async_commit();
  }
  if (old) wait_for_earlier();
  let_next_begin();
  const float* q = a.qkv.values + static_cast<uint64_t>(task.row) * a.qkv.stride + kv_head * group * c.head_dim;
  for (uint32_t i = thread(); i < group * c.head_dim; i += kRowThreads) s.q[i] = q[i];
  copy_async_wait<0>();
  sync_block();
  if constexpr (kFormat == KvFormat::kQ8) quantize_queries(s, group, c.head_dim);
  const uint32_t seen = row.position + 1 - task.kv_block * kPagePositions;
  const uint64_t slot =
      static_cast<uint64_t>(task.first_part) * c.heads + kv_head * group * task.blocks + task.kv_block;
  attend_block<kFormat>(s, a.kv, group, c.head_dim, c.score_factor, seen < kPagePositions ? seen : kPagePositions,
                        {a.parts.o + slot * c.head_dim, a.parts.m + slot, a.parts.l + slot}, task.blocks, nullptr);
}

struct FoldArgs {
  Shape shape;
  const AttendTask* rows;  // one of each row that is folded
  Results parts;           // as in AttendArgs
  Results supers;          // of a row: [heads][supers], from its first part on
  float* attended;         // [rows][heads · head_dim]
};

/// Folds the parts of a row and KV head. Shared: floats for the folds' weights, [group][2][16 or super-blocks].
GPU_KERNEL(kRowThreads, 1)
fold_rows(GPU_ARGUMENT FoldArgs a) {
  const auto& c = a.shape;
  const uint32_t group = c.heads / c.kv_heads, kv_head = block() % c.kv_heads;
  const AttendTask row = a.rows[block() / c.kv_heads];
  auto* weights = reinterpret_cast<float*>(shared_memory());
  wait_for_earlier();
  let_next_begin();
  const auto at = [&](const Results& r, uint64_t slot) {
    return Results{r.o + slot * c.head_dim, r.m + slot, r.l + slot};
  };
  const uint64_t part = static_cast<uint64_t>(row.first_part) * c.heads + kv_head * group * row.blocks;
  const uint32_t supers = (row.blocks + kSuperBlock - 1) / kSuperBlock;
  const uint64_t super = static_cast<uint64_t>(row.first_part) * c.heads + kv_head * group * supers;
  float* out = a.attended + (static_cast<uint64_t>(row.row) * c.heads + kv_head * group) * c.head_dim;
  for (uint32_t i = 0; i < supers; ++i) {
    const uint32_t begin = i * kSuperBlock, left = row.blocks - begin;
    fold_results(at(a.parts, part + begin), row.blocks, left < kSuperBlock ? left : kSuperBlock,
                 at(a.supers, super + i), supers, group, c.head_dim, weights, supers == 1 ? out : nullptr);
  }
  if (supers > 1) fold_results(at(a.supers, super), supers, supers, {}, 0, group, c.head_dim, weights, out);
}

}  // namespace
}  // namespace onebit::gpu
