// Products with a scale for each group of columns: a float sum over integer sums, columns ascending (contract, 2). A
// group is 8, 16 or 32 words of four columns, which need not begin where a block does: t1_6 has five words to a block.
#pragma once

#include "kernels/cpu/matvec.inl.h"
#include "kernels/cpu/unpack.inl.h"

namespace onebit {
namespace {

inline uint32_t scale_groups(const PackedMatrix& w) {
  return (w.columns + w.scale_group - 1) / w.scale_group;
}

/// Σ q of each group of columns of a token. In the order of s1_25 a group keeps its words.
inline void sum_groups(const PackedMatrix& w, const int8_t* q, size_t stride, int32_t* sums) {
  const uint32_t words = w.scale_group / 4, count = scale_groups(w);
  for (uint32_t c = 0; c < count; ++c) sums[c] = 0;
  for (size_t at = 0; at < stride; at += 64) {  // what is past the columns is zeros
    alignas(64) int32_t of_word[16];
    Simd::store_i32(of_word, Simd::dot_small(Simd::zero_i32(), Simd::splat_byte(1),
                                             Simd::load_i32(reinterpret_cast<const int32_t*>(q + at))));
    for (uint32_t i = 0; i < 16 && at / 4 + i < size_t{count} * words; ++i) sums[(at / 4 + i) / words] += of_word[i];
  }
}

/// The products of the fields [from, to) of a block.
template <PackedMatrix::Kind kind>
inline __attribute__((always_inline)) void accumulate_part(Accumulators<kind>& a, const uint8_t* block,
                                                           const int32_t* q, uint32_t from, uint32_t to) {
  const auto x = Simd::load_bytes(block);
  Simd::Bytes four = x;
  if constexpr (kind == PackedMatrix::kT1_6) {
    const auto trits = Simd::unpack_t1_6(x);
    four = trits.four;
    const auto fifth = Simd::kFieldsInPlace ? trits.fifth : field_of<3>(trits.fifth);
    if (to == 5) a.of[4] = Simd::dot_small(a.of[4], fifth, Simd::splat_i32(q[4]));
  }
  if (from == 0) a.of[0] = Simd::dot_small(a.of[0], field_of<0>(four), Simd::splat_i32(q[0]));
  if (from <= 1 && to > 1) a.of[1] = Simd::dot_small(a.of[1], field_of<1>(four), Simd::splat_i32(q[1]));
  if (from <= 2 && to > 2) a.of[2] = Simd::dot_small(a.of[2], field_of<2>(four), Simd::splat_i32(q[2]));
  if (from <= 3 && to > 3) a.of[3] = Simd::dot_small(a.of[3], field_of<3>(four), Simd::splat_i32(q[3]));
}

/// Σ q·w of 16 rows over the words [first, last).
template <PackedMatrix::Kind kind>
inline __attribute__((always_inline)) Simd::I32 sum_words(const uint8_t* blocks, const int32_t* q, uint32_t first,
                                                          uint32_t last, int32_t q_sum) {
  constexpr uint32_t kWords = Accumulators<kind>::kCount;
  Accumulators<kind> a;
  a.clear();
  uint32_t block = first / kWords;
  if (const uint32_t from = first % kWords; from != 0) {
    const uint32_t end = last - block * kWords;
    accumulate_part<kind>(a, blocks + size_t{block} * 64, q + size_t{block} * kWords, from,
                          end < kWords ? end : kWords);
    ++block;
  }
  for (; (block + 1) * kWords <= last; ++block) {
    const uint8_t* at = blocks + size_t{block} * 64;
    Simd::prefetch(at + size_t{kAheadBlocks} * 64);
    accumulate<kind>(a, at, q + size_t{block} * kWords);
  }
  if (block * kWords < last)
    accumulate_part<kind>(a, blocks + size_t{block} * 64, q + size_t{block} * kWords, 0, last - block * kWords);
  return row_sums<kind>(a, q_sum);
}

/// Groups of columns whose sums are kept beside each other: those of the widest matrix.
constexpr uint32_t kMostScaleGroups = 131072 / 32;

/// Decode, for t2 and t1_6.
template <PackedMatrix::Kind kind>
void matvec_grouped(const PackedMatrix& w, uint32_t begin, uint32_t end, const QuantizedRows& x, float* y,
                    Output output) {
  int32_t sums[kMostScaleGroups];
  sum_groups(w, x.q, x.stride, sums);
  const auto* q = reinterpret_cast<const int32_t*>(x.q);
  const uint32_t words = w.scale_group / 4, count = scale_groups(w);
  const uint32_t all = w.blocks * Accumulators<kind>::kCount;
  for (uint32_t g = begin; g < end; ++g) {
    const uint8_t* blocks = w.data + g * w.group_bytes();
    const float* scales = w.scales + size_t{g} * count * 16;
    auto value = Simd::zero_f32();
    for (uint32_t c = 0; c < count; ++c) {
      const uint32_t last = (c + 1) * words < all ? (c + 1) * words : all;
      const auto sum = sum_words<kind>(blocks, q, c * words, last, sums[c]);
      value = Simd::fma(Simd::to_f32(sum), Simd::load_f32(scales + size_t{c} * 16), value);
    }
    store_rows(Simd::mul(value, Simd::splat_f32(x.scale[0])), w.rows - g * 16, output, y + size_t{g} * 16);
  }
}

/// `tokens` tokens from `t` on times an unpacked group of 16 rows (`panel`, 64 bytes a word).
template <int tokens>
inline __attribute__((always_inline)) void multiply_scaled(const PackedMatrix& w, const uint8_t* panel,
                                                           const float* scales, const QuantizedRows& x,
                                                           const int32_t* sums, int32_t offset, uint32_t t,
                                                           Simd::F32 (&value)[tokens]) {
  const uint32_t words = w.scale_group / 4, count = scale_groups(w);
  const int8_t* q = x.q + t * x.stride;
  for (int i = 0; i < tokens; ++i) value[i] = Simd::zero_f32();
  const auto all = w.blocks / unit_blocks(w.kind) * unit_columns(w.kind) / 4;
  for (uint32_t c = 0; c < count; ++c) {
    Simd::I32 a[tokens];
#pragma GCC unroll 8
    for (int i = 0; i < tokens; ++i) a[i] = Simd::zero_i32();
    const uint32_t last = (c + 1) * words < all ? (c + 1) * words : all;
    for (uint32_t k = c * words; k < last; ++k) {
      const auto four = Simd::load_bytes(panel + size_t{k} * 64);
#pragma GCC unroll 8
      for (int i = 0; i < tokens; ++i)
        a[i] = Simd::dot(a[i], four,
                         Simd::splat_i32(*reinterpret_cast<const int32_t*>(q + size_t(i) * x.stride + size_t{k} * 4)));
    }
    const auto scale = Simd::load_f32(scales + size_t{c} * 16);
#pragma GCC unroll 8
    for (int i = 0; i < tokens; ++i) {
      const auto sum = Simd::sub(a[i], Simd::splat_i32(offset * sums[(t + uint32_t(i)) * count + c]));
      value[i] = Simd::fma(Simd::to_f32(sum), scale, value[i]);
    }
  }
}

template <int tokens>
inline __attribute__((always_inline)) void multiply_and_store(const PackedMatrix& w, uint32_t row_group,
                                                              const uint8_t* panel, const QuantizedRows& x,
                                                              const int32_t* sums, int32_t offset, uint32_t t, float* y,
                                                              size_t y_stride, Output output) {
  Simd::F32 value[tokens];
  const float* scales = w.scales + size_t{row_group} * scale_groups(w) * 16;
  multiply_scaled<tokens>(w, panel, scales, x, sums, offset, t, value);
  for (int i = 0; i < tokens; ++i)
    store_rows(Simd::mul(value[i], Simd::splat_f32(x.scale[t + uint32_t(i)])), w.rows - row_group * 16, output,
               y + (t + size_t(i)) * y_stride + size_t{row_group} * 16);
}

/// Words that a group of 16 rows has once unpacked: whole units, and as many as a row of activations.
inline size_t grouped_words(const PackedMatrix& w) {
  return size_t{w.columns} / 4 + 64;
}

inline size_t grouped_scratch(const PackedMatrix& w, uint32_t tokens) {
  return grouped_words(w) * 64 + size_t{tokens} * scale_groups(w) * sizeof(int32_t);
}

/// Several tokens: each group of 16 rows is unpacked as a whole. Scratch: the words, then Σ q [tokens][groups of
/// columns].
template <PackedMatrix::Kind kind>
void multiply_grouped(const PackedMatrix& w, uint32_t begin, uint32_t end, const QuantizedRows& x, float* y,
                      size_t y_stride, Output output, uint8_t* scratch) {
  auto* sums = reinterpret_cast<int32_t*>(scratch + grouped_words(w) * 64);
  for (uint32_t t = 0; t < x.tokens; ++t)
    sum_groups(w, x.q + t * x.stride, x.stride, sums + size_t{t} * scale_groups(w));
  constexpr int kTokens = Simd::kTileTokens;
  for (uint32_t g = begin; g < end; ++g) {
    const uint8_t* blocks = w.data + g * w.group_bytes();
    unpack_blocks<kind>(blocks, blocks + w.group_bytes(), w.blocks, scratch, 64);
    uint32_t t = 0;
    for (; t + kTokens <= x.tokens; t += kTokens)
      multiply_and_store<kTokens>(w, g, scratch, x, sums, offset_of(kind), t, y, y_stride, output);
    for (; t < x.tokens; ++t) multiply_and_store<1>(w, g, scratch, x, sums, offset_of(kind), t, y, y_stride, output);
  }
}

}  // namespace
}  // namespace onebit
