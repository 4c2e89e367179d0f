// Sixteen lanes for AVX-512 with VNNI and VBMI: one 64-byte block of packed weights is one register.
// For avx512.cc only, which alone is compiled for this instruction set.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/cpu/s1_25_tables.h"
#include "kernels/cpu/t1_6_tables.h"

namespace onebit {
namespace {

struct Simd {
  using Bytes = __m512i;  // 64 bytes
  using I32 = __m512i;    // 16 lanes
  using F32 = __m512;     // 16 lanes

  static constexpr int kPeakChains = 16;        // products in flight when only the processor's peak counts
  static constexpr bool kSignedDot = false;     // dot takes unsigned weights
  static constexpr bool kFieldsInPlace = true;  // field j of a byte keeps its weight 4^j until the end
  static constexpr int kTileGroups = 4;         // register tile of the matrix product: groups of 16 rows …
  static constexpr int kTileTokens = 4;         // … by tokens
  static constexpr int kFewTileGroups = 2, kFewTileTokens = 8;  // the same where weights are unpacked in registers
  static constexpr uint32_t kPanelTokens = ~0u;                 // a panel pays from so many tokens on: here never
  static constexpr uint32_t kFieldLookUps = 6;                  // of a unit's eight parts
  static constexpr int kScoreQueries = 4;                       // register tile of attention: queries …
  static constexpr int kScoreVectors = 4;                       // … by vectors of positions or elements

  static Bytes load_bytes(const void* p) { return _mm512_loadu_si512(p); }
  static void store_bytes(void* p, Bytes x) { _mm512_storeu_si512(p, x); }
  static Bytes splat_byte(uint8_t x) { return _mm512_set1_epi8(static_cast<char>(x)); }
  static Bytes bit_and(Bytes a, Bytes b) { return _mm512_and_si512(a, b); }
  static Bytes bit_xor(Bytes a, Bytes b) { return _mm512_xor_si512(a, b); }
  template <int N>
  static Bytes shift_right(Bytes x) {  // bits cross from byte to byte: mask afterwards
    return _mm512_srli_epi32(x, N);
  }

  static I32 zero_i32() { return _mm512_setzero_si512(); }
  static I32 load_i32(const int32_t* p) { return _mm512_loadu_si512(p); }
  static void store_i32(int32_t* p, I32 x) { _mm512_storeu_si512(p, x); }
  static I32 add(I32 a, I32 b) { return _mm512_add_epi32(a, b); }
  static I32 sub(I32 a, I32 b) { return _mm512_sub_epi32(a, b); }
  static I32 splat_i32(int32_t x) {
    __m512i b = _mm512_set1_epi32(x);
    asm("" : "+v"(b));  // kept in a register: as a broadcast memory operand of vpdpbusd it takes 1.4 times as long
    return b;
  }
  template <int N>
  static I32 shift_right_signed(I32 x) {
    return _mm512_srai_epi32(x, N);
  }
  /// acc + Σ of four products of unsigned bytes of w and signed bytes of x, in each lane.
  static I32 dot(I32 acc, Bytes w, I32 x) {
    asm("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(w), "v"(x));  // for the intrinsic g++ 12 copies acc there and back
    return acc;
  }
  /// The same for weights of at most 128.
  static I32 dot_small(I32 acc, Bytes w, I32 x) { return dot(acc, w, x); }

  /// Makes the compiler believe that x is used and changed here.
  static void keep(I32& x) { asm volatile("" : "+v"(x)); }

  static F32 zero_f32() { return _mm512_setzero_ps(); }
  static F32 splat_f32(float x) { return _mm512_set1_ps(x); }
  static F32 load_f32(const float* p) { return _mm512_loadu_ps(p); }
  static void store_f32(float* p, F32 x) { _mm512_storeu_ps(p, x); }
  static F32 load_f16(const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static void store_f16(uint16_t* p, F32 x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  static F32 load_bf16(const uint16_t* p) {
    const auto wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
  }
  static F32 load_i8(const int8_t* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
  static F32 to_f32(I32 x) { return _mm512_cvtepi32_ps(x); }
  /// Rounded to nearest even, cut to -128..127.
  static void store_i8(int8_t* p, F32 x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(x)));
  }
  static F32 add(F32 a, F32 b) { return _mm512_add_ps(a, b); }
  static F32 sub(F32 a, F32 b) { return _mm512_sub_ps(a, b); }
  static F32 mul(F32 a, F32 b) { return _mm512_mul_ps(a, b); }
  static F32 div(F32 a, F32 b) { return _mm512_div_ps(a, b); }
  static F32 fma(F32 a, F32 b, F32 c) { return _mm512_fmadd_ps(a, b, c); }
  static F32 max(F32 a, F32 b) { return _mm512_max_ps(a, b); }
  static F32 min(F32 a, F32 b) { return _mm512_min_ps(a, b); }
  /// |x| as bits, of which the largest is kept: NaN above infinity above numbers.
  static I32 max_bits(I32 largest, F32 x) {
    return _mm512_max_epu32(largest, _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7fffffff)));
  }
  static uint32_t reduce_max(I32 x) { return _mm512_reduce_max_epu32(x); }
  static float reduce_max(F32 x) { return _mm512_reduce_max_ps(x); }
  /// y · 2^n for a whole n, where the result is a normal number.
  static F32 scale_by_power(F32 y, F32 n) { return _mm512_scalef_ps(y, n); }
  /// x < limit ? 0 : y.
  static F32 zero_below(F32 x, float limit, F32 y) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, _mm512_set1_ps(limit), _CMP_NLT_UQ), y);
  }
  /// x > limit ? infinity : y.
  static F32 infinity_above(F32 x, float limit, F32 y) {
    return _mm512_mask_mov_ps(y, _mm512_cmp_ps_mask(x, _mm512_set1_ps(limit), _CMP_GT_OQ),
                              _mm512_set1_ps(__builtin_inff()));
  }

  /// Five trits a byte: four in fields of two bits, the fifth in the top two bits of its own byte.
  struct Trits {
    Bytes four, fifth;
  };
  static Trits unpack_t1_6(Bytes x) {
    const __m512i top = _mm512_set1_epi8(static_cast<char>(0xC0));
    const __mmask64 escaped = _mm512_cmpge_epu8_mask(x, top);
    const __m512i four = _mm512_mask_permutexvar_epi8(_mm512_permutexvar_epi8(x, _mm512_load_si512(kT16Tables.four)),
                                                      escaped, x, _mm512_load_si512(kT16Tables.escaped_four));
    const __m512i fifth = _mm512_mask_permutexvar_epi8(x, escaped, x, _mm512_load_si512(kT16Tables.escaped_fifth));
    return {four, _mm512_and_si512(fifth, top)};
  }

  /// By the five low bits of each byte, a code of s1_25: fields as t2 has them. The other bits do not matter.
  static Bytes look_up_s1_25(Bytes x) { return _mm512_permutexvar_epi8(x, _mm512_load_si512(kS125Tables.four)); }
  /// Field j of look_up_s1_25, the others 0. Half of such look-ups instead of masks shares work best among the ports.
  template <int j>
  static Bytes look_up_field(Bytes x) {
    return _mm512_permutexvar_epi8(x, _mm512_load_si512(kS125Tables.field[j]));
  }
  /// The bits of `mask` in each byte from a, the others from b.
  template <uint8_t mask>
  static Bytes choose(Bytes a, Bytes b) {
    return _mm512_ternarylogic_epi32(_mm512_set1_epi8(static_cast<char>(mask)), a, b, 0xCA);
  }

  /// Into the inner cache. Inlined before g++ can take a function that only fetches for
  /// one without effect, and leave it out: it did, and halved the speed of products.
  [[gnu::always_inline]] static void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }
};

}  // namespace
}  // namespace onebit
