// Attention over one KV block for a few queries at a time: Flash-Decoding (Dao et al. 2023) in the contract's
// blocks. Queries of one KV head share each load of its keys and values.
#pragma once

#include "kernels/cpu/exp.inl.h"
#include "kernels/cpu/rows.inl.h"

namespace onebit {
namespace {

using cpu::AttendBlock;
using cpu::KvFormat;

constexpr uint32_t kKvBlock = 64;

inline uint32_t padded_head_dim(uint32_t head_dim) {
  return (head_dim + 15) / 16 * 16;
}

template <KvFormat format>
inline __attribute__((always_inline)) Simd::F32 load_kv(const void* p, size_t i) {
  if constexpr (format == KvFormat::kF32) return Simd::load_f32(static_cast<const float*>(p) + i);
  if constexpr (format == KvFormat::kF16) return Simd::load_f16(static_cast<const uint16_t*>(p) + i);
  if constexpr (format == KvFormat::kQ8) return Simd::load_i8(static_cast<const int8_t*>(p) + i);
}

template <KvFormat format>
constexpr size_t kKvBytes = format == KvFormat::kF32   ? 4
                            : format == KvFormat::kF16 ? 2
                                                       : 1;

/// What is read 4 KB from here, into the cache: the block's keys and values are one stream.
[[gnu::always_inline]] inline void prefetch_stream(const void* p) {
  Simd::prefetch(static_cast<const uint8_t*>(p) + 4096);
}

/// s[query][t] = fma chain over d ascending of q_d · k_td, for `vectors` vectors of positions from `first` on.
template <KvFormat format, int queries, int vectors>
inline __attribute__((always_inline)) void score_tile(const AttendBlock& b, uint32_t query, uint32_t first,
                                                      float (*s)[kKvBlock]) {
  Simd::F32 a[queries][vectors];
#pragma GCC unroll 4
  for (int i = 0; i < queries; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < vectors; ++j) a[i][j] = Simd::zero_f32();
  const float* q[queries];
  for (int i = 0; i < queries; ++i) q[i] = b.q[query + i];
  for (uint32_t d = 0; d < b.head_dim; ++d) {
    const size_t at = size_t{d} * kKvBlock + first;
    Simd::F32 k[vectors];
#pragma GCC unroll 4
    for (int j = 0; j < vectors; ++j) k[j] = load_kv<format>(b.kv.k, at + 16 * size_t(j));
    for (size_t byte = 0; byte < size_t{vectors} * 16 * kKvBytes<format>; byte += 64)
      prefetch_stream(static_cast<const uint8_t*>(b.kv.k) + at * kKvBytes<format> + byte);
#pragma GCC unroll 4
    for (int i = 0; i < queries; ++i) {
      const auto x = Simd::splat_f32(q[i][d]);
#pragma GCC unroll 4
      for (int j = 0; j < vectors; ++j) a[i][j] = Simd::fma(x, k[j], a[i][j]);
    }
  }
  const auto factor = Simd::splat_f32(b.score_factor);
  for (int i = 0; i < queries; ++i)
    for (int j = 0; j < vectors; ++j) Simd::store_f32(s[i] + first + 16 * size_t(j), Simd::mul(a[i][j], factor));
}

/// The same on int8: float(Σ q·k) · ((sq/127) · (sk/127)) · c.
template <int queries, int vectors>
inline __attribute__((always_inline)) void score_tile_q8(const AttendBlock& b, uint32_t query, uint32_t first,
                                                         float (*s)[kKvBlock]) {
  Simd::I32 a[queries][vectors];
  int32_t q_sum[queries] = {};
#pragma GCC unroll 4
  for (int i = 0; i < queries; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < vectors; ++j) a[i][j] = Simd::zero_i32();
  const auto* k = static_cast<const uint8_t*>(b.kv.k) + size_t{first} * 4;
  const uint32_t words = padded_head_dim(b.head_dim) / 4;
  for (uint32_t d = 0; d < words; ++d, k += kKvBlock * 4) {
    Simd::Bytes w[vectors];
#pragma GCC unroll 4
    for (int j = 0; j < vectors; ++j) {
      w[j] = Simd::load_bytes(k + 64 * size_t(j));
      if (!Simd::kSignedDot) w[j] = Simd::bit_xor(w[j], Simd::splat_byte(0x80));
      prefetch_stream(k + 64 * size_t(j));
    }
#pragma GCC unroll 4
    for (int i = 0; i < queries; ++i) {
      const auto x = Simd::splat_i32(reinterpret_cast<const int32_t*>(b.q8[query + i])[d]);
#pragma GCC unroll 4
      for (int j = 0; j < vectors; ++j) a[i][j] = Simd::dot(a[i][j], w[j], x);
    }
  }
  if (!Simd::kSignedDot)
    for (int i = 0; i < queries; ++i)
      for (uint32_t d = 0; d < b.head_dim; ++d) q_sum[i] += b.q8[query + i][d];
  for (int i = 0; i < queries; ++i)
    for (int j = 0; j < vectors; ++j) {
      const auto sum = Simd::to_f32(Simd::sub(a[i][j], Simd::splat_i32(128 * q_sum[i])));
      const auto scale =
          Simd::mul(Simd::splat_f32(b.q_scale[query + i]), Simd::load_f32(b.kv.k_scale + first + 16 * j));
      Simd::store_f32(s[i] + first + 16 * size_t(j), Simd::mul(Simd::mul(sum, scale), Simd::splat_f32(b.score_factor)));
    }
}

/// Scores to p_t = exp(s_t - m) in place, and m.
inline void exponentials(float* s, uint32_t count, float* m) {
  auto largest = Simd::splat_f32(s[0]);
  uint32_t t = 0;
  for (; t + 16 <= count; t += 16) largest = Simd::max(largest, Simd::load_f32(s + t));
  *m = Simd::reduce_max(largest);
  for (; t < count; ++t) *m = s[t] > *m ? s[t] : *m;
  for (t = 0; t < count; t += 16)
    Simd::store_f32(s + t, exp_negative(Simd::sub(Simd::load_f32(s + t), Simd::splat_f32(*m))));
}

void exp_below(const float* x, float max, uint32_t n, float* y) {
  const auto sixteen = [max](const float* from, float* to) {
    Simd::store_f32(to, exp_negative(Simd::sub(Simd::load_f32(from), Simd::splat_f32(max))));
  };
  uint32_t i = 0;
  for (; i + 16 <= n; i += 16) sixteen(x + i, y + i);
  if (i == n) return;
  float last[16] = {};
  for (uint32_t j = 0; i + j < n; ++j) last[j] = x[i + j];
  sixteen(last, last);
  for (uint32_t j = 0; i + j < n; ++j) y[i + j] = last[j];
}

/// l = Σ p_t, t ascending: side by side, since each sum waits for its last addition. The first `shared` positions count
/// for all queries.
template <int queries>
void sum_up(const AttendBlock& b, uint32_t query, uint32_t shared, const float (*p)[kKvBlock]) {
  float sum[queries] = {};
  for (uint32_t t = 0; t < shared; ++t)
#pragma GCC unroll 4
    for (int i = 0; i < queries; ++i) sum[i] += p[i][t];
  for (int i = 0; i < queries; ++i) {
    for (uint32_t t = shared; t < b.count[query + i]; ++t) sum[i] += p[i][t];
    *b.l[query + i] = sum[i];
  }
}

/// o[query][d] += p_t · v_td over t in [begin, end), for `vectors` vectors of elements from `first` on.
template <KvFormat format, int queries, int vectors>
inline __attribute__((always_inline)) void value_tile(const AttendBlock& b, uint32_t query, uint32_t first,
                                                      uint32_t begin, uint32_t end, const float (*p)[kKvBlock]) {
  Simd::F32 a[queries][vectors];
#pragma GCC unroll 4
  for (int i = 0; i < queries; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < vectors; ++j) a[i][j] = Simd::load_f32(b.o[query + i] + first + 16 * size_t(j));
  const size_t width = padded_head_dim(b.head_dim);
  for (uint32_t t = begin; t < end; ++t) {
    const size_t at = t * width + first;
    Simd::F32 v[vectors];
#pragma GCC unroll 4
    for (int j = 0; j < vectors; ++j) v[j] = load_kv<format>(b.kv.v, at + 16 * size_t(j));
    for (size_t byte = 0; byte < size_t{vectors} * 16 * kKvBytes<format>; byte += 64)
      prefetch_stream(static_cast<const uint8_t*>(b.kv.v) + at * kKvBytes<format> + byte);
#pragma GCC unroll 4
    for (int i = 0; i < queries; ++i) {
      const auto x = Simd::splat_f32(p[i][t]);
#pragma GCC unroll 4
      for (int j = 0; j < vectors; ++j) a[i][j] = Simd::fma(x, v[j], a[i][j]);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < queries; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < vectors; ++j) Simd::store_f32(b.o[query + i] + first + 16 * size_t(j), a[i][j]);
}

template <KvFormat format, int queries>
void weigh_values(const AttendBlock& b, uint32_t query, uint32_t begin, uint32_t end, const float (*p)[kKvBlock]) {
  const uint32_t width = padded_head_dim(b.head_dim);
  uint32_t first = 0;
  for (; first + 16 * Simd::kScoreVectors <= width; first += 16 * Simd::kScoreVectors)
    value_tile<format, queries, Simd::kScoreVectors>(b, query, first, begin, end, p);
  for (; first < width; first += 16) value_tile<format, queries, 1>(b, query, first, begin, end, p);
}

/// Scores of the positions from `first` on that any query sees: in tiles of `vectors`, the last one less if it may.
template <KvFormat format, int queries, int vectors>
void score_positions(const AttendBlock& b, uint32_t query, uint32_t first, uint32_t seen, float (*p)[kKvBlock]) {
  for (; first < seen; first += 16 * vectors) {
    if constexpr (vectors > 1)
      if (seen - first <= 16 * (vectors / 2))
        return score_positions<format, queries, vectors / 2>(b, query, first, seen, p);
    if constexpr (format == KvFormat::kQ8)
      score_tile_q8<queries, vectors>(b, query, first, p);
    else
      score_tile<format, queries, vectors>(b, query, first, p);
  }
}

/// `queries` queries from `query` on.
template <KvFormat format, int queries>
void attend_queries(const AttendBlock& b, uint32_t query) {
  alignas(64) float p[queries][kKvBlock];
  uint32_t seen = 0;
  for (int i = 0; i < queries; ++i) seen = b.count[query + i] > seen ? b.count[query + i] : seen;
  score_positions<format, queries, Simd::kScoreVectors>(b, query, 0, seen, p);
  uint32_t shared = kKvBlock;  // positions that all of them see
  for (int i = 0; i < queries; ++i) {
    exponentials(p[i], b.count[query + i], b.m[query + i]);
    shared = b.count[query + i] < shared ? b.count[query + i] : shared;
  }
  sum_up<queries>(b, query, shared, p);
  for (int i = 0; i < queries; ++i) {
    if constexpr (format == KvFormat::kQ8)
      for (uint32_t t = 0; t < b.count[query + i]; t += 16)
        Simd::store_f32(p[i] + t, Simd::mul(Simd::load_f32(p[i] + t), Simd::load_f32(b.kv.v_scale + t)));
    for (uint32_t d = 0; d < padded_head_dim(b.head_dim); d += 16)
      Simd::store_f32(b.o[query + i] + d, Simd::zero_f32());
  }
  weigh_values<format, queries>(b, query, 0, shared, p);
  for (int i = 0; i < queries; ++i)
    if (b.count[query + i] > shared) weigh_values<format, 1>(b, query + i, shared, b.count[query + i], p + i);
}

template <KvFormat format>
void attend_format(const AttendBlock& b) {
  uint32_t query = 0;
  for (; query + Simd::kScoreQueries <= b.queries; query += Simd::kScoreQueries)
    attend_queries<format, Simd::kScoreQueries>(b, query);
  if constexpr (Simd::kScoreQueries > 2)
    for (; query + 2 <= b.queries; query += 2) attend_queries<format, 2>(b, query);
  for (; query < b.queries; ++query) attend_queries<format, 1>(b, query);
}

void attend(KvFormat format, const AttendBlock& b) {
  switch (format) {
    case KvFormat::kF32:
      return attend_format<KvFormat::kF32>(b);
    case KvFormat::kF16:
      return attend_format<KvFormat::kF16>(b);
    case KvFormat::kQ8:
      return attend_format<KvFormat::kQ8>(b);
  }
}

void fold(float* m1, float* l1, float* o1, const float* m2, const float* l2, const float* o2, uint32_t head_dim) {
  const auto a_m = Simd::splat_f32(*m1), b_m = Simd::splat_f32(*m2);
  const auto m = Simd::max(a_m, b_m);
  const auto a = exp_negative(Simd::sub(a_m, m)), b = exp_negative(Simd::sub(b_m, m));
  alignas(64) float value[16];
  Simd::store_f32(value, Simd::fma(Simd::splat_f32(*l1), a, Simd::mul(Simd::splat_f32(*l2), b)));
  *l1 = value[0];
  Simd::store_f32(value, m);
  *m1 = value[0];
  for (uint32_t d = 0; d < padded_head_dim(head_dim); d += 16)
    Simd::store_f32(o1 + d, Simd::fma(Simd::load_f32(o1 + d), a, Simd::mul(Simd::load_f32(o2 + d), b)));
}

void divide(const float* o, const float* l, uint32_t n, float* y) {
  for (uint32_t d = 0; d < n; ++d) y[d] = o[d] / *l;
}

/// Elements of a key or value as the cache keeps them; q8 gets its scale.
inline void convert_kv(KvFormat format, const float* x, uint32_t n, uint16_t* half, int8_t* q8, float* scale) {
  int32_t sum = 0;
  if (format == KvFormat::kQ8) return quantize(x, n, q8, (size_t{n} + 63) / 64 * 64, scale, &sum);
  if (format != KvFormat::kF16) return;
  const auto most = Simd::splat_f32(65504.0f), least = Simd::splat_f32(-65504.0f);
  alignas(64) float rest[16] = {};
  for (uint32_t i = 0; i < n; i += 16) {
    const float* from = x + i;
    if (n - i < 16) {
      for (uint32_t j = 0; j < n - i; ++j) rest[j] = x[i + j];
      from = rest;
    }
    Simd::store_f16(half + i, Simd::max(least, Simd::min(most, Simd::load_f32(from))));
  }
}

/// Elements a key or value may have (format/model_config.h bounds head_dim).
constexpr uint32_t kMostHeadDim = 1024;

void append_key(KvFormat format, const float* k, uint32_t head_dim, uint32_t position, void* block, float* scales) {
  alignas(64) uint16_t half[kMostHeadDim];
  alignas(64) int8_t q8[kMostHeadDim];
  convert_kv(format, k, head_dim, half, q8, scales + position);
  for (uint32_t d = 0; d < head_dim; ++d) {
    const size_t at = size_t{d} * kKvBlock + position;
    if (format == KvFormat::kF32) static_cast<float*>(block)[at] = k[d];
    if (format == KvFormat::kF16) static_cast<uint16_t*>(block)[at] = half[d];
    if (format == KvFormat::kQ8) static_cast<int8_t*>(block)[(size_t{d / 4} * kKvBlock + position) * 4 + d % 4] = q8[d];
  }
}

void append_value(KvFormat format, const float* v, uint32_t head_dim, uint32_t position, void* block, float* scales) {
  alignas(64) uint16_t half[kMostHeadDim];
  alignas(64) int8_t q8[kMostHeadDim];
  convert_kv(format, v, head_dim, half, q8, scales + position);
  const size_t at = size_t{position} * padded_head_dim(head_dim);
  for (uint32_t d = 0; d < head_dim; ++d) {
    if (format == KvFormat::kF32) static_cast<float*>(block)[at + d] = v[d];
    if (format == KvFormat::kF16) static_cast<uint16_t*>(block)[at + d] = half[d];
    if (format == KvFormat::kQ8) static_cast<int8_t*>(block)[at + d] = q8[d];
  }
}

}  // namespace
}  // namespace onebit
