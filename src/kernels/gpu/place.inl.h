// A step of many rows: what becomes of the QKV product. Queries and keys get their position (docs/numerics.md, 4), keys
// and values their place in the cache.
#pragma once

#include <type_traits>

#include "kernels/gpu/attention.inl.h"
#include "kernels/gpu/products.inl.h"

namespace onebit::gpu {
namespace {

inline constexpr uint32_t kRowThreads = 256;

/// A step's rows and sequences, in device memory.
struct StepView {
  const Row* rows;
  const Sequence* sequences;
  const uint32_t* pages;
  bool operator==(const StepView&) const = default;
};

/// Queries, keys and values of the rows as the QKV product leaves them, k_first and v_first floats into a row.
struct QkvRows {
  float* values;  // [rows][stride]
  uint32_t stride, k_first, v_first;
};
struct PlaceArgs {
  Shape shape;
  KvPlan kv;
  StepView step;
  uint32_t rows;
  ProductRows product;     // of the three matrices
  DeviceMatrix matrix[3];  // of queries, keys, values
  QkvRows qkv;             // of which only queries are written
  const float *rope_cos, *rope_sin;
  uint32_t layer;
};

/// How a vector becomes int8 (docs/numerics.md, 2).
struct ToBytes {
  float scale, factor;
  bool finite;
  GPU_DEVICE explicit ToBytes(const float* x, uint32_t head_dim) {  // by a warp
    uint32_t largest = bits_of(1e-5f);
    for (uint32_t d = thread() % kWarp; d < head_dim; d += kWarp)
      largest = larger(largest, bits_of(x[d]) & 0x7fffffffu);
    largest = largest_in_warp(largest);
    scale = float_of(largest);
    factor = 127.0f / scale;
    finite = largest < kInfinityBits;
  }
  GPU_DEVICE uint32_t operator()(float x) const {
    return finite ? static_cast<uint32_t>(quantized(x, factor)) & 0xffu : 0;
  }
};

GPU_DEVICE uint16_t kv_half(float x) {
  return float_to_half(x > 65504.0f ? 65504.0f : x < -65504.0f ? -65504.0f : x);
}

/// Keys after RoPE of a KV head and kCount positions, from t on, a multiple of kCount, to their page: stored by
/// elements, so that positions stand side by side and are written at once. By a warp. x: of a position, `stride` floats
/// behind the one before it, in shared memory.
template <KvFormat kFormat, uint32_t kCount>
GPU_DEVICE void append_keys(unsigned char* to, const KvPlan& plan, const float* x, uint32_t stride, uint32_t head_dim,
                            uint32_t t) {
  const uint32_t lane = thread() % kWarp;
  if constexpr (kFormat == KvFormat::kQ8) {
    for (uint32_t i = 0; i < kCount; ++i) {
      const float* from = x + i * stride;
      const ToBytes bytes(from, head_dim);
      for (uint32_t d = lane * 4; d < head_dim; d += kWarp * 4)
        reinterpret_cast<uint32_t*>(to)[d / 4 * kPagePositions + t + i] =
            bytes(from[d]) | bytes(from[d + 1]) << 8 | bytes(from[d + 2]) << 16 | bytes(from[d + 3]) << 24;
      if (lane == 0) reinterpret_cast<float*>(to + plan.k_scale_offset)[t + i] = bytes.scale;
    }
  } else {
    using Element = std::conditional_t<kFormat == KvFormat::kF16, uint16_t, float>;
    struct alignas(kCount * sizeof(Element)) Elements {
      Element of[kCount];
    };
    for (uint32_t d = lane; d < head_dim; d += kWarp) {
      Elements elements;
      GPU_UNROLL_ALL
      for (uint32_t i = 0; i < kCount; ++i) {
        if constexpr (kFormat == KvFormat::kF16)
          elements.of[i] = kv_half(x[i * stride + d]);
        else
          elements.of[i] = x[i * stride + d];
      }
      *reinterpret_cast<Elements*>(reinterpret_cast<Element*>(to) + d * kPagePositions + t) = elements;
    }
  }
}

/// A position's value of a KV head to its page. By a warp. x: in shared memory.
template <KvFormat kFormat>
GPU_DEVICE void append_value(unsigned char* to, const KvPlan& plan, const float* x, uint32_t head_dim, uint32_t t) {
  const uint32_t lane = thread() % kWarp;
  unsigned char* values = to + plan.v_offset;
  if constexpr (kFormat == KvFormat::kQ8) {
    const ToBytes bytes(x, head_dim);
    for (uint32_t d = lane; d < head_dim; d += kWarp)
      values[t * head_dim + d] = static_cast<unsigned char>(bytes(x[d]));
    if (lane == 0) reinterpret_cast<float*>(to + plan.v_scale_offset)[t] = bytes.scale;
  } else if constexpr (kFormat == KvFormat::kF16) {
    for (uint32_t d = lane; d < head_dim; d += kWarp)
      reinterpret_cast<uint16_t*>(values)[t * head_dim + d] = kv_half(x[d]);
  } else {
    for (uint32_t d = lane; d < head_dim; d += kWarp) reinterpret_cast<float*>(values)[t * head_dim + d] = x[d];
  }
}

/// Numbers of a row's queries, keys and values from their sums: queries to where they are read, keys and values to k
/// and v, [kv_heads][head_dim]. By a block.
GPU_DEVICE void take_qkv(const PlaceArgs& a, uint32_t index, float* k, float* v) {
  const auto& c = a.shape;
  const uint32_t half = c.head_dim / 2, position = a.step.rows[index].position;
  const float* cos = a.rope_cos + static_cast<uint64_t>(position) * half;
  const float* sin = a.rope_sin + static_cast<uint64_t>(position) * half;
  const float s = a.product.s[index];
  const int32_t offset = a.product.sum[index];
  int32_t* sums = a.product.sums + static_cast<uint64_t>(index) * a.product.stride;
  /// Element `at` of what matrix `which` gives.
  const auto value = [&](int32_t sum, uint32_t which, uint32_t at) {
    return product_value(sum, offset, a.matrix[which].scale(at), s);
  };
  float* q = a.qkv.values + static_cast<uint64_t>(index) * a.qkv.stride;
  // A thread has the same pair of elements of every so many heads, first of queries, then of keys. Loads of several are
  // under way before anything is written.
  constexpr uint32_t kPairs = 8;
  const uint32_t heads = c.heads + c.kv_heads, first_head = thread() / half;
  const uint32_t each = half < kRowThreads ? kRowThreads / half : 1;
  for (uint32_t d = thread() % half; d < half && first_head < each; d += kRowThreads) {
    const float x = cos[d], y = sin[d];
    for (uint32_t begin = first_head; begin < heads; begin += kPairs * each) {
      int32_t low[kPairs], high[kPairs];
      const auto visit = [&](auto call) {
        GPU_UNROLL_ALL
        for (uint32_t j = 0; j < kPairs; ++j) {
          const uint32_t head = begin + j * each;
          if (head < heads) call(j, head < c.heads ? head : head - c.heads, head >= c.heads);
        }
      };
      const auto sums_of = [&](uint32_t head, bool is_key) {
        return sums + (is_key ? a.qkv.k_first : 0) + head * c.head_dim + d;
      };
      visit([&](uint32_t j, uint32_t head, bool is_key) {
        low[j] = sums_of(head, is_key)[0];
        high[j] = sums_of(head, is_key)[half];
      });
      if (a.product.clear != 0)
        visit([&](uint32_t, uint32_t head, bool is_key) {
          sums_of(head, is_key)[0] = 0;
          sums_of(head, is_key)[half] = 0;
        });
      visit([&](uint32_t j, uint32_t head, bool is_key) {
        const uint32_t at = head * c.head_dim + d, which = is_key ? 1 : 0;
        const Rotated r = rotate(value(low[j], which, at), value(high[j], which, at + half), x, y);
        float* out = is_key ? k : q;
        out[at] = r.low;
        out[at + half] = r.high;
      });
    }
  }
  int32_t* v_sums = sums + a.qkv.v_first;
  GPU_UNROLL(4)
  for (uint32_t at = thread(); at < c.kv_heads * c.head_dim; at += kRowThreads) v[at] = value(v_sums[at], 2, at);
  if (a.product.clear != 0)
    for (uint32_t at = thread(); at < c.kv_heads * c.head_dim; at += kRowThreads) v_sums[at] = 0;
}

/// kRows rows a block, 1 where there are few. Shared: their keys, then their values, [kRows][kv_heads][head_dim] floats
/// each.
template <KvFormat kFormat, uint32_t kRows>
GPU_KERNEL(kRowThreads, 1)
place_rows(GPU_ARGUMENT PlaceArgs argument) {
  const auto& a = argument_of(argument);
  const auto& c = a.shape;
  const uint32_t width = c.kv_heads * c.head_dim, first = block() * kRows;
  const uint32_t count = a.rows - first < kRows ? a.rows - first : kRows;
  auto* k = reinterpret_cast<float*>(shared_memory());
  float* v = k + kRows * width;
  wait_for_earlier();
  let_next_begin();
  GPU_UNROLL(1)
  for (uint32_t i = 0; i < count; ++i) take_qkv(a, first + i, k + i * width, v + i * width);
  sync_block();
  const Row begin = a.step.rows[first], end = a.step.rows[first + count - 1];
  const bool side_by_side =
      kRows > 1 && count == kRows && begin.sequence == end.sequence && begin.position % kRows == 0;
  const auto page_of = [&](const Row& row, uint32_t kv_head) {
    const uint32_t page = a.step.sequences[row.sequence].first_page + row.position / kPagePositions;
    return a.kv.at(a.step.pages[page], a.layer, kv_head);
  };
  constexpr uint32_t kWarps = kRowThreads / kWarp;
  for (uint32_t at = thread() / kWarp; at < count * c.kv_heads; at += kWarps) {
    const uint32_t i = at / c.kv_heads, kv_head = at % c.kv_heads, head = kv_head * c.head_dim;
    const Row row = a.step.rows[first + i];
    unsigned char* to = page_of(row, kv_head);
    const uint32_t t = row.position % kPagePositions;
    append_value<kFormat>(to, a.kv, v + i * width + head, c.head_dim, t);
    if (!side_by_side) append_keys<kFormat, 1>(to, a.kv, k + i * width + head, width, c.head_dim, t);
  }
  if (!side_by_side) return;
  for (uint32_t kv_head = thread() / kWarp; kv_head < c.kv_heads; kv_head += kWarps)
    append_keys<kFormat, kRows>(page_of(begin, kv_head), a.kv, k + kv_head * c.head_dim, width, c.head_dim,
                                begin.position % kPagePositions);
}

}  // namespace
}  // namespace onebit::gpu
