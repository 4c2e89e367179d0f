// Prefill and batches: several tokens times a packed matrix. For few, weights are unpacked in registers and used there.
// For many, they are unpacked once for all, a panel of columns at a time into the inner cache, and multiplied in
// register tiles of kTileGroups x kTileTokens.
#pragma once

#include "kernels/cpu/grouped.inl.h"
#include "kernels/cpu/matvec.inl.h"
#include "kernels/cpu/unpack.inl.h"

namespace onebit {
namespace {

/// Columns of a panel, whole units of the packing: 4 groups of 16 rows are 32 KB unpacked.
constexpr uint32_t panel_columns(PackedMatrix::Kind kind) {
  return kind == PackedMatrix::kS1_25 ? 512 : 480;
}

constexpr size_t round_up(size_t n, size_t to) {
  return (n + to - 1) / to * to;
}

/// acc[token][group] += panel · q over `words` words of four columns. The tile lives in registers.
template <int groups, int tokens>
inline __attribute__((always_inline)) void multiply_tile(const uint8_t* panel, const int8_t* q, size_t q_stride,
                                                         uint32_t words, int32_t* acc, size_t acc_stride) {
  Simd::I32 a[tokens][groups];
#pragma GCC unroll 8
  for (int t = 0; t < tokens; ++t)
#pragma GCC unroll 8
    for (int g = 0; g < groups; ++g) a[t][g] = Simd::load_i32(acc + size_t(t) * acc_stride + 16 * g);
  for (uint32_t k = 0; k < words; ++k) {
    Simd::Bytes w[groups];
#pragma GCC unroll 8
    for (int g = 0; g < groups; ++g) w[g] = Simd::load_bytes(panel + (size_t{k} * groups + g) * 64);
#pragma GCC unroll 8
    for (int t = 0; t < tokens; ++t) {
      const auto x = Simd::splat_i32(*reinterpret_cast<const int32_t*>(q + size_t(t) * q_stride + size_t{k} * 4));
#pragma GCC unroll 8
      for (int g = 0; g < groups; ++g) a[t][g] = Simd::dot(a[t][g], w[g], x);
    }
  }
#pragma GCC unroll 8
  for (int t = 0; t < tokens; ++t)
#pragma GCC unroll 8
    for (int g = 0; g < groups; ++g) Simd::store_i32(acc + size_t(t) * acc_stride + 16 * g, a[t][g]);
}

template <int groups>
void multiply_panel(const uint8_t* panel, const QuantizedRows& x, size_t column, uint32_t words, int32_t* acc) {
  constexpr size_t kStride = size_t{groups} * 16;
  const int8_t* q = x.q + column;
  uint32_t t = 0;
  for (; t + Simd::kTileTokens <= x.tokens; t += Simd::kTileTokens)
    multiply_tile<groups, Simd::kTileTokens>(panel, q + t * x.stride, x.stride, words, acc + t * kStride, kStride);
  for (; t + 2 <= x.tokens; t += 2)
    multiply_tile<groups, 2>(panel, q + t * x.stride, x.stride, words, acc + t * kStride, kStride);
  if (t < x.tokens) multiply_tile<groups, 1>(panel, q + t * x.stride, x.stride, words, acc + t * kStride, kStride);
}

/// `groups` groups of 16 rows from `first` on, one scale for all columns. Scratch: panel, then acc [tokens][groups ·
/// 16].
template <PackedMatrix::Kind kind, int groups>
void multiply_rows(const PackedMatrix& w, uint32_t first, const QuantizedRows& x, float* y, size_t y_stride,
                   Output output, uint8_t* scratch) {
  constexpr uint32_t kColumns = unit_columns(kind), kBlocks = unit_blocks(kind);
  constexpr uint32_t kPanelColumns = panel_columns(kind), kPanelBlocks = kPanelColumns / kColumns * kBlocks;
  constexpr size_t kStride = size_t{groups} * 16;
  auto* panel = scratch;
  auto* acc = reinterpret_cast<int32_t*>(scratch + size_t{kPanelColumns} / 4 * groups * 64);
  for (size_t i = 0; i < x.tokens * kStride; i += 16) Simd::store_i32(acc + i, Simd::zero_i32());
  for (uint32_t block = 0; block < w.blocks; block += kPanelBlocks) {
    const uint32_t count = w.blocks - block < kPanelBlocks ? w.blocks - block : kPanelBlocks;
    // what the next panel unpacks: further along these groups, or where the next ones begin
    const size_t next = block + count < w.blocks ? size_t{count} * 64 : groups * w.group_bytes() - size_t{block} * 64;
    for (int g = 0; g < groups; ++g) {
      const uint8_t* blocks = w.data + (first + g) * w.group_bytes() + size_t{block} * 64;
      unpack_blocks<kind>(blocks, blocks + next, count, panel + size_t(g) * 64, groups * 64);
    }
    multiply_panel<groups>(panel, x, size_t{block} / kBlocks * kColumns, count / kBlocks * kColumns / 4, acc);
  }
  for (uint32_t t = 0; t < x.tokens; ++t)
    for (int g = 0; g < groups; ++g) {
      const auto sum =
          Simd::sub(Simd::load_i32(acc + t * kStride + 16 * g), Simd::splat_i32(offset_of(kind) * x.sum[t]));
      const auto value = Simd::mul(Simd::to_f32(sum), scale_of(w, first + g, x.scale[t]));
      store_rows(value, w.rows - (first + g) * 16, output, y + t * y_stride + size_t{first + g} * 16);
    }
}

/// Field `field` of a block's bytes as weights + 1, or a q8 block as `dot` takes it.
template <PackedMatrix::Kind kind, int field>
inline __attribute__((always_inline)) Simd::Bytes plain_field(Simd::Bytes four, Simd::Bytes fifth) {
  if constexpr (kind == PackedMatrix::kQ8) {
    return signed_weights(four);
  } else if constexpr (field == 4) {
    return Simd::bit_and(Simd::template shift_right<6>(fifth), Simd::splat_byte(3));
  } else if constexpr (field == 0) {
    return Simd::bit_and(four, Simd::splat_byte(3));
  } else {
    return Simd::bit_and(Simd::template shift_right<2 * field>(four), Simd::splat_byte(3));
  }
}

/// a[token][group] += a field of each group's block · the four activations that it meets, for this field and the rest.
template <PackedMatrix::Kind kind, int groups, int tokens, int field>
inline __attribute__((always_inline)) void multiply_fields(Simd::I32 (&a)[tokens][groups],
                                                           const Simd::Bytes (&four)[groups],
                                                           const Simd::Bytes (&fifth)[groups], const int8_t* q,
                                                           size_t q_stride) {
  Simd::Bytes w[groups];
#pragma GCC unroll 4
  for (int g = 0; g < groups; ++g) w[g] = plain_field<kind, field>(four[g], fifth[g]);
#pragma GCC unroll 16
  for (int t = 0; t < tokens; ++t) {
    const auto x = Simd::splat_i32(*reinterpret_cast<const int32_t*>(q + size_t(t) * q_stride + size_t{field} * 4));
#pragma GCC unroll 4
    for (int g = 0; g < groups; ++g) a[t][g] = Simd::dot(a[t][g], w[g], x);
  }
  if constexpr (field + 1 < (kind == PackedMatrix::kQ8 ? 1 : kind == PackedMatrix::kT1_6 ? 5 : 4))
    multiply_fields<kind, groups, tokens, field + 1>(a, four, fifth, q, q_stride);
}

/// The same for whole groups of s1_25. What is fetched ahead past the groups' end are the next ones.
template <int groups, int tokens>
inline __attribute__((always_inline)) void multiply_sparse(Simd::I32 (&a)[tokens][groups], const uint8_t* w,
                                                           size_t group_bytes, size_t ahead, const int8_t* q,
                                                           size_t q_stride) {
  constexpr size_t kUnitBytes = size_t{kSparseUnitBlocks} * 64;
  for (size_t at = 0; at < group_bytes; at += kUnitBytes, q += kSparseUnitParts * 16) {
    const size_t next = at + ahead < group_bytes ? ahead : ahead + (groups - 1) * group_bytes;
    Simd::Bytes fields[kSparseUnitParts][groups];
#pragma GCC unroll 4
    for (int g = 0; g < groups; ++g) {
      const uint8_t* unit = w + g * group_bytes + at;
      for (size_t line = 0; line < kUnitBytes; line += 64) Simd::prefetch(unit + next + line);
      each_part(unit, [&]<uint32_t v>(Simd::Bytes codes)
                          __attribute__((always_inline)) { fields[v][g] = Simd::look_up_s1_25(codes); });
    }
    for (uint32_t v = 0; v < kSparseUnitParts; ++v)
      multiply_fields<PackedMatrix::kS1_25, groups, tokens, 0>(a, fields[v], fields[v], q + 16 * v, q_stride);
  }
}

/// `groups` groups of 16 rows from `first` on, with `tokens` tokens from `token` on.
template <PackedMatrix::Kind kind, int groups, int tokens>
void multiply_few(const PackedMatrix& w, uint32_t first, const QuantizedRows& x, uint32_t token, float* y,
                  size_t y_stride, Output output) {
  const size_t group_bytes = w.group_bytes(), ahead = size_t{kAheadBlocks} * 64 / groups;
  const uint8_t* block = w.data + first * group_bytes;
  const int8_t* q = x.q + token * x.stride;
  Simd::I32 a[tokens][groups];
#pragma GCC unroll 16
  for (int t = 0; t < tokens; ++t)
#pragma GCC unroll 4
    for (int g = 0; g < groups; ++g) a[t][g] = Simd::zero_i32();
  if constexpr (kind == PackedMatrix::kS1_25) multiply_sparse(a, block, group_bytes, ahead, q, x.stride);
  for (size_t at = 0; kind != PackedMatrix::kS1_25 && at < group_bytes;
       at += 64, block += 64, q += unit_columns(kind)) {
    // further along these groups, or where the next ones begin
    const size_t next = at + ahead < group_bytes ? ahead : ahead + (groups - 1) * group_bytes;
    Simd::Bytes four[groups], fifth[groups];
#pragma GCC unroll 4
    for (int g = 0; g < groups; ++g) {
      four[g] = fifth[g] = Simd::load_bytes(block + g * group_bytes);
      Simd::prefetch(block + g * group_bytes + next);
      if constexpr (kind == PackedMatrix::kT1_6) {
        const auto trits = Simd::unpack_t1_6(four[g]);
        four[g] = trits.four;
        fifth[g] = trits.fifth;
      }
    }
    multiply_fields<kind, groups, tokens, 0>(a, four, fifth, q, x.stride);
  }
  for (int t = 0; t < tokens; ++t)
    for (int g = 0; g < groups; ++g) {
      const auto sum = Simd::sub(a[t][g], Simd::splat_i32(offset_of(kind) * x.sum[token + t]));
      const auto value = Simd::mul(Simd::to_f32(sum), scale_of(w, first + g, x.scale[token + t]));
      store_rows(value, w.rows - (first + g) * 16, output, y + (token + t) * y_stride + size_t{first + g} * 16);
    }
}

/// The tokens from `token` on, `tokens` or fewer at a time.
template <PackedMatrix::Kind kind, int groups, int tokens = Simd::kFewTileTokens>
void multiply_few_rows(const PackedMatrix& w, uint32_t first, const QuantizedRows& x, uint32_t token, float* y,
                       size_t y_stride, Output output) {
  for (; token + tokens <= x.tokens; token += tokens)
    multiply_few<kind, groups, tokens>(w, first, x, token, y, y_stride, output);
  if constexpr (tokens > 1)
    if (token < x.tokens) multiply_few_rows<kind, groups, tokens - 1>(w, first, x, token, y, y_stride, output);
}

template <PackedMatrix::Kind kind>
void multiply_of(const PackedMatrix& w, uint32_t begin, uint32_t end, const QuantizedRows& x, float* y, size_t y_stride,
                 Output output, void* scratch) {
  auto* space = static_cast<uint8_t*>(scratch);
  uint32_t g = begin;
  if (w.granularity == PackedMatrix::kPerGroup)
    return multiply_grouped<kind>(w, begin, end, x, y, y_stride, output, space);
  if (x.tokens < Simd::kPanelTokens) {
    for (; g + Simd::kFewTileGroups <= end; g += Simd::kFewTileGroups)
      multiply_few_rows<kind, Simd::kFewTileGroups>(w, g, x, 0, y, y_stride, output);
    for (; g < end; ++g) multiply_few_rows<kind, 1>(w, g, x, 0, y, y_stride, output);
    return;
  }
  for (; g + Simd::kTileGroups <= end; g += Simd::kTileGroups)
    multiply_rows<kind, Simd::kTileGroups>(w, g, x, y, y_stride, output, space);
  for (; g < end; ++g) multiply_rows<kind, 1>(w, g, x, y, y_stride, output, space);
}

void multiply(const PackedMatrix& w, uint32_t begin, uint32_t end, const QuantizedRows& x, float* y, size_t y_stride,
              Output output, void* scratch) {
  switch (w.kind) {
    case PackedMatrix::kT2:
      return multiply_of<PackedMatrix::kT2>(w, begin, end, x, y, y_stride, output, scratch);
    case PackedMatrix::kT1_6:
      return multiply_of<PackedMatrix::kT1_6>(w, begin, end, x, y, y_stride, output, scratch);
    case PackedMatrix::kS1_25:
      return multiply_of<PackedMatrix::kS1_25>(w, begin, end, x, y, y_stride, output, scratch);
    case PackedMatrix::kQ8:
      return multiply_of<PackedMatrix::kQ8>(w, begin, end, x, y, y_stride, output, scratch);
  }
}

size_t multiply_scratch(const PackedMatrix& w, uint32_t tokens) {
  if (w.granularity == PackedMatrix::kPerGroup) return grouped_scratch(w, tokens);
  if (tokens < Simd::kPanelTokens) return 0;
  return (size_t{panel_columns(w.kind)} / 4 * 64 + size_t{tokens} * 64) * Simd::kTileGroups;
}

void matvec(const PackedMatrix& w, uint32_t begin, uint32_t end, const QuantizedRows& x, float* y, Output output) {
  if (w.granularity == PackedMatrix::kPerGroup)
    return w.kind == PackedMatrix::kT2 ? matvec_grouped<PackedMatrix::kT2>(w, begin, end, x, y, output)
                                       : matvec_grouped<PackedMatrix::kT1_6>(w, begin, end, x, y, output);
  switch (w.kind) {
    case PackedMatrix::kT2:
      return matvec_of<PackedMatrix::kT2>(w, begin, end, x, y, output);
    case PackedMatrix::kT1_6:
      return matvec_of<PackedMatrix::kT1_6>(w, begin, end, x, y, output);
    case PackedMatrix::kS1_25:
      return matvec_of<PackedMatrix::kS1_25>(w, begin, end, x, y, output);
    case PackedMatrix::kQ8:
      return matvec_of<PackedMatrix::kQ8>(w, begin, end, x, y, output);
  }
}

}  // namespace
}  // namespace onebit
