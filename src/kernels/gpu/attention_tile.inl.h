// Attention of many rows of one sequence: 64 queries of a KV head walk through its blocks together, so that keys and
// values are read once for all of them. The chains are the contract's (docs/numerics.md, 5): a thread has several of
// them, never a part of one.
#pragma once

#include "kernels/gpu/batch.inl.h"

namespace onebit::gpu {
namespace {

inline constexpr uint32_t kTileQueries = 64;
inline constexpr uint32_t kTileThreads = 256;  // 16 by 16: each 4 queries, and 4 positions or 8 elements
inline constexpr uint32_t kTileDims = 128;     // the widest head
inline constexpr uint32_t kQueriesEach = 4, kPositionsEach = 4, kDimsEach = 8;

/// Rows of a step that belong together.
struct AttendTile {
  uint32_t first_row, rows;
};
struct TileArgs {
  Shape shape;
  KvPlan kv;
  StepView step;
  QkvRows qkv;
  uint32_t layer;
  const AttendTile* tiles;
  float* attended;  // [rows][heads · head_dim]
};

/// Shared memory of attend_tile.
struct TileShared {
  float* q;        // [head_dim][64]; q8: words of int8, [head_dim / 4][64]
  float* p;        // [64 positions][64 queries]
  float* weights;  // of the values: p, or for q8 p times the value's scale
  float* q_scale;  // [64]
  float* m;        // [64]
  unsigned char* kv;
};
inline uint64_t tile_shared_bytes(uint32_t head_dim, uint32_t block_bytes) {
  return (uint64_t{head_dim} * kTileQueries + 2 * kPagePositions * kTileQueries + 2 * kTileQueries) * 4 + block_bytes;
}
GPU_DEVICE TileShared tile_shared(uint32_t head_dim, bool quantized) {
  auto* at = reinterpret_cast<float*>(shared_memory());
  TileShared s;
  s.q = at;
  s.p = s.q + head_dim * kTileQueries;
  s.weights = quantized ? s.p + kPagePositions * kTileQueries : s.p;
  s.q_scale = s.p + 2 * kPagePositions * kTileQueries;
  s.m = s.q_scale + kTileQueries;
  s.kv = reinterpret_cast<unsigned char*>(s.m + kTileQueries);
  return s;
}

/// What a thread has gathered for its queries and elements: over a block, a super-block, all.
struct TileSums {
  float o[kQueriesEach][kDimsEach];
  float m[kQueriesEach], l[kQueriesEach];
};

/// Folds `next` into `sums` for query i; the first is taken as it is.
GPU_DEVICE void fold_query(TileSums& sums, const TileSums& next, uint32_t i, bool first) {
  if (first) {
    GPU_UNROLL_ALL
    for (uint32_t k = 0; k < kDimsEach; ++k) sums.o[i][k] = next.o[i][k];
    sums.m[i] = next.m[i];
    sums.l[i] = next.l[i];
    return;
  }
  const float both = sums.m[i] > next.m[i] ? sums.m[i] : next.m[i];
  const float a = exp_f32(sums.m[i] - both), b = exp_f32(next.m[i] - both);
  GPU_UNROLL_ALL
  for (uint32_t k = 0; k < kDimsEach; ++k) sums.o[i][k] = std::fma(sums.o[i][k], a, next.o[i][k] * b);
  sums.l[i] = std::fma(sums.l[i], a, next.l[i] * b);
  sums.m[i] = both;
}

template <KvFormat kFormat>
class AttendTileKernel {
 public:
  GPU_DEVICE explicit AttendTileKernel(const TileArgs& args)
      : a_(args),
        c_(args.shape),
        tile_(args.tiles[block() / args.shape.kv_heads]),
        kv_head_(block() % args.shape.kv_heads),
        group_(args.shape.heads / args.shape.kv_heads),
        first_position_(args.step.rows[tile_.first_row].position),
        s_(tile_shared(args.shape.head_dim, kFormat == KvFormat::kQ8)) {}

  GPU_DEVICE void run() const {
    load_queries();
    TileSums part, super, total;
    const uint32_t count = blocks_of(first_position_ + tile_.rows);
    const Sequence& sequence = a_.step.sequences[a_.step.rows[tile_.first_row].sequence];
    for (uint32_t b = 0; b < count; ++b) {
      sync_block();  // the block before is done with
      stage_block(s_.kv, a_.kv.at(a_.step.pages[sequence.first_page + b], a_.layer, kv_head_), a_.kv.block_bytes);
      sync_block();
      scores(b);
      sync_block();
      // Of a block that all queries see whole, no position is left out.
      if ((b + 1) * kPagePositions <= first_position_ + 1)
        weigh_block<false>(b, part);
      else
        weigh_block<true>(b, part);
      const bool ends = (b + 1) % kSuperBlock == 0 || b + 1 == count;
      GPU_UNROLL_ALL
      for (uint32_t i = 0; i < kQueriesEach; ++i) {
        if (seen(query(i), b) > 0) fold_query(super, part, i, b % kSuperBlock == 0);
        if (ends && seen(query(i), b / kSuperBlock * kSuperBlock) > 0) fold_query(total, super, i, b < kSuperBlock);
      }
    }
    store(total);
  }

 private:
  GPU_DEVICE uint32_t across() const { return thread() % 16; }
  GPU_DEVICE uint32_t query(uint32_t i) const { return thread() / 16 * kQueriesEach + i; }
  GPU_DEVICE bool exists(uint32_t q) const { return q < tile_.rows * group_; }
  /// Positions of a block that a query sees.
  GPU_DEVICE uint32_t seen(uint32_t q, uint32_t b) const {
    const uint32_t end = first_position_ + (exists(q) ? q / group_ : 0) + 1, begin = b * kPagePositions;
    return end <= begin ? 0 : (end - begin < kPagePositions ? end - begin : kPagePositions);
  }
  GPU_DEVICE const float* query_row(uint32_t q) const {
    return a_.qkv.values + static_cast<uint64_t>(tile_.first_row + q / group_) * a_.qkv.stride +
           (kv_head_ * group_ + q % group_) * c_.head_dim;
  }

  GPU_DEVICE void load_queries() const;
  GPU_DEVICE void scores(uint32_t b) const;
  template <bool kMasked>
  GPU_DEVICE void weigh_block(uint32_t b, TileSums& part) const;
  GPU_DEVICE void store(const TileSums& total) const;

  const TileArgs& a_;
  const Shape& c_;
  const AttendTile tile_;
  const uint32_t kv_head_, group_, first_position_;
  const TileShared s_;
};

/// A warp takes every eighth query. Those that do not exist are the last one again.
template <KvFormat kFormat>
GPU_DEVICE void AttendTileKernel<kFormat>::load_queries() const {
  const uint32_t lane = thread() % kWarp;
  for (uint32_t q = thread() / kWarp; q < kTileQueries; q += kTileThreads / kWarp) {
    const float* from = query_row(exists(q) ? q : tile_.rows * group_ - 1);
    if constexpr (kFormat == KvFormat::kQ8) {
      uint32_t largest = bits_of(1e-5f);
      for (uint32_t d = lane; d < c_.head_dim; d += kWarp) largest = larger(largest, bits_of(from[d]) & 0x7fffffffu);
      largest = largest_in_warp(largest);
      const float factor = 127.0f / float_of(largest);
      for (uint32_t d = lane; d < c_.head_dim; d += kWarp)
        reinterpret_cast<int8_t*>(s_.q)[(d / 4 * kTileQueries + q) * 4 + d % 4] =
            static_cast<int8_t>(largest < kInfinityBits ? quantized(from[d], factor) : 0);
      if (lane == 0) s_.q_scale[q] = float_of(largest);
    } else {
      for (uint32_t d = lane; d < c_.head_dim; d += kWarp) s_.q[d * kTileQueries + q] = from[d];
    }
  }
}

/// p of 4 queries and 4 positions, and m of the queries.
template <KvFormat kFormat>
GPU_DEVICE void AttendTileKernel<kFormat>::scores(uint32_t b) const {
  const uint32_t q0 = query(0), t0 = across() * kPositionsEach;
  float value[kQueriesEach][kPositionsEach];
  if constexpr (kFormat == KvFormat::kQ8) {
    int32_t sum[kQueriesEach][kPositionsEach] = {};
    for (uint32_t i = 0; i < c_.head_dim / 4; ++i) {
      const uint4 q = *reinterpret_cast<const uint4*>(reinterpret_cast<const uint32_t*>(s_.q) + i * kTileQueries + q0);
      const uint4 k = reinterpret_cast<const uint4*>(s_.kv)[(i * kPagePositions + t0) / 4];
      const uint32_t qs[4] = {q.x, q.y, q.z, q.w}, ks[4] = {k.x, k.y, k.z, k.w};
      GPU_UNROLL_ALL
      for (uint32_t j = 0; j < 16; ++j) sum[j / 4][j % 4] = dot4_signed(sum[j / 4][j % 4], qs[j / 4], ks[j % 4]);
    }
    const auto* k_scale = reinterpret_cast<const float*>(s_.kv + a_.kv.k_scale_offset);
    GPU_UNROLL_ALL
    for (uint32_t j = 0; j < 16; ++j)
      value[j / 4][j % 4] = (static_cast<float>(sum[j / 4][j % 4]) *
                             ((s_.q_scale[q0 + j / 4] / 127.0f) * (k_scale[t0 + j % 4] / 127.0f))) *
                            c_.score_factor;
  } else {
    GPU_UNROLL_ALL
    for (uint32_t j = 0; j < 16; ++j) value[j / 4][j % 4] = 0.0f;
    GPU_UNROLL(8)
    for (uint32_t d = 0; d < c_.head_dim; ++d) {
      const float4 q = *reinterpret_cast<const float4*>(s_.q + d * kTileQueries + q0);
      const float qs[4] = {q.x, q.y, q.z, q.w};
      float ks[4];
      GPU_UNROLL_ALL
      for (uint32_t j = 0; j < 4; ++j) ks[j] = key_at<kFormat>(s_.kv, d, t0 + j);
      GPU_UNROLL_ALL
      for (uint32_t j = 0; j < 16; ++j) value[j / 4][j % 4] = std::fma(qs[j / 4], ks[j % 4], value[j / 4][j % 4]);
    }
    GPU_UNROLL_ALL
    for (uint32_t j = 0; j < 16; ++j) value[j / 4][j % 4] = value[j / 4][j % 4] * c_.score_factor;
  }
  GPU_UNROLL_ALL
  for (uint32_t i = 0; i < kQueriesEach; ++i) {
    const uint32_t count = seen(q0 + i, b);
    float m = -INFINITY;
    GPU_UNROLL_ALL
    for (uint32_t j = 0; j < kPositionsEach; ++j)
      if (t0 + j < count) m = m > value[i][j] ? m : value[i][j];
    GPU_UNROLL_ALL
    for (uint32_t mask = 8; mask > 0; mask /= 2) {  // 16 threads share a query
      const float other = shuffle_xor(m, mask);
      m = m > other ? m : other;
    }
    GPU_UNROLL_ALL
    for (uint32_t j = 0; j < kPositionsEach; ++j) {
      if (t0 + j >= count) continue;
      const float p = exp_f32(value[i][j] - m);
      s_.p[(t0 + j) * kTileQueries + q0 + i] = p;
      if constexpr (kFormat == KvFormat::kQ8)
        s_.weights[(t0 + j) * kTileQueries + q0 + i] =
            p * (reinterpret_cast<const float*>(s_.kv + a_.kv.v_scale_offset)[t0 + j] / 127.0f);
    }
    if (across() == 0) s_.m[q0 + i] = m;
  }
}

/// o and l of 4 queries and 8 elements over a block. kMasked: some queries do not see all of it.
template <KvFormat kFormat>
template <bool kMasked>
GPU_DEVICE void AttendTileKernel<kFormat>::weigh_block(uint32_t b, TileSums& part) const {
  const uint32_t q0 = query(0), d0 = across() * kDimsEach;
  uint32_t count[kQueriesEach], most = kPagePositions;
  GPU_UNROLL_ALL
  for (uint32_t i = 0; i < kQueriesEach; ++i) {
    part.m[i] = s_.m[q0 + i];
    part.l[i] = 0.0f;
    GPU_UNROLL_ALL
    for (uint32_t k = 0; k < kDimsEach; ++k) part.o[i][k] = 0.0f;
    count[i] = kMasked ? seen(q0 + i, b) : kPagePositions;
  }
  if (d0 >= c_.head_dim) return;
  if constexpr (kMasked) {
    most = 0;
    for (const uint32_t n : count) most = larger(most, n);
  }
  const unsigned char* v = s_.kv + a_.kv.v_offset;
  GPU_UNROLL(2)
  for (uint32_t t = 0; t < most; ++t) {
    const float4 p = *reinterpret_cast<const float4*>(s_.p + t * kTileQueries + q0);
    const float4 w = *reinterpret_cast<const float4*>(s_.weights + t * kTileQueries + q0);
    const float ps[4] = {p.x, p.y, p.z, p.w}, ws[4] = {w.x, w.y, w.z, w.w};
    float vs[kDimsEach];
    GPU_UNROLL_ALL
    for (uint32_t k = 0; k < kDimsEach; k += 2) {
      const Pair values = values_at<kFormat>(v, t, (d0 + k) / 2, c_.head_dim);
      vs[k] = values.x;
      vs[k + 1] = values.y;
    }
    GPU_UNROLL_ALL
    for (uint32_t i = 0; i < kQueriesEach; ++i) {
      if (kMasked && t >= count[i]) continue;
      part.l[i] = part.l[i] + ps[i];
      GPU_UNROLL_ALL
      for (uint32_t k = 0; k < kDimsEach; ++k) part.o[i][k] = std::fma(ws[i], vs[k], part.o[i][k]);
    }
  }
}

template <KvFormat kFormat>
GPU_DEVICE void AttendTileKernel<kFormat>::store(const TileSums& total) const {
  const uint32_t d0 = across() * kDimsEach;
  if (d0 >= c_.head_dim) return;
  GPU_UNROLL_ALL
  for (uint32_t i = 0; i < kQueriesEach; ++i) {
    const uint32_t q = query(i);
    if (!exists(q)) continue;
    float* out = a_.attended +
                 (static_cast<uint64_t>(tile_.first_row + q / group_) * c_.heads + kv_head_ * group_ + q % group_) *
                     c_.head_dim +
                 d0;
    GPU_UNROLL_ALL
    for (uint32_t k = 0; k < kDimsEach; ++k) out[k] = total.o[i][k] / total.l[i];
  }
}

/// A block a tile and KV head.
template <KvFormat kFormat>
GPU_KERNEL(kTileThreads, 1)
attend_tiles(GPU_ARGUMENT TileArgs argument) {
  AttendTileKernel<kFormat>(argument_of(argument)).run();
}

}  // namespace
}  // namespace onebit::gpu
