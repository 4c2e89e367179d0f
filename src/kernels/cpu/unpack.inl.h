// Packed weights as 64-byte words of four columns, for products that use them several times.
#pragma once

#include "kernels/cpu/matvec.inl.h"

namespace onebit {
namespace {

/// Columns in a unit, and its 64-byte blocks (format/packing.h).
constexpr uint32_t unit_columns(PackedMatrix::Kind kind) {
  return kind == PackedMatrix::kQ8 ? 4 : kind == PackedMatrix::kT2 ? 16 : kind == PackedMatrix::kT1_6 ? 20 : 128;
}
constexpr uint32_t unit_blocks(PackedMatrix::Kind kind) {
  return kind == PackedMatrix::kS1_25 ? kSparseUnitBlocks : 1;
}

/// The four fields of x, each as bytes, `step` bytes apart.
inline __attribute__((always_inline)) void store_fields(Simd::Bytes x, uint8_t* out, size_t step) {
  const auto mask = Simd::splat_byte(3);
  Simd::store_bytes(out, Simd::bit_and(x, mask));
  Simd::store_bytes(out + step, Simd::bit_and(Simd::template shift_right<2>(x), mask));
  Simd::store_bytes(out + 2 * step, Simd::bit_and(Simd::template shift_right<4>(x), mask));
  Simd::store_bytes(out + 3 * step, Simd::bit_and(Simd::template shift_right<6>(x), mask));
}

inline void unpack_sparse(const uint8_t* blocks, const uint8_t* next, uint32_t count, uint8_t* out, size_t step) {
  for (uint32_t i = 0; i < count; i += kSparseUnitBlocks, out += 4 * kSparseUnitParts * step) {
    for (uint32_t line = i; line < i + kSparseUnitBlocks; ++line) Simd::prefetch(next + size_t{line} * 64);
    each_part(blocks + size_t{i} * 64, [&]<uint32_t v>(Simd::Bytes codes) __attribute__((always_inline)) {
      store_fields(Simd::look_up_s1_25(codes), out + 4 * v * step, step);
    });
  }
}

/// `count` blocks as 64-byte words of four columns each, `step` bytes apart: weights + 1 (ternary), or as `dot` takes
/// them (q8). As many blocks from `next` on are fetched for later.
template <PackedMatrix::Kind kind>
void unpack_blocks(const uint8_t* blocks, const uint8_t* next, uint32_t count, uint8_t* out, size_t step) {
  if constexpr (kind == PackedMatrix::kS1_25) return unpack_sparse(blocks, next, count, out, step);
  constexpr uint32_t kWords = unit_columns(kind) / 4;
  const auto mask = Simd::splat_byte(3);
  for (uint32_t i = 0; i < count; ++i, out += kWords * step) {
    const auto x = Simd::load_bytes(blocks + size_t{i} * 64);
    Simd::prefetch(next + size_t{i} * 64);
    if constexpr (kind == PackedMatrix::kQ8) {
      Simd::store_bytes(out, signed_weights(x));
    } else {
      auto four = x;
      if constexpr (kind == PackedMatrix::kT1_6) {
        const auto trits = Simd::unpack_t1_6(x);
        four = trits.four;
        Simd::store_bytes(out + 4 * step, Simd::bit_and(Simd::template shift_right<6>(trits.fifth), mask));
      }
      store_fields(four, out, step);
    }
  }
}

/// What unpacked weights are above their values.
inline int32_t offset_of(PackedMatrix::Kind kind) {
  return kind != PackedMatrix::kQ8 ? 1 : Simd::kSignedDot ? 0 : 128;
}

}  // namespace
}  // namespace onebit
