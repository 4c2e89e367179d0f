// Sixteen lanes for 64-bit Arm with dot products: a 64-byte block of packed weights is four registers. For neon.cc
// only, which alone is compiled for this instruction set.
#pragma once

#include <arm_neon.h>

#include <cstdint>

#include "kernels/cpu/s1_25_tables.h"
#include "kernels/cpu/t1_6_tables.h"

namespace onebit {
namespace {

struct Simd {
  struct Bytes {
    uint8x16_t of[4];
  };
  struct I32 {
    int32x4_t of[4];
  };
  struct F32 {
    float32x4_t of[4];
  };

  static constexpr int kPeakChains = 6;  // products in flight when only the processor's peak counts
  static constexpr bool kSignedDot = true, kFieldsInPlace = false;
  static constexpr int kTileGroups = 1, kTileTokens = 4;        // 16 of 32 registers are accumulators
  static constexpr int kFewTileGroups = 1, kFewTileTokens = 4;  // the same where weights are unpacked in registers
  static constexpr uint32_t kPanelTokens = 8;                   // a panel pays from so many tokens on
  static constexpr uint32_t kFieldLookUps = 0;                  // look_up_field pays nothing here
  static constexpr int kScoreQueries = 2, kScoreVectors = 2;

  template <class T, class F>
  static T each(F f) {
    T result;
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) result.of[i] = f(i);
    return result;
  }

  static Bytes load_bytes(const void* p) {
    return each<Bytes>([&](int i) { return vld1q_u8(static_cast<const uint8_t*>(p) + 16 * i); });
  }
  static void store_bytes(void* p, Bytes x) {
    for (int i = 0; i < 4; ++i) vst1q_u8(static_cast<uint8_t*>(p) + 16 * i, x.of[i]);
  }
  static Bytes splat_byte(uint8_t x) {
    return each<Bytes>([&](int) { return vdupq_n_u8(x); });
  }
  static Bytes bit_and(Bytes x, Bytes y) {
    return each<Bytes>([&](int i) { return vandq_u8(x.of[i], y.of[i]); });
  }
  static Bytes bit_xor(Bytes x, Bytes y) {
    return each<Bytes>([&](int i) { return veorq_u8(x.of[i], y.of[i]); });
  }
  template <int N>
  static Bytes shift_right(Bytes x) {
    return each<Bytes>([&](int i) { return vshrq_n_u8(x.of[i], N); });
  }

  static I32 zero_i32() { return splat_i32(0); }
  static I32 load_i32(const int32_t* p) {
    return each<I32>([&](int i) { return vld1q_s32(p + 4 * i); });
  }
  static void store_i32(int32_t* p, I32 x) {
    for (int i = 0; i < 4; ++i) vst1q_s32(p + 4 * i, x.of[i]);
  }
  static I32 add(I32 x, I32 y) {
    return each<I32>([&](int i) { return vaddq_s32(x.of[i], y.of[i]); });
  }
  static I32 sub(I32 x, I32 y) {
    return each<I32>([&](int i) { return vsubq_s32(x.of[i], y.of[i]); });
  }
  static I32 splat_i32(int32_t x) {
    return each<I32>([&](int) { return vdupq_n_s32(x); });
  }
  template <int N>
  static I32 shift_right_signed(I32 x) {
    return each<I32>([&](int i) { return vshrq_n_s32(x.of[i], N); });
  }
  /// acc + Σ of four products of signed bytes, in each lane.
  static I32 dot(I32 acc, Bytes w, I32 x) {
    return each<I32>(
        [&](int i) { return vdotq_s32(acc.of[i], vreinterpretq_s8_u8(w.of[i]), vreinterpretq_s8_s32(x.of[i])); });
  }
  static I32 dot_small(I32 acc, Bytes w, I32 x) { return dot(acc, w, x); }

  /// Makes the compiler believe that x is used and changed here.
  static void keep(I32& x) {
    for (auto& part : x.of) asm volatile("" : "+w"(part));
  }

  static F32 zero_f32() { return splat_f32(0.0f); }
  static F32 splat_f32(float x) {
    return each<F32>([&](int) { return vdupq_n_f32(x); });
  }
  static F32 load_f32(const float* p) {
    return each<F32>([&](int i) { return vld1q_f32(p + 4 * i); });
  }
  static void store_f32(float* p, F32 x) {
    for (int i = 0; i < 4; ++i) vst1q_f32(p + 4 * i, x.of[i]);
  }
  static F32 load_f16(const uint16_t* p) {
    return each<F32>([&](int i) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i))); });
  }
  static void store_f16(uint16_t* p, F32 x) {
    for (int i = 0; i < 4; ++i) vst1_u16(p + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(x.of[i])));
  }
  static F32 load_bf16(const uint16_t* p) {
    return each<F32>([&](int i) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p + 4 * i), 16)); });
  }
  static F32 load_i8(const int8_t* p) {
    const auto x = vld1q_s8(p);
    const auto low = vmovl_s8(vget_low_s8(x)), high = vmovl_s8(vget_high_s8(x));
    return {{vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(low))),
             vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(high)))}};
  }
  static F32 to_f32(I32 x) {
    return each<F32>([&](int i) { return vcvtq_f32_s32(x.of[i]); });
  }
  /// Rounded to nearest even, cut to -128..127.
  static void store_i8(int8_t* p, F32 x) {
    const auto rounded = each<I32>([&](int i) { return vcvtnq_s32_f32(x.of[i]); });
    const auto low = vcombine_s16(vqmovn_s32(rounded.of[0]), vqmovn_s32(rounded.of[1]));
    const auto high = vcombine_s16(vqmovn_s32(rounded.of[2]), vqmovn_s32(rounded.of[3]));
    vst1q_s8(p, vcombine_s8(vqmovn_s16(low), vqmovn_s16(high)));
  }
  static F32 add(F32 x, F32 y) {
    return each<F32>([&](int i) { return vaddq_f32(x.of[i], y.of[i]); });
  }
  static F32 sub(F32 x, F32 y) {
    return each<F32>([&](int i) { return vsubq_f32(x.of[i], y.of[i]); });
  }
  static F32 mul(F32 x, F32 y) {
    return each<F32>([&](int i) { return vmulq_f32(x.of[i], y.of[i]); });
  }
  static F32 div(F32 x, F32 y) {
    return each<F32>([&](int i) { return vdivq_f32(x.of[i], y.of[i]); });
  }
  static F32 fma(F32 x, F32 y, F32 z) {
    return each<F32>([&](int i) { return vfmaq_f32(z.of[i], x.of[i], y.of[i]); });
  }
  static F32 max(F32 x, F32 y) {
    return each<F32>([&](int i) { return vmaxq_f32(x.of[i], y.of[i]); });
  }
  static F32 min(F32 x, F32 y) {
    return each<F32>([&](int i) { return vminq_f32(x.of[i], y.of[i]); });
  }
  /// |x| as bits, of which the largest is kept: NaN above infinity above numbers.
  static I32 max_bits(I32 largest, F32 x) {
    return each<I32>([&](int i) {
      return vmaxq_s32(largest.of[i], vandq_s32(vreinterpretq_s32_f32(x.of[i]), vdupq_n_s32(0x7fffffff)));
    });
  }
  static uint32_t reduce_max(I32 x) {
    return static_cast<uint32_t>(vmaxvq_s32(vmaxq_s32(vmaxq_s32(x.of[0], x.of[1]), vmaxq_s32(x.of[2], x.of[3]))));
  }
  static float reduce_max(F32 x) {
    return vmaxvq_f32(vmaxq_f32(vmaxq_f32(x.of[0], x.of[1]), vmaxq_f32(x.of[2], x.of[3])));
  }
  /// y · 2^n for a whole n, where the result is a normal number.
  static F32 scale_by_power(F32 y, F32 n) {
    return each<F32>([&](int i) {
      const auto power = vshlq_n_s32(vcvtq_s32_f32(n.of[i]), 23);
      return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(y.of[i]), power));
    });
  }
  /// x < limit ? 0 : y.
  static F32 zero_below(F32 x, float limit, F32 y) {
    return each<F32>([&](int i) {
      const auto below = vcltq_f32(x.of[i], vdupq_n_f32(limit));
      return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(y.of[i]), below));
    });
  }
  /// x > limit ? infinity : y.
  static F32 infinity_above(F32 x, float limit, F32 y) {
    return each<F32>([&](int i) {
      return vbslq_f32(vcgtq_f32(x.of[i], vdupq_n_f32(limit)), vdupq_n_f32(__builtin_inff()), y.of[i]);
    });
  }

  struct Trits {
    Bytes four, fifth;
  };
  static Trits unpack_t1_6(Bytes x) {
    const auto table = [](const uint8_t* t) { return vld1q_u8_x4(t); };
    const auto four = table(kT16Tables.four), escaped = table(kT16Tables.escaped_four);
    const auto fifth = table(kT16Tables.escaped_fifth);
    Trits result;
    for (int i = 0; i < 4; ++i) {
      const auto bits = vandq_u8(x.of[i], vdupq_n_u8(0xC0)), index = vandq_u8(x.of[i], vdupq_n_u8(0x3F));
      const auto is_escaped = vceqq_u8(bits, vdupq_n_u8(0xC0));
      result.four.of[i] = vbslq_u8(is_escaped, vqtbl4q_u8(escaped, index), vqtbl4q_u8(four, index));
      result.fifth.of[i] = vbslq_u8(is_escaped, vqtbl4q_u8(fifth, index), bits);
    }
    return result;
  }

  /// See simd_avx512.h.
  static Bytes look_up_s1_25(Bytes x) {
    const auto table = vld1q_u8_x2(kS125Tables.four);
    return each<Bytes>([&](int i) { return vqtbl2q_u8(table, vandq_u8(x.of[i], vdupq_n_u8(31))); });
  }
  template <uint8_t mask>
  static Bytes choose(Bytes a, Bytes b) {
    return each<Bytes>([&](int i) { return vbslq_u8(vdupq_n_u8(mask), a.of[i], b.of[i]); });
  }

  [[gnu::always_inline]] static void prefetch(const void* p) { __builtin_prefetch(p, 0, 3); }
};

}  // namespace
}  // namespace onebit
