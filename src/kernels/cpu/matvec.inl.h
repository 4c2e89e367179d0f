// Decode: one token times a packed matrix. Bandwidth decides, so the loop does as little as it can for each
// 64-byte block: a lane is a row, four activations are broadcast to all lanes, and no sum crosses lanes.
#pragma once

#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/sparse.inl.h"

namespace onebit {
namespace {

using cpu::Output;
using cpu::PackedMatrix;
using cpu::QuantizedRows;

/// Blocks that are fetched ahead of their use: 8 KB. A second, nearer fetch cost up to a fifth on Zen 5
/// (lab/README.md).
constexpr uint32_t kAheadBlocks = 126;

/// Products of one field of the weights' bytes are kept apart until the end, since fields differ in weight.
template <PackedMatrix::Kind kind>
struct Accumulators {
  static constexpr int kCount = kind == PackedMatrix::kQ8 ? 1 : kind == PackedMatrix::kT1_6 ? 5 : 4;
  typename Simd::I32 of[kCount];

  inline __attribute__((always_inline)) void clear() {
#pragma GCC unroll 5
    for (int j = 0; j < kCount; ++j) of[j] = Simd::zero_i32();
  }
  inline __attribute__((always_inline)) void add(const Accumulators& other) {
#pragma GCC unroll 5
    for (int j = 0; j < kCount; ++j) of[j] = Simd::add(of[j], other.of[j]);
  }
};

template <int field>
inline __attribute__((always_inline)) Simd::Bytes field_of(Simd::Bytes x) {
  if constexpr (Simd::kFieldsInPlace || field == 0)
    return Simd::bit_and(x, Simd::splat_byte(static_cast<uint8_t>(3 << 2 * field)));
  else
    return Simd::bit_and(Simd::template shift_right<2 * field>(x), Simd::splat_byte(3));
}

inline __attribute__((always_inline)) Simd::Bytes signed_weights(Simd::Bytes x) {
  return Simd::kSignedDot ? x : Simd::bit_xor(x, Simd::splat_byte(0x80));  // + 128
}

/// The products of four fields with the activations they meet.
template <PackedMatrix::Kind kind>
inline __attribute__((always_inline)) void accumulate_fields(Accumulators<kind>& a, Simd::Bytes four,
                                                             const int32_t* q) {
  a.of[0] = Simd::dot_small(a.of[0], field_of<0>(four), Simd::splat_i32(q[0]));
  a.of[1] = Simd::dot_small(a.of[1], field_of<1>(four), Simd::splat_i32(q[1]));
  a.of[2] = Simd::dot_small(a.of[2], field_of<2>(four), Simd::splat_i32(q[2]));
  a.of[3] = Simd::dot_small(a.of[3], field_of<3>(four), Simd::splat_i32(q[3]));
}

/// A block's products with its activations, four to a word.
template <PackedMatrix::Kind kind>
inline __attribute__((always_inline)) void accumulate(Accumulators<kind>& a, const uint8_t* block, const int32_t* q) {
  const auto x = Simd::load_bytes(block);
  if constexpr (kind == PackedMatrix::kQ8) {
    a.of[0] = Simd::dot(a.of[0], signed_weights(x), Simd::splat_i32(q[0]));
  } else {
    Simd::Bytes four = x;
    if constexpr (kind == PackedMatrix::kT1_6) {
      const auto trits = Simd::unpack_t1_6(x);
      four = trits.four;
      const auto fifth = Simd::kFieldsInPlace ? trits.fifth : field_of<3>(trits.fifth);
      a.of[4] = Simd::dot_small(a.of[4], fifth, Simd::splat_i32(q[4]));
    }
    accumulate_fields<kind>(a, four, q);
  }
}

/// Σ q·w of 16 rows: fields brought to one weight, and the offset of unsigned weights taken out.
template <PackedMatrix::Kind kind>
inline __attribute__((always_inline)) Simd::I32 row_sums(const Accumulators<kind>& a, int32_t q_sum) {
  if constexpr (kind == PackedMatrix::kQ8) {
    return Simd::kSignedDot ? a.of[0] : Simd::sub(a.of[0], Simd::splat_i32(128 * q_sum));
  } else {
    auto last = a.of[3];
    if constexpr (kind == PackedMatrix::kT1_6) last = Simd::add(last, a.of[4]);
    auto sum = a.of[0];
    if constexpr (Simd::kFieldsInPlace) {
      sum = Simd::add(sum, Simd::template shift_right_signed<2>(a.of[1]));
      sum = Simd::add(sum, Simd::template shift_right_signed<4>(a.of[2]));
      sum = Simd::add(sum, Simd::template shift_right_signed<6>(last));
    } else {
      sum = Simd::add(Simd::add(sum, a.of[1]), Simd::add(a.of[2], last));
    }
    return Simd::sub(sum, Simd::splat_i32(q_sum));
  }
}

/// The products of a part of s1_25: its fields are looked up at once, or each for itself where that shares work better
/// among the processor's ports.
template <uint32_t v, class S>
inline __attribute__((always_inline)) void accumulate_codes(Accumulators<PackedMatrix::kS1_25>& a,
                                                            typename S::Bytes codes, const int32_t* q) {
  if constexpr (v < S::kFieldLookUps) {
    a.of[0] = S::dot_small(a.of[0], S::template look_up_field<0>(codes), S::splat_i32(q[0]));
    a.of[1] = S::dot_small(a.of[1], S::template look_up_field<1>(codes), S::splat_i32(q[1]));
    a.of[2] = S::dot_small(a.of[2], S::template look_up_field<2>(codes), S::splat_i32(q[2]));
    a.of[3] = S::dot_small(a.of[3], S::template look_up_field<3>(codes), S::splat_i32(q[3]));
  } else {
    accumulate_fields<PackedMatrix::kS1_25>(a, S::look_up_s1_25(codes), q);
  }
}

/// A group of 16 rows of s1_25.
inline __attribute__((always_inline)) Simd::I32 sixteen_sparse_rows(const uint8_t* w, uint32_t blocks, const int32_t* q,
                                                                    int32_t q_sum) {
  constexpr auto kKind = PackedMatrix::kS1_25;
  Accumulators<kKind> a, b;
  a.clear();
  b.clear();
  const uint8_t* end = w + size_t{blocks} * 64;
  for (; w < end; w += kSparseUnitBlocks * 64, q += kSparseUnitParts * 4) {
    for (uint32_t line = 0; line < kSparseUnitBlocks; ++line) Simd::prefetch(w + size_t{kAheadBlocks + line} * 64);
    each_part(w, [&]<uint32_t v>(Simd::Bytes codes) __attribute__((always_inline)) {
      accumulate_codes<v, Simd>(v % 2 == 0 ? a : b, codes, q + 4 * v);
    });
  }
  a.add(b);
  return row_sums<kKind>(a, q_sum);
}

/// One group of 16 rows. What is fetched ahead past its end is the next group.
template <PackedMatrix::Kind kind>
inline __attribute__((always_inline)) Simd::I32 sixteen_rows(const uint8_t* w, uint32_t blocks, const int32_t* q,
                                                             int32_t q_sum) {
  if constexpr (kind == PackedMatrix::kS1_25) return sixteen_sparse_rows(w, blocks, q, q_sum);
  constexpr uint32_t kWords = Accumulators<kind>::kCount;
  Accumulators<kind> a, b;
  a.clear();
  b.clear();
  uint32_t i = 0;
  for (; i + 4 <= blocks; i += 4, w += 256, q += 4 * kWords) {
    for (uint32_t line = 0; line < 4; ++line) Simd::prefetch(w + size_t{kAheadBlocks + line} * 64);
    accumulate<kind>(a, w, q);
    accumulate<kind>(b, w + 64, q + kWords);
    accumulate<kind>(a, w + 128, q + 2 * kWords);
    accumulate<kind>(b, w + 192, q + 3 * kWords);
  }
  for (; i < blocks; ++i, w += 64, q += kWords) accumulate<kind>(a, w, q);
  a.add(b);
  return row_sums<kind>(a, q_sum);
}

/// y of 16 rows: float(acc) · (w_scale · (s / 127)); only `rows` of them exist.
inline __attribute__((always_inline)) void store_rows(Simd::F32 value, uint32_t rows, Output output, float* y) {
  if (rows >= 16) {
    Simd::store_f32(y, output == Output::kAdd ? Simd::add(Simd::load_f32(y), value) : value);
    return;
  }
  alignas(64) float values[16];
  Simd::store_f32(values, value);
  for (uint32_t r = 0; r < rows; ++r) y[r] = output == Output::kAdd ? y[r] + values[r] : values[r];
}

inline Simd::F32 scale_of(const PackedMatrix& w, uint32_t group, float token_scale) {
  const auto scale = w.granularity == PackedMatrix::kOne ? Simd::splat_f32(w.scales[0])
                                                         : Simd::load_f32(w.scales + size_t{group} * 16);
  return Simd::mul(scale, Simd::splat_f32(token_scale));
}

template <PackedMatrix::Kind kind>
void matvec_of(const PackedMatrix& w, uint32_t begin, uint32_t end, const QuantizedRows& x, float* y, Output output) {
  const auto* q = reinterpret_cast<const int32_t*>(x.q);
  for (uint32_t g = begin; g < end; ++g) {
    const auto sums = sixteen_rows<kind>(w.data + g * w.group_bytes(), w.blocks, q, x.sum[0]);
    const auto value = Simd::mul(Simd::to_f32(sums), scale_of(w, g, x.scale[0]));
    store_rows(value, w.rows - g * 16, output, y + size_t{g} * 16);
  }
}

}  // namespace
}  // namespace onebit
