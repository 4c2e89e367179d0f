// Attention of many rows of one sequence: up to 128 queries of a KV head walk through its blocks together, so that keys
// and values are read and unpacked once for all of them. A warp has 16 queries and shares nothing else; the chains are
// the contract's (docs/numerics.md, 5): a thread has several of them, never a part of one.
#pragma once

#include "kernels/gpu/batch.inl.h"

namespace onebit::gpu {
namespace {

inline constexpr uint32_t kTileThreads = 256;              // at most
inline constexpr uint32_t kWarpQueries = 16;               // of a warp
inline constexpr uint32_t kTileDims = 128;                 // the widest head
inline constexpr uint32_t kQueriesEach = 8;                // a thread's, of the warp's 16
inline constexpr uint32_t kPositionsEach = 4;              // its positions: of scores
inline constexpr uint32_t kDimsEach = 8;                   // its elements of o
inline constexpr uint32_t kKeyPitch = kPagePositions + 8;  // words of a row of int8 keys: no two threads in a bank

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

/// Shared memory of attend_tiles, in bytes from its beginning.
struct TileLayout {
  uint32_t q;        // [warps][head_dim][16] floats; not of q8, whose queries are in registers
  uint32_t k;        // [head_dim][64] floats; q8: words of int8, [padded head_dim / 4][kKeyPitch]
  uint32_t v;        // [64][head_dim] floats; what stands behind is read, too
  uint32_t p;        // [warps][64][16]: see place()
  uint32_t weights;  // of the values: p itself, or for q8 p times the value's scale
  uint32_t state;    // [warps][3][16]: m of a block; weights of a fold
  uint32_t scales;   // q8: [2][64], of keys and values, over 127
  uint32_t raw;      // a block as it is stored
  uint32_t bytes;
};
/// Bytes of a query of q8: whole steps of the matrix instruction, the scale over 127, and so that queries stand in
/// different banks.
constexpr uint32_t query_pitch(uint32_t head_dim) {
  return (head_dim + 31) / 32 * 32 + 16;
}
constexpr TileLayout tile_layout(bool is_q8, uint32_t warps, uint32_t head_dim, uint32_t block_bytes) {
  TileLayout s{};
  uint32_t used = 0;
  const auto room = [&](uint32_t bytes) {
    const uint32_t at = used;
    used += (bytes + 127) / 128 * 128;
    return at;
  };
  constexpr uint32_t kWeights = kPagePositions * kWarpQueries * 4;
  s.q = room(warps * kWarpQueries * (is_q8 ? query_pitch(head_dim) : head_dim * 4));
  s.k = room(is_q8 ? (head_dim + 31) / 32 * 8 * kKeyPitch * 4 : head_dim * kPagePositions * 4);
  s.v = room(kPagePositions * head_dim * 4);
  s.p = room(warps * kWeights);
  s.weights = is_q8 ? room(warps * kWeights) : s.p;
  s.state = room(warps * 3 * kWarpQueries * 4);
  s.scales = room(is_q8 ? 2 * kPagePositions * 4 : 0);
  s.raw = room(block_bytes);
  s.bytes = used;
  return s;
}

/// kHeadDim: the head's size where it is known, or 0.
template <KvFormat kFormat, uint32_t kHeadDim>
class AttendTileKernel {
 public:
  GPU_DEVICE explicit AttendTileKernel(const TileArgs& args)
      : a_(args),
        c_(args.shape),
        tile_(args.tiles[block() / args.shape.kv_heads]),
        kv_head_(block() % args.shape.kv_heads),
        group_(args.shape.heads / args.shape.kv_heads),
        first_position_(args.step.rows[tile_.first_row].position),
        queries_(tile_.rows * group_),
        first_query_(thread() / kWarp * kWarpQueries),
        s_(tile_layout(kIsQ8, threads() / kWarp, (kHeadDim != 0 ? kHeadDim : args.shape.head_dim),
                       args.kv.block_bytes)) {}

  GPU_DEVICE void run() {
    const uint32_t count = blocks_of(first_position_ + tile_.rows);
    fetch(0);
    load_queries();
    const bool idle = first_query_ >= queries_;
    const uint32_t mine = thread() % kWarpQueries;  // the query whose sums this thread keeps
    float m_super = 0, l_super = 0, m_total = 0, l_total = 0;
    float o[kQueriesEach][kDimsEach];  // of a super-block
    for (uint32_t b = 0; b < count; ++b) {
      copy_async_wait<0>();
      sync_block();  // the block has come, and the one before is done with
      unpack();
      sync_block();
      if (b + 1 < count) fetch(b + 1);
      if (idle || seen(first_query_ + kWarpQueries - 1, b) == 0) continue;
      // Of a block that all queries see whole, no position is left out.
      const bool masked = seen(opaque(first_query_), b) < kPagePositions;
      masked ? scores<true>(b) : scores<false>(b);
      sync_warp();
      const uint32_t my_count = masked ? seen(opaque(first_query_) + mine, b) : kPagePositions;
      const bool begins = b % kSuperBlock == 0;
      const Weights weights = fold_largest(m_super, state()[mine], begins, my_count > 0);
      sync_warp();
      const float l = masked ? weigh<true>(b, begins, my_count, o) : weigh<false>(b, begins, my_count, o);
      if (my_count > 0) l_super = begins ? l : std::fma(l_super, weights.before, l * weights.next);
      const bool last = b + 1 == count || seen(opaque(first_query_) + kWarpQueries - 1, b + 1) == 0;
      if (!last && (b + 1) % kSuperBlock != 0) continue;
      const uint32_t super = b / kSuperBlock;
      sync_warp();
      const bool there = seen(opaque(first_query_) + mine, super * kSuperBlock) > 0;
      const Weights of_super = fold_largest(m_total, m_super, super == 0, there);
      if (there) l_total = super == 0 ? l_super : std::fma(l_total, of_super.before, l_super * of_super.next);
      if (last) state()[mine] = l_total;
      sync_warp();
      finish_super(super, last, o);
      sync_warp();
    }
  }

 private:
  static constexpr bool kIsQ8 = kFormat == KvFormat::kQ8;
  GPU_DEVICE uint32_t head_dim() const { return kHeadDim != 0 ? kHeadDim : c_.head_dim; }

  GPU_DEVICE float* floats(uint32_t offset) const { return reinterpret_cast<float*>(shared_memory() + offset); }
  GPU_DEVICE float* p() const { return floats(s_.p) + thread() / kWarp * kPagePositions * kWarpQueries; }
  GPU_DEVICE float* weights() const { return floats(s_.weights) + thread() / kWarp * kPagePositions * kWarpQueries; }
  GPU_DEVICE float* state() const { return floats(s_.state) + thread() / kWarp * 3 * kWarpQueries; }
  /// Where position t of a warp's query q stands: so that threads with different positions meet in no bank.
  GPU_DEVICE static uint32_t place(uint32_t t, uint32_t q) {
    return (t ^ (t / 16 & 1u)) * kWarpQueries + (q / 4 ^ (t / 4 & 3u)) * 4 + q % 4;
  }
  /// This thread's first of 8 queries.
  GPU_DEVICE static uint32_t half() { return thread() % kWarp / 16 * kQueriesEach; }
  /// Those that do not exist are the last one again.
  GPU_DEVICE uint32_t row_of(uint32_t q) const { return (q < queries_ ? q : queries_ - 1) / group_; }
  /// Positions of a block that a query sees.
  GPU_DEVICE uint32_t seen(uint32_t q, uint32_t b) const {
    const uint32_t end = first_position_ + row_of(q) + 1, begin = b * kPagePositions;
    return end <= begin ? 0 : (end - begin < kPagePositions ? end - begin : kPagePositions);
  }
  GPU_DEVICE uint64_t place_of_query(uint32_t q) const {
    return static_cast<uint64_t>(tile_.first_row + q / group_) * c_.heads + kv_head_ * group_ + q % group_;
  }

  GPU_DEVICE void fetch(uint32_t b) const {
    const Sequence& sequence = a_.step.sequences[a_.step.rows[tile_.first_row].sequence];
    const unsigned char* from = a_.kv.at(a_.step.pages[sequence.first_page + b], a_.layer, kv_head_);
    for (uint32_t i = thread() * 16; i < a_.kv.block_bytes; i += threads() * 16)
      copy_async(shared_memory() + s_.raw + i, from + i);
    copy_async_commit();
  }
  GPU_DEVICE void load_queries();
  GPU_DEVICE void unpack() const;
  template <bool kMasked>
  GPU_DEVICE void scores(uint32_t b) const;
  template <bool kMasked>
  GPU_DEVICE void score_floats(uint32_t b) const;
  template <bool kMasked>
  GPU_DEVICE void score_bytes(uint32_t b) const;
  /// Of a fold: what has been accumulated is multiplied by `before`, what comes next by `next`.
  struct Weights {
    float before, next;
  };
  GPU_DEVICE Weights fold_largest(float& m, float m_next, bool first, bool there) const;
  template <bool kMasked>
  GPU_DEVICE float weigh(uint32_t b, bool begins, uint32_t my_count, float (&o)[kQueriesEach][kDimsEach]) const;
  GPU_DEVICE void finish_super(uint32_t super, bool last, float (&o)[kQueriesEach][kDimsEach]) const;

  const TileArgs& a_;
  const Shape& c_;
  const AttendTile tile_;
  const uint32_t kv_head_, group_, first_position_, queries_, first_query_;
  const TileLayout s_;
};

/// Of its 16 queries a warp.
template <KvFormat kFormat, uint32_t kHeadDim>
GPU_DEVICE void AttendTileKernel<kFormat, kHeadDim>::load_queries() {
  const uint32_t lane = thread() % kWarp;
  const uint32_t padded = (head_dim() + 31) / 32 * 32, pitch = query_pitch(head_dim());
  auto* bytes = reinterpret_cast<int8_t*>(shared_memory() + s_.q) + first_query_ * pitch;
  for (uint32_t i = 0; i < kWarpQueries; ++i) {
    const uint32_t q = first_query_ + i < queries_ ? first_query_ + i : queries_ - 1;
    const float* from = a_.qkv.values + static_cast<uint64_t>(tile_.first_row + q / group_) * a_.qkv.stride +
                        (kv_head_ * group_ + q % group_) * head_dim();
    if constexpr (kIsQ8) {
      uint32_t largest = bits_of(1e-5f);
      for (uint32_t d = lane; d < head_dim(); d += kWarp) largest = larger(largest, bits_of(from[d]) & 0x7fffffffu);
      largest = largest_in_warp(largest);
      const float factor = 127.0f / float_of(largest);
      for (uint32_t d = lane; d < padded; d += kWarp)
        bytes[i * pitch + d] =
            static_cast<int8_t>(d < head_dim() && largest < kInfinityBits ? quantized(from[d], factor) : 0);
      if (lane == 0) *reinterpret_cast<float*>(bytes + i * pitch + padded) = float_of(largest) / 127.0f;
    } else {
      float* to = floats(s_.q) + first_query_ * head_dim();
      for (uint32_t d = lane; d < head_dim(); d += kWarp) to[d * kWarpQueries + i] = from[d];
    }
  }
  if constexpr (kIsQ8) {
    // What the keys' last words are multiplied by if they are no whole step.
    auto* k = reinterpret_cast<uint32_t*>(shared_memory() + s_.k);
    for (uint32_t i = head_dim() / 4 * kKeyPitch + thread(); i < padded / 4 * kKeyPitch; i += threads()) k[i] = 0;
    sync_warp();
  }
}

GPU_DEVICE float4 floats_of_halves(uint32_t low, uint32_t high) {
  float4 r;
  r.x = half_to_float(static_cast<uint16_t>(low & 0xffffu));
  r.y = half_to_float(static_cast<uint16_t>(low >> 16));
  r.z = half_to_float(static_cast<uint16_t>(high & 0xffffu));
  r.w = half_to_float(static_cast<uint16_t>(high >> 16));
  return r;
}

/// The block as it is stored, into floats (keys of q8 stay bytes).
template <KvFormat kFormat, uint32_t kHeadDim>
GPU_DEVICE void AttendTileKernel<kFormat, kHeadDim>::unpack() const {
  const auto* raw = reinterpret_cast<const uint4*>(shared_memory() + s_.raw);
  if constexpr (kIsQ8) {
    const uint32_t words = head_dim() * kPagePositions / 16;  // uint4 of keys, and of values
    for (uint32_t i = thread(); i < words; i += threads())
      *reinterpret_cast<uint4*>(shared_memory() + s_.k + (i / 16 * kKeyPitch + i % 16 * 4) * 4) = raw[i];
    auto* v = reinterpret_cast<float4*>(floats(s_.v));
    const auto* values = reinterpret_cast<const uint32_t*>(shared_memory() + s_.raw + a_.kv.v_offset);
    for (uint32_t i = thread(); i < words * 4; i += threads()) {
      const uint32_t word = values[i];
      float4 four;
      four.x = float_of_byte(word, 0);
      four.y = float_of_byte(word, 1);
      four.z = float_of_byte(word, 2);
      four.w = float_of_byte(word, 3);
      v[i] = four;
    }
    for (uint32_t i = thread(); i < 2 * kPagePositions; i += threads())
      floats(s_.scales)[i] =
          reinterpret_cast<const float*>(shared_memory() + s_.raw + a_.kv.k_scale_offset)[i] / 127.0f;
  } else {
    const uint32_t each = head_dim() * kPagePositions;  // k and v stand one after the other, here and there
    auto* k = reinterpret_cast<float4*>(floats(s_.k));
    auto* v = reinterpret_cast<float4*>(floats(s_.v));
    if constexpr (kFormat == KvFormat::kF32) {
      const auto* from = reinterpret_cast<const float4*>(raw);
      for (uint32_t i = thread(); i < each / 4; i += threads()) {
        k[i] = from[i];
        v[i] = from[each / 4 + i];
      }
    } else {
      for (uint32_t i = thread(); i < each / 4; i += threads()) {
        const uint4 eight = raw[i];
        float4* to = i < each / 8 ? k + 2 * i : v + 2 * (i - each / 8);
        to[0] = floats_of_halves(eight.x, eight.y);
        to[1] = floats_of_halves(eight.z, eight.w);
      }
    }
  }
}

/// p (and weights) of a warp's queries, and m to state()[0 … 15].
template <KvFormat kFormat, uint32_t kHeadDim>
template <bool kMasked>
GPU_DEVICE void AttendTileKernel<kFormat, kHeadDim>::scores(uint32_t b) const {
  if constexpr (kIsQ8)
    score_bytes<kMasked>(b);
  else
    score_floats<kMasked>(b);
}

/// 8 queries by 4 positions a thread.
template <KvFormat kFormat, uint32_t kHeadDim>
template <bool kMasked>
GPU_DEVICE void AttendTileKernel<kFormat, kHeadDim>::score_floats(uint32_t b) const {
  const uint32_t t0 = thread() % 16 * kPositionsEach;
  float value[kQueriesEach][kPositionsEach] = {};
  const float* q = floats(s_.q) + first_query_ * head_dim() + half();
  const float* k = floats(s_.k) + t0;
  GPU_UNROLL(4)
  for (uint32_t d = 0; d < head_dim(); ++d) {
    const float4 low = *reinterpret_cast<const float4*>(q + d * kWarpQueries);
    const float4 high = *reinterpret_cast<const float4*>(q + d * kWarpQueries + 4);
    const float4 key = *reinterpret_cast<const float4*>(k + d * kPagePositions);
    const float qs[kQueriesEach] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
    const float ks[kPositionsEach] = {key.x, key.y, key.z, key.w};
    GPU_UNROLL_ALL
    for (uint32_t j = 0; j < 32; ++j) value[j / 4][j % 4] = std::fma(qs[j / 4], ks[j % 4], value[j / 4][j % 4]);
  }
  float m[kQueriesEach];
  GPU_UNROLL_ALL
  for (uint32_t i = 0; i < kQueriesEach; ++i) {
    const uint32_t count = kMasked ? seen(first_query_ + half() + i, b) : kPagePositions;
    m[i] = -INFINITY;
    GPU_UNROLL_ALL
    for (uint32_t j = 0; j < kPositionsEach; ++j) {
      value[i][j] = value[i][j] * c_.score_factor;
      if (!kMasked || t0 + j < count) m[i] = m[i] > value[i][j] ? m[i] : value[i][j];
    }
    GPU_UNROLL_ALL
    for (uint32_t mask = 8; mask > 0; mask /= 2) {  // 16 threads share a query
      const float other = shuffle_xor(m[i], mask);
      m[i] = m[i] > other ? m[i] : other;
    }
  }
  GPU_UNROLL_ALL
  for (uint32_t j = 0; j < kPositionsEach; ++j) {
    GPU_UNROLL_ALL
    for (uint32_t i = 0; i < kQueriesEach; i += 4) {
      float4 four;
      four.x = exp_not_positive(value[i][j] - m[i]);
      four.y = exp_not_positive(value[i + 1][j] - m[i + 1]);
      four.z = exp_not_positive(value[i + 2][j] - m[i + 2]);
      four.w = exp_not_positive(value[i + 3][j] - m[i + 3]);
      *reinterpret_cast<float4*>(p() + place(t0 + j, half() + i)) = four;
    }
  }
  if (thread() % 16 == 0) {
    GPU_UNROLL_ALL
    for (uint32_t i = 0; i < kQueriesEach; ++i) state()[half() + i] = m[i];
  }
}

/// By the matrix instruction: a thread has of queries g and g + 8 two neighbouring positions of each 8.
template <KvFormat kFormat, uint32_t kHeadDim>
template <bool kMasked>
GPU_DEVICE void AttendTileKernel<kFormat, kHeadDim>::score_bytes(uint32_t b) const {
  const uint32_t lane = thread() % kWarp, g = lane / 4, t = lane % 4;
  const auto* k = reinterpret_cast<const uint32_t*>(shared_memory() + s_.k) + t * kKeyPitch + g;
  const float *k_scale = floats(s_.scales), *v_scale = k_scale + kPagePositions;
  float m[2] = {-INFINITY, -INFINITY};
  const uint32_t first = opaque(first_query_) + g;
  const uint32_t count[2] = {kMasked ? seen(first, b) : kPagePositions, kMasked ? seen(first + 8, b) : kPagePositions};
  int32_t sum[kPagePositions / 8][4] = {};
  const uint32_t pitch = query_pitch(head_dim());
  const unsigned char* q = shared_memory() + s_.q + (first_query_ + g) * pitch + t * 4;
  GPU_UNROLL(1)
  for (uint32_t step = 0; step * 32 < head_dim(); ++step) {
    uint32_t rows[4];
    GPU_UNROLL_ALL
    for (uint32_t i = 0; i < 4; ++i)
      rows[i] = *reinterpret_cast<const uint32_t*>(q + i % 2 * 8 * pitch + step * 32 + i / 2 * 16);
    GPU_UNROLL_ALL
    for (uint32_t n = 0; n < kPagePositions / 8; ++n)
      multiply_16x8x32<true>(sum[n], rows, k[step * 8 * kKeyPitch + n * 8], k[(step * 8 + 4) * kKeyPitch + n * 8]);
  }
  const unsigned char* scale = shared_memory() + s_.q + (first_query_ + g + 1) * pitch - 16;
  float scores[kPagePositions / 8][4];
  const float q_scale[2] = {*reinterpret_cast<const float*>(scale), *reinterpret_cast<const float*>(scale + 8 * pitch)};
  GPU_UNROLL_ALL
  for (uint32_t n = 0; n < kPagePositions / 8; ++n) {
    GPU_UNROLL_ALL
    for (uint32_t i = 0; i < 4; ++i) {
      const uint32_t at = n * 8 + 2 * t + i % 2;
      const float score = (static_cast<float>(sum[n][i]) * (q_scale[i / 2] * k_scale[at])) * c_.score_factor;
      scores[n][i] = score;
      if (!kMasked || at < count[i / 2]) m[i / 2] = m[i / 2] > score ? m[i / 2] : score;
    }
  }
  GPU_UNROLL_ALL
  for (uint32_t i = 0; i < 2; ++i) {
    GPU_UNROLL_ALL
    for (uint32_t mask = 2; mask > 0; mask /= 2) {  // 4 threads share a query
      const float other = shuffle_xor(m[i], mask);
      m[i] = m[i] > other ? m[i] : other;
    }
    if (t == 0) state()[g + 8 * i] = m[i];
  }
  const uint32_t base = t * 32 + (g / 4 ^ t / 2) * 4 + g % 4;
  GPU_UNROLL_ALL
  for (uint32_t n = 0; n < kPagePositions / 8; ++n) {
    GPU_UNROLL_ALL
    for (uint32_t i = 0; i < 4; ++i) {
      // place(at, g + i / 2 * 8), of which what depends on the thread is the same for all.
      const uint32_t at = n * 8 + 2 * t + i % 2, to = base + n * 128 + (i % 2 ^ n / 2 % 2) * 16 + (i / 2 ^ n % 2) * 8;
      const float e = exp_not_positive(scores[n][i] - m[i / 2]);
      p()[to] = e;
      weights()[to] = e * v_scale[at];
    }
  }
}

/// Folds m of what comes next, and leaves the weights of o for the warp, too, in state()[16 …] and state()[32 …].
/// there: whether the query has seen of it; first: what was before is nothing.
template <KvFormat kFormat, uint32_t kHeadDim>
GPU_DEVICE typename AttendTileKernel<kFormat, kHeadDim>::Weights AttendTileKernel<kFormat, kHeadDim>::fold_largest(
    float& m, float m_next, bool first, bool there) const {
  Weights w{0.0f, 0.0f};
  if (!there) return w;
  if (first) {
    m = m_next;
    return w;
  }
  const uint32_t mine = thread() % kWarpQueries;
  const float both = m > m_next ? m : m_next;
  w = {exp_not_positive(m - both), exp_not_positive(m_next - both)};
  m = both;
  state()[kWarpQueries + mine] = w.before;
  state()[2 * kWarpQueries + mine] = w.next;
  return w;
}

/// Element k of a thread's: 4 of the head's first 64, 4 of the others.
GPU_DEVICE uint32_t dim_of(uint32_t k) {
  return k / 4 * 64 + thread() % 16 * 4 + k % 4;
}

/// o of 8 queries and 8 elements over a block, folded into the super-block's, and l of query thread() % 16, which sees
/// my_count positions. kMasked: some queries do not see all of the block.
template <KvFormat kFormat, uint32_t kHeadDim>
template <bool kMasked>
GPU_DEVICE float AttendTileKernel<kFormat, kHeadDim>::weigh(uint32_t b, bool begins, uint32_t my_count,
                                                            float (&o)[kQueriesEach][kDimsEach]) const {
  float part[kQueriesEach][kDimsEach] = {};
  uint32_t count[kQueriesEach];
  const uint32_t first = opaque(first_query_) + half();  // or what is divided here is kept for all blocks
  GPU_UNROLL_ALL
  for (uint32_t i = 0; i < kQueriesEach; ++i) count[i] = kMasked ? seen(first + i, b) : kPagePositions;
  const uint32_t most = kMasked ? seen(first_query_ + kWarpQueries - 1, b) : kPagePositions;
  const float *v = floats(s_.v) + thread() % 16 * 4, *w = weights();
  const uint32_t mine = thread() % kWarpQueries;
  float l = 0.0f;
  GPU_UNROLL(4)
  for (uint32_t t4 = 0; t4 < most; t4 += 4) {
    const uint32_t low_at = place(t4, half()), high_at = place(t4, half() + 4), flip = t4 / 16 & 1u;
    const float* to_add = p() + place(t4, mine);
    GPU_UNROLL_ALL
    for (uint32_t j = 0; j < 4; ++j) {
      const uint32_t t = t4 + j, row = ((j ^ flip) - flip) * kWarpQueries;  // from t4's
      const float4 low = *reinterpret_cast<const float4*>(w + (low_at + row));
      const float4 high = *reinterpret_cast<const float4*>(w + (high_at + row));
      const float4 near = *reinterpret_cast<const float4*>(v + t * head_dim());
      const float4 far = *reinterpret_cast<const float4*>(v + t * head_dim() + 64);
      if (!kMasked || t < my_count) l = l + to_add[static_cast<int32_t>(row)];
      const float ws[kQueriesEach] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
      const float vs[kDimsEach] = {near.x, near.y, near.z, near.w, far.x, far.y, far.z, far.w};
      GPU_UNROLL_ALL
      for (uint32_t i = 0; i < kQueriesEach; ++i) {
        if (kMasked && t >= count[i]) continue;
        GPU_UNROLL_ALL
        for (uint32_t k = 0; k < kDimsEach; ++k) part[i][k] = std::fma(ws[i], vs[k], part[i][k]);
      }
    }
  }
  GPU_UNROLL_ALL
  for (uint32_t i = 0; i < kQueriesEach; ++i) {
    if (kMasked && count[i] == 0) continue;
    const float before = state()[kWarpQueries + half() + i], next = state()[2 * kWarpQueries + half() + i];
    if (begins) {
      GPU_UNROLL_ALL
      for (uint32_t k = 0; k < kDimsEach; ++k) o[i][k] = part[i][k];
    } else {
      GPU_UNROLL_ALL
      for (uint32_t k = 0; k < kDimsEach; ++k) o[i][k] = std::fma(o[i][k], before, part[i][k] * next);
    }
  }
  return l;
}

/// The super-blocks before lie in `attended` until the last one is folded into them and the quotients stand there.
template <KvFormat kFormat, uint32_t kHeadDim>
GPU_DEVICE void AttendTileKernel<kFormat, kHeadDim>::finish_super(uint32_t super, bool last,
                                                                  float (&o)[kQueriesEach][kDimsEach]) const {
  const uint32_t first = opaque(first_query_) + half();
  GPU_UNROLL_ALL
  for (uint32_t i = 0; i < kQueriesEach; ++i) {
    const uint32_t q = first + i;
    if (q >= queries_) continue;
    const bool there = seen(q, super * kSuperBlock) > 0;
    const float before = state()[kWarpQueries + half() + i], next = state()[2 * kWarpQueries + half() + i];
    const float l = state()[half() + i];
    float* out = a_.attended + place_of_query(q) * head_dim();
    GPU_UNROLL_ALL
    for (uint32_t k = 0; k < kDimsEach; ++k) {
      if (dim_of(k) >= head_dim()) continue;
      float& to = out[dim_of(k)];
      const float all = super == 0 ? o[i][k] : there ? std::fma(to, before, o[i][k] * next) : to;
      to = last ? all / l : all;
    }
  }
}

/// A block a tile and KV head.
template <KvFormat kFormat, uint32_t kHeadDim>
GPU_KERNEL(kTileThreads, 1)
attend_tiles(GPU_ARGUMENT TileArgs argument) {
  wait_for_earlier();
  let_next_begin();
  AttendTileKernel<kFormat, kHeadDim>(argument_of(argument)).run();
}

}  // namespace
}  // namespace onebit::gpu
