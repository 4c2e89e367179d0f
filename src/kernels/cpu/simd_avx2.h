// Sixteen lanes for AVX2, FMA and F16C: a 64-byte block of packed weights is two registers. With AVX-VNNI where
// the file that includes this is compiled for it. For avx2.cc and avx2_vnni.cc only.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/cpu/s1_25_tables.h"
#include "kernels/cpu/t1_6_tables.h"

namespace onebit {
namespace {

struct Simd {
  struct Bytes {
    __m256i a, b;
  };
  using I32 = Bytes;
  struct F32 {
    __m256 a, b;
  };

  static constexpr int kPeakChains = 6;  // products in flight when only the processor's peak counts
  static constexpr bool kSignedDot = false, kFieldsInPlace = true;
  static constexpr int kTileGroups = 1, kTileTokens = 4;        // 8 of 16 registers are accumulators
  static constexpr int kFewTileGroups = 1, kFewTileTokens = 4;  // the same where weights are unpacked in registers
  static constexpr uint32_t kPanelTokens = 8;                   // a panel pays from so many tokens on
  static constexpr uint32_t kFieldLookUps = 0;                  // look_up_field pays nothing here
  static constexpr int kScoreQueries = 2, kScoreVectors = 2;

  static __m256i half(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }

  static Bytes load_bytes(const void* p) { return {half(p), half(static_cast<const uint8_t*>(p) + 32)}; }
  static void store_bytes(void* p, Bytes x) {
    _mm256_storeu_si256(static_cast<__m256i*>(p), x.a);
    _mm256_storeu_si256(static_cast<__m256i*>(p) + 1, x.b);
  }
  static Bytes splat_byte(uint8_t x) {
    const auto v = _mm256_set1_epi8(static_cast<char>(x));
    return {v, v};
  }
  static Bytes bit_and(Bytes x, Bytes y) { return {_mm256_and_si256(x.a, y.a), _mm256_and_si256(x.b, y.b)}; }
  static Bytes bit_xor(Bytes x, Bytes y) { return {_mm256_xor_si256(x.a, y.a), _mm256_xor_si256(x.b, y.b)}; }
  template <int N>
  static Bytes shift_right(Bytes x) {  // bits cross from byte to byte: mask afterwards
    return {_mm256_srli_epi32(x.a, N), _mm256_srli_epi32(x.b, N)};
  }

  static I32 zero_i32() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
  static I32 load_i32(const int32_t* p) { return load_bytes(p); }
  static void store_i32(int32_t* p, I32 x) { store_bytes(p, x); }
  static I32 add(I32 x, I32 y) { return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)}; }
  static I32 sub(I32 x, I32 y) { return {_mm256_sub_epi32(x.a, y.a), _mm256_sub_epi32(x.b, y.b)}; }
  static I32 splat_i32(int32_t x) {
    const auto v = _mm256_set1_epi32(x);
    return {v, v};
  }
  template <int N>
  static I32 shift_right_signed(I32 x) {
    return {_mm256_srai_epi32(x.a, N), _mm256_srai_epi32(x.b, N)};
  }

#ifdef __AVXVNNI__
  static __m256i dot_half(__m256i acc, __m256i w, __m256i x) {
    asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc) : "x"(w), "x"(x));  // see simd_avx512.h
    return acc;
  }
  static __m256i dot_half_small(__m256i acc, __m256i w, __m256i x) { return dot_half(acc, w, x); }
#else
  /// Even and odd bytes apart, since pairs of u8 · s8 products can pass 16 bits.
  static __m256i dot_half(__m256i acc, __m256i w, __m256i x) {
    const auto even =
        _mm256_madd_epi16(_mm256_and_si256(w, _mm256_set1_epi16(0xff)), _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8));
    const auto odd = _mm256_madd_epi16(_mm256_srli_epi16(w, 8), _mm256_srai_epi16(x, 8));
    return _mm256_add_epi32(acc, _mm256_add_epi32(even, odd));
  }
  /// With weights up to 128 they cannot: 2 · 128 · 127 < 2^15 <= -(2 · 128 · -128).
  static __m256i dot_half_small(__m256i acc, __m256i w, __m256i x) {
    return _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), _mm256_set1_epi16(1)));
  }
#endif
  /// acc + Σ of four products of unsigned bytes of w and signed bytes of x, in each lane.
  static I32 dot(I32 acc, Bytes w, I32 x) { return {dot_half(acc.a, w.a, x.a), dot_half(acc.b, w.b, x.b)}; }
  /// The same for weights of at most 128.
  static I32 dot_small(I32 acc, Bytes w, I32 x) {
    return {dot_half_small(acc.a, w.a, x.a), dot_half_small(acc.b, w.b, x.b)};
  }

  /// Makes the compiler believe that x is used and changed here.
  static void keep(I32& x) { asm volatile("" : "+x"(x.a), "+x"(x.b)); }

  static F32 zero_f32() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static F32 splat_f32(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  static F32 load_f32(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static void store_f32(float* p, F32 x) {
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
  }
  static __m128i eight(const uint16_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
  static F32 load_f16(const uint16_t* p) { return {_mm256_cvtph_ps(eight(p)), _mm256_cvtph_ps(eight(p + 8))}; }
  static void store_f16(uint16_t* p, F32 x) {
    constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(x.a, kNearest));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8), _mm256_cvtps_ph(x.b, kNearest));
  }
  static F32 load_bf16(const uint16_t* p) {
    const auto wide = [](__m128i x) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16)); };
    return {wide(eight(p)), wide(eight(p + 8))};
  }
  static F32 load_i8(const int8_t* p) {
    const auto x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(x)),
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(x, 8)))};
  }
  static F32 to_f32(I32 x) { return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
  /// Rounded to nearest even, cut to -128..127.
  static void store_i8(int8_t* p, F32 x) {
    const auto words = _mm256_packs_epi32(_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b));  // halves interleaved
    const auto ordered = _mm256_permute4x64_epi64(words, _MM_SHUFFLE(3, 1, 2, 0));
    const auto bytes = _mm_packs_epi16(_mm256_castsi256_si128(ordered), _mm256_extracti128_si256(ordered, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes);
  }
  static F32 add(F32 x, F32 y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
  static F32 sub(F32 x, F32 y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
  static F32 mul(F32 x, F32 y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
  static F32 div(F32 x, F32 y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
  static F32 fma(F32 x, F32 y, F32 z) { return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)}; }
  static F32 max(F32 x, F32 y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
  static F32 min(F32 x, F32 y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
  /// |x| as bits, of which the largest is kept: NaN above infinity above numbers.
  static I32 max_bits(I32 largest, F32 x) {
    const auto mask = _mm256_set1_epi32(0x7fffffff);
    return {_mm256_max_epi32(largest.a, _mm256_and_si256(_mm256_castps_si256(x.a), mask)),
            _mm256_max_epi32(largest.b, _mm256_and_si256(_mm256_castps_si256(x.b), mask))};
  }
  static uint32_t reduce_max(I32 x) {
    alignas(32) int32_t lane[8];
    _mm256_store_si256(reinterpret_cast<__m256i*>(lane), _mm256_max_epi32(x.a, x.b));
    int32_t most = lane[0];
    for (const int32_t v : lane) most = v > most ? v : most;
    return static_cast<uint32_t>(most);
  }
  static float reduce_max(F32 x) {
    alignas(32) float lane[8];
    _mm256_store_ps(lane, _mm256_max_ps(x.a, x.b));
    float most = lane[0];
    for (const float v : lane) most = v > most ? v : most;
    return most;
  }
  /// y · 2^n for a whole n, where the result is a normal number.
  static F32 scale_by_power(F32 y, F32 n) {
    const auto scale = [](__m256 v, __m256 power) {
      return _mm256_castsi256_ps(
          _mm256_add_epi32(_mm256_castps_si256(v), _mm256_slli_epi32(_mm256_cvtps_epi32(power), 23)));
    };
    return {scale(y.a, n.a), scale(y.b, n.b)};
  }
  /// x < limit ? 0 : y.
  static F32 zero_below(F32 x, float limit, F32 y) {
    const auto keep = [limit](__m256 v, __m256 value) {
      return _mm256_and_ps(_mm256_cmp_ps(v, _mm256_set1_ps(limit), _CMP_NLT_UQ), value);
    };
    return {keep(x.a, y.a), keep(x.b, y.b)};
  }
  /// x > limit ? infinity : y.
  static F32 infinity_above(F32 x, float limit, F32 y) {
    const auto choose = [limit](__m256 v, __m256 value) {
      return _mm256_blendv_ps(value, _mm256_set1_ps(__builtin_inff()),
                              _mm256_cmp_ps(v, _mm256_set1_ps(limit), _CMP_GT_OQ));
    };
    return {choose(x.a, y.a), choose(x.b, y.b)};
  }

  struct Trits {
    Bytes four, fifth;
  };
  /// A table of 64 bytes, looked up in parts of 16: pshufb gives 0 where the top bit of its index is set, which the
  /// saturating addition sets for an index outside the part.
  static __m256i look_up(__m256i index, const uint8_t* table) {
    auto found = _mm256_setzero_si256();
    for (int part = 0; part < 4; ++part) {
      const auto local = _mm256_adds_epu8(_mm256_sub_epi8(index, _mm256_set1_epi8(static_cast<char>(16 * part))),
                                          _mm256_set1_epi8(0x70));
      const auto sixteen = _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(table) + part));
      found = _mm256_or_si256(found, _mm256_shuffle_epi8(sixteen, local));
    }
    return found;
  }
  static void unpack_half(__m256i x, __m256i& four, __m256i& fifth) {
    const auto top = _mm256_set1_epi8(static_cast<char>(0xC0));
    const auto bits = _mm256_and_si256(x, top), index = _mm256_andnot_si256(top, x);
    const auto escaped = _mm256_cmpeq_epi8(bits, top);
    four = _mm256_blendv_epi8(look_up(index, kT16Tables.four), look_up(index, kT16Tables.escaped_four), escaped);
    fifth = _mm256_blendv_epi8(bits, look_up(index, kT16Tables.escaped_fifth), escaped);
  }
  static Trits unpack_t1_6(Bytes x) {
    Trits result;
    unpack_half(x.a, result.four.a, result.fifth.a);
    unpack_half(x.b, result.four.b, result.fifth.b);
    return result;
  }

  /// See simd_avx512.h. Of a table of 32, pshufb looks up one half with the top bit clear, the other with it set.
  static __m256i fields_of(__m256i x) {
    const auto table = [](const uint8_t* t) {
      return _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(t)));
    };
    const auto code = _mm256_and_si256(x, _mm256_set1_epi8(31));
    const auto low = _mm256_add_epi8(code, _mm256_set1_epi8(0x70)),
               high = _mm256_xor_si256(low, _mm256_set1_epi8(-128));
    return _mm256_or_si256(_mm256_shuffle_epi8(table(kS125Tables.four), low),
                           _mm256_shuffle_epi8(table(kS125Tables.four + 16), high));
  }
  static Bytes look_up_s1_25(Bytes x) { return {fields_of(x.a), fields_of(x.b)}; }
  template <uint8_t mask>
  static Bytes choose(Bytes x, Bytes y) {
    const auto m = _mm256_set1_epi8(static_cast<char>(mask));
    return {_mm256_or_si256(_mm256_and_si256(m, x.a), _mm256_andnot_si256(m, y.a)),
            _mm256_or_si256(_mm256_and_si256(m, x.b), _mm256_andnot_si256(m, y.b))};
  }

  [[gnu::always_inline]] static void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }
};

}  // namespace
}  // namespace onebit
