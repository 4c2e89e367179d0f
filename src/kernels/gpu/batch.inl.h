// A step of many rows, kernel by kernel: what stands between the products (products.inl.h).
#pragma once

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
};

/// x [rows][hidden].
GPU_KERNEL(kRowThreads, 1)
embed_rows(const uint16_t* embedding, StepView step, uint32_t hidden, float* x) {
  const uint16_t* from = embedding + static_cast<uint64_t>(step.rows[block()].token) * hidden;
  float* to = x + static_cast<uint64_t>(block()) * hidden;
  for (uint32_t i = thread(); i < hidden; i += kRowThreads) to[i] = bf16_to_float(from[i]);
}

struct NormArgs {
  const float* x;  // [rows][n]
  uint32_t n;
  const float* weight;
  float epsilon;
  QuantizedRows out;
  uint32_t row_blocks;       // padded to whole units
  const uint32_t* row_list;  // block i takes row row_list[i] of x, and row i of out; null: the same
  float* y;                  // null, or [rows][n]: the normalised rows as they are
  Problems* problems;        // null, or who hears of what is not finite in x or its norm
};

/// to[i] = from[i], both [n], with several loads of a thread under way at once.
GPU_DEVICE void copy_row(const float* from, uint32_t n, float* to) {
  constexpr uint32_t kAhead = 8;
  for (uint32_t begin = thread(); begin < n; begin += kAhead * kRowThreads) {
    float v[kAhead];
    GPU_UNROLL_ALL
    for (uint32_t k = 0; k < kAhead; ++k) v[k] = begin + k * kRowThreads < n ? from[begin + k * kRowThreads] : 0.0f;
    GPU_UNROLL_ALL
    for (uint32_t k = 0; k < kAhead; ++k)
      if (begin + k * kRowThreads < n) to[begin + k * kRowThreads] = v[k];
  }
}

/// RMSNorm of a row and its quantisation for products with blocks of kCode. Shared: RowScratch, then 2 n floats.
template <Code kCode>
GPU_KERNEL(kRowThreads, 2)
norm_rows(GPU_ARGUMENT NormArgs a) {
  auto& scratch = *reinterpret_cast<RowScratch*>(shared_memory());
  auto* y = reinterpret_cast<float*>(shared_memory() + sizeof(RowScratch));
  float* weight = y + a.n;
  const uint32_t row = a.row_list != nullptr ? a.row_list[block()] : block();
  copy_row(a.x + static_cast<uint64_t>(row) * a.n, a.n, y);
  copy_row(a.weight, a.n, weight);
  sync_block();
  const float inverse = inverse_rms(y, a.n, a.epsilon, scratch);
  int8_t* q = a.out.q + static_cast<uint64_t>(block()) * a.out.stride;
  // From here on each thread reads what it wrote itself.
  bool finite = true;
  for (uint32_t i = thread(); i < a.n; i += kRowThreads) {
    const float x = y[i], normed = x * inverse * weight[i];
    y[i] = normed;
    if (a.y != nullptr) a.y[static_cast<uint64_t>(block()) * a.n + i] = normed;
    finite = finite && (bits_of(x) & 0x7fffffffu) < kInfinityBits && (bits_of(normed) & 0x7fffffffu) < kInfinityBits;
  }
  if (a.problems != nullptr && !finite) a.problems->residual = 1;
  const RowScale scale = quantize_row(
      a.n, [&](uint32_t i) { return y[i]; }, [&](uint32_t i) { return place_of<kCode>(i, a.row_blocks); }, q, scratch);
  for (uint32_t i = a.n + thread(); i < a.row_blocks * kColumns<kCode>; i += kRowThreads)
    q[place_of<kCode>(i, a.row_blocks)] = 0;
  if (thread() == 0) {
    a.out.s[block()] = scale.s;
    a.out.sum[block()] = scale.sum;
  }
}

/// Looks for what is not finite in the residual stream.
GPU_KERNEL(kRowThreads, 1)
check_rows(const float* x, uint32_t n, Problems* problems) {
  const float* row = x + static_cast<uint64_t>(block()) * n;
  for (uint32_t i = thread(); i < n; i += kRowThreads)
    if ((bits_of(row[i]) & 0x7fffffffu) >= kInfinityBits) problems->residual = 1;
}

/// Queries, keys and values of the rows as the QKV product leaves them, k_first and v_first floats into a row.
struct QkvRows {
  float* values;  // [rows][stride]
  uint32_t stride, k_first, v_first;
};
struct PlaceArgs {
  Shape shape;
  KvPlan kv;
  StepView step;
  QkvRows qkv;
  const float *rope_cos, *rope_sin;
  uint32_t layer;
};

/// Queries get their position in place; keys and values theirs, and their place in the cache. A block a row and KV
/// head. Shared: RowScratch, then 2 · head_dim floats.
template <KvFormat kFormat>
GPU_KERNEL(kRowThreads, 1)
place_rows(GPU_ARGUMENT PlaceArgs a) {
  auto& scratch = *reinterpret_cast<RowScratch*>(shared_memory());
  auto* k = reinterpret_cast<float*>(shared_memory() + sizeof(RowScratch));
  const auto& c = a.shape;
  float* v = k + c.head_dim;
  const uint32_t index = block() / c.kv_heads, kv_head = block() % c.kv_heads;
  const Row row = a.step.rows[index];
  const uint32_t half = c.head_dim / 2, group = c.heads / c.kv_heads;
  const float* cos = a.rope_cos + static_cast<uint64_t>(row.position) * half;
  const float* sin = a.rope_sin + static_cast<uint64_t>(row.position) * half;
  float* from = a.qkv.values + static_cast<uint64_t>(index) * a.qkv.stride;
  for (uint32_t i = thread(); i < group * half; i += kRowThreads) {
    float* q = from + (kv_head * group + i / half) * c.head_dim + i % half;
    const Rotated r = rotate(q[0], q[half], cos[i % half], sin[i % half]);
    q[0] = r.low;
    q[half] = r.high;
  }
  for (uint32_t d = thread(); d < half; d += kRowThreads) {
    const float* key = from + a.qkv.k_first + kv_head * c.head_dim + d;
    const Rotated r = rotate(key[0], key[half], cos[d], sin[d]);
    k[d] = r.low;
    k[d + half] = r.high;
  }
  for (uint32_t d = thread(); d < c.head_dim; d += kRowThreads) v[d] = from[a.qkv.v_first + kv_head * c.head_dim + d];
  sync_block();
  const Sequence& s = a.step.sequences[row.sequence];
  unsigned char* at = a.kv.at(a.step.pages[s.first_page + row.position / kPagePositions], a.layer, kv_head);
  append_block<kFormat>(at, nullptr, a.kv, k, v, c.head_dim, row.position % kPagePositions, scratch);
}

/// One KV block for one row, all heads of a KV head.
struct AttendTask {
  uint32_t row, kv_block;
  uint32_t blocks;      // that the row sees
  uint32_t first_part;  // slots of parts before this row's, a head's worth each
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
  const Row row = a.step.rows[task.row];
  auto s = attend_shared<kFormat>(reinterpret_cast<float*>(shared_memory()), group, c.head_dim);
  unsigned char* kv =
      a.kv.at(a.step.pages[a.step.sequences[row.sequence].first_page + task.kv_block], a.layer, kv_head);
  s.kv = kv;
  if (a.stage_kv != 0) {
    s.kv = shared_memory() + a.kv_offset;
    for (uint32_t i = thread(); i < a.kv.block_bytes / 16; i += kRowThreads) copy_async(s.kv + i * 16, kv + i * 16);
    copy_async_commit();
  }
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
