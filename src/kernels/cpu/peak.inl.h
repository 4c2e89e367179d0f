// What the processor can do at most: reading memory, and int8 products in registers (eval/roofline.h).
#pragma once

#include "kernels/cpu/cpu_kernels.h"

namespace onebit {
namespace {

/// Reads `bytes` (a multiple of 512) with nothing else to do; `ahead` bytes further are fetched, 0: none.
uint32_t read_bytes(const uint8_t* data, size_t bytes, size_t ahead) {
  Simd::Bytes sum[4];
  for (auto& s : sum) s = Simd::splat_byte(0);
  for (size_t i = 0; i < bytes; i += 512) {
    if (ahead > 0)
      for (size_t line = 0; line < 512; line += 64) Simd::prefetch(data + i + ahead + line);
#pragma GCC unroll 8
    for (size_t line = 0; line < 8; ++line)
      sum[line % 4] = Simd::bit_xor(sum[line % 4], Simd::load_bytes(data + i + 64 * line));
  }
  alignas(64) uint32_t words[16];
  Simd::store_bytes(words, Simd::bit_xor(Simd::bit_xor(sum[0], sum[1]), Simd::bit_xor(sum[2], sum[3])));
  uint32_t all = 0;
  for (const uint32_t word : words) all ^= word;
  return all;
}

/// `rounds` times as many products as independent accumulators can hide the latency of; returns how many.
uint64_t dot_peak(uint64_t rounds) {
  constexpr int kChains = Simd::kPeakChains;
  Simd::I32 acc[kChains];
  const auto w = Simd::splat_byte(1);
  const auto x = Simd::splat_i32(0x01020304);
#pragma GCC unroll 16
  for (auto& a : acc) a = Simd::zero_i32();  // unrolled like the loops below, or g++ keeps them all in memory
  for (uint64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 16
    for (auto& a : acc) {
      a = Simd::dot(a, w, x);
      Simd::keep(a);  // or equal chains become one
    }
  }
  alignas(64) int32_t lanes[16];
#pragma GCC unroll 16
  for (const auto& a : acc) Simd::store_i32(lanes, a);
  return rounds * kChains * 64 + (lanes[0] == 1 ? 1 : 0);  // so that nothing is left out
}

}  // namespace
}  // namespace onebit
