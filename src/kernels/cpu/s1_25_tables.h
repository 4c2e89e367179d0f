// Look-up tables of the packing s1_25 (format/sparse_packing.h), for kernels.
#pragma once

#include <cstdint>

namespace onebit {
namespace {

/// By a code: its four weights + 1 in fields of two bits, as t2 has them, and each field alone in its place. Twice, so
/// that a sixth bit does not matter.
struct alignas(64) S125Tables {
  uint8_t four[64];
  uint8_t field[4][64];

  constexpr S125Tables() : four(), field() {
    for (unsigned n = 0; n < 64; ++n) {
      unsigned bit = 4;
      for (unsigned i = 0; i < 4; ++i) {
        const bool zero = i == (n & 3);
        field[i][n] = static_cast<uint8_t>((zero ? 1u : (n & bit) != 0 ? 2u : 0u) << 2 * i);
        four[n] = static_cast<uint8_t>(four[n] | field[i][n]);
        if (!zero) bit *= 2;
      }
    }
  }
};
constexpr S125Tables kS125Tables;

}  // namespace
}  // namespace onebit
