// Sixteen lanes in plain C++: for machines without a better table, and to compare the others with.
#pragma once

#include <cstdint>
#include <cstring>

#include "base/half.h"
#include "format/packing.h"
#include "kernels/cpu/s1_25_tables.h"

namespace onebit {
namespace {

struct Simd {
  struct Bytes {
    uint8_t of[64];
  };
  struct I32 {
    int32_t of[16];
  };
  struct F32 {
    float of[16];
  };

  static constexpr int kPeakChains = 1;  // products in flight when only the processor's peak counts
  static constexpr bool kSignedDot = false, kFieldsInPlace = false;
  static constexpr int kTileGroups = 1, kTileTokens = 2, kScoreQueries = 1, kScoreVectors = 1;
  static constexpr int kFewTileGroups = 1, kFewTileTokens = 4;  // the same where weights are unpacked in registers
  static constexpr uint32_t kPanelTokens = 8;                   // a panel pays from so many tokens on
  static constexpr uint32_t kFieldLookUps = 0;                  // look_up_field pays nothing here

  template <class T, class F>
  static T each(F f) {
    T result;
    size_t i = 0;
    for (auto& value : result.of) value = f(i++);
    return result;
  }
  template <class T>
  static T load(const void* p) {
    T x;
    std::memcpy(&x, p, sizeof x);
    return x;
  }

  static Bytes load_bytes(const void* p) { return load<Bytes>(p); }
  static void store_bytes(void* p, Bytes x) { std::memcpy(p, &x, sizeof x); }
  static Bytes splat_byte(uint8_t x) {
    return each<Bytes>([&](size_t) { return x; });
  }
  static Bytes bit_and(Bytes a, Bytes b) {
    return each<Bytes>([&](size_t i) { return static_cast<uint8_t>(a.of[i] & b.of[i]); });
  }
  static Bytes bit_xor(Bytes a, Bytes b) {
    return each<Bytes>([&](size_t i) { return static_cast<uint8_t>(a.of[i] ^ b.of[i]); });
  }
  template <int N>
  static Bytes shift_right(Bytes x) {
    return each<Bytes>([&](size_t i) { return static_cast<uint8_t>(x.of[i] >> N); });
  }

  static I32 zero_i32() { return {}; }
  static I32 load_i32(const int32_t* p) { return load<I32>(p); }
  static void store_i32(int32_t* p, I32 x) { std::memcpy(p, &x, sizeof x); }
  static I32 add(I32 a, I32 b) {
    return each<I32>([&](size_t i) { return a.of[i] + b.of[i]; });
  }
  static I32 sub(I32 a, I32 b) {
    return each<I32>([&](size_t i) { return a.of[i] - b.of[i]; });
  }
  static I32 splat_i32(int32_t x) {
    return each<I32>([&](size_t) { return x; });
  }
  template <int N>
  static I32 shift_right_signed(I32 x) {
    return each<I32>([&](size_t i) { return x.of[i] >> N; });
  }
  static I32 dot(I32 acc, Bytes w, I32 x) {
    const auto q = load<Bytes>(&x);
    return each<I32>([&](size_t i) {
      int32_t sum = acc.of[i];
      for (size_t j = 4 * i; j < 4 * i + 4; ++j) sum += int32_t{w.of[j]} * static_cast<int8_t>(q.of[j]);
      return sum;
    });
  }
  static I32 dot_small(I32 acc, Bytes w, I32 x) { return dot(acc, w, x); }

  /// Makes the compiler believe that x is used and changed here.
  static void keep(I32& x) { asm volatile("" : "+m"(x)); }

  static F32 zero_f32() { return {}; }
  static F32 splat_f32(float x) {
    return each<F32>([&](size_t) { return x; });
  }
  static F32 load_f32(const float* p) { return load<F32>(p); }
  static void store_f32(float* p, F32 x) { std::memcpy(p, &x, sizeof x); }
  static F32 load_f16(const uint16_t* p) {
    return each<F32>([&](size_t i) { return half_to_float(p[i]); });
  }
  static void store_f16(uint16_t* p, F32 x) {
    for (size_t i = 0; i < 16; ++i) p[i] = float_to_half(x.of[i]);
  }
  static F32 load_bf16(const uint16_t* p) {
    return each<F32>([&](size_t i) { return bf16_to_float(p[i]); });
  }
  static F32 load_i8(const int8_t* p) {
    return each<F32>([&](size_t i) { return static_cast<float>(p[i]); });
  }
  static F32 to_f32(I32 x) {
    return each<F32>([&](size_t i) { return static_cast<float>(x.of[i]); });
  }
  static void store_i8(int8_t* p, F32 x) {
    for (size_t i = 0; i < 16; ++i) p[i] = static_cast<int8_t>(__builtin_nearbyintf(x.of[i]));
  }
  static F32 add(F32 a, F32 b) {
    return each<F32>([&](size_t i) { return a.of[i] + b.of[i]; });
  }
  static F32 sub(F32 a, F32 b) {
    return each<F32>([&](size_t i) { return a.of[i] - b.of[i]; });
  }
  static F32 mul(F32 a, F32 b) {
    return each<F32>([&](size_t i) { return a.of[i] * b.of[i]; });
  }
  static F32 div(F32 a, F32 b) {
    return each<F32>([&](size_t i) { return a.of[i] / b.of[i]; });
  }
  static F32 fma(F32 a, F32 b, F32 c) {
    return each<F32>([&](size_t i) { return __builtin_fmaf(a.of[i], b.of[i], c.of[i]); });
  }
  static F32 max(F32 a, F32 b) {  // the second where one is NaN, as x86 has it
    return each<F32>([&](size_t i) { return a.of[i] > b.of[i] ? a.of[i] : b.of[i]; });
  }
  static F32 min(F32 a, F32 b) {
    return each<F32>([&](size_t i) { return a.of[i] < b.of[i] ? a.of[i] : b.of[i]; });
  }
  static I32 max_bits(I32 largest, F32 x) {
    const auto bits = load<I32>(&x);
    return each<I32>([&](size_t i) {
      const int32_t magnitude = bits.of[i] & 0x7fffffff;
      return magnitude > largest.of[i] ? magnitude : largest.of[i];
    });
  }
  static uint32_t reduce_max(I32 x) {
    int32_t most = x.of[0];
    for (const int32_t v : x.of) most = v > most ? v : most;
    return static_cast<uint32_t>(most);
  }
  static float reduce_max(F32 x) {
    float most = x.of[0];
    for (const float v : x.of) most = v > most ? v : most;
    return most;
  }
  static F32 scale_by_power(F32 y, F32 n) {
    const auto bits = load<I32>(&y);
    const auto sum = each<I32>([&](size_t i) {
      const auto power = n.of[i] >= -127.0f && n.of[i] <= 128.0f ? static_cast<int32_t>(n.of[i]) : 0;
      return static_cast<int32_t>(static_cast<uint32_t>(bits.of[i]) + (static_cast<uint32_t>(power) << 23));
    });
    return load<F32>(&sum);
  }
  static F32 zero_below(F32 x, float limit, F32 y) {
    return each<F32>([&](size_t i) { return x.of[i] < limit ? 0.0f : y.of[i]; });
  }
  static F32 infinity_above(F32 x, float limit, F32 y) {
    return each<F32>([&](size_t i) { return x.of[i] > limit ? __builtin_inff() : y.of[i]; });
  }

  struct Trits {
    Bytes four, fifth;
  };
  static Trits unpack_t1_6(Bytes x) {
    Trits result;
    for (size_t i = 0; i < 64; ++i) {
      const auto t = t1_6_decode(x.of[i]);
      result.four.of[i] = static_cast<uint8_t>(t[0] | t[1] << 2 | t[2] << 4 | t[3] << 6);
      result.fifth.of[i] = static_cast<uint8_t>(t[4] << 6);
    }
    return result;
  }

  static Bytes look_up_s1_25(Bytes x) {
    return each<Bytes>([&](size_t i) { return kS125Tables.four[x.of[i] & 31]; });
  }
  template <uint8_t mask>
  static Bytes choose(Bytes a, Bytes b) {
    return each<Bytes>([&](size_t i) { return static_cast<uint8_t>((a.of[i] & mask) | (b.of[i] & ~mask)); });
  }

  [[gnu::always_inline]] static void prefetch(const void*) {}
};

}  // namespace
}  // namespace onebit
