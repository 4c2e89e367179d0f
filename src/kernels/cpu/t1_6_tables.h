// Look-up tables for the packing t1_6 (format/packing.h, t1_6_encode), for kernels.
#pragma once

#include <cstdint>

namespace onebit {
namespace {

/// By the low six bits of a byte: four trits in fields of two bits (as t2 has them), and the fifth trit of an
/// escaped code in the top two bits. Invalid codes give trits of 1, the weight 0.
struct alignas(64) T16Tables {
  uint8_t four[64];           // top bits 0..2
  uint8_t escaped_four[64];   // top bits 3
  uint8_t escaped_fifth[64];  // top bits 3

  constexpr T16Tables() : four(), escaped_four(), escaped_fifth() {
    const auto fields = [](int n) {
      return static_cast<uint8_t>(n % 3 | n / 3 % 3 << 2 | n / 9 % 3 << 4 | n / 27 << 6);
    };
    for (int i = 0; i < 64; ++i) {
      four[i] = fields(i);
      const bool valid = i < 51;
      escaped_four[i] = valid ? fields(64 + i % 17) : uint8_t{0x55};
      escaped_fifth[i] = static_cast<uint8_t>((valid ? i / 17 : 1) << 6);
    }
  }
};
constexpr T16Tables kT16Tables;

}  // namespace
}  // namespace onebit
