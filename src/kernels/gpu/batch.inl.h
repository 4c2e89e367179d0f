// A step of many rows, kernel by kernel: what stands between the products (products.inl.h).
#pragma once

#include "kernels/gpu/attention_rows.inl.h"

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
  int32_t* clear;            // null, or [blocks][clear_stride]: sums that have been read, to become zero
  uint32_t clear_stride;     // a multiple of 4
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
  if (a.clear != nullptr)
    for (uint32_t at = i * 4; at < a.clear_stride; at += kRowThreads * 4)
      *reinterpret_cast<uint4*>(a.clear + static_cast<uint64_t>(block()) * a.clear_stride + at) = uint4{0, 0, 0, 0};
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

}  // namespace
}  // namespace onebit::gpu
