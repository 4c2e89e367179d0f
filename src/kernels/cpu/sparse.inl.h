// s1_25, the packing of 3:4 sparse matrices: a unit of five blocks holds as much as eight blocks of t2, and looks like
// them once its codes are looked up. A code's four columns lie side by side, but stand in the fields of one byte: the
// activations are put in the order in which they meet.
#pragma once

#include "kernels/cpu/cpu_kernels.h"

namespace onebit {
namespace {

constexpr uint32_t kSparseUnitBlocks = 5;
constexpr uint32_t kSparseUnitParts = 8;  // of 16 columns, each like a block of t2

/// Calls part.operator()<v>(codes) for the parts of a unit: byte i of a lane has the code of the columns 16 v + 4 i … +
/// 3 in its five low bits, and anything above them.
template <class Part>
inline __attribute__((always_inline)) void each_part(const uint8_t* unit, Part part) {
  const auto x0 = Simd::load_bytes(unit), x1 = Simd::load_bytes(unit + 64), x2 = Simd::load_bytes(unit + 128),
             x3 = Simd::load_bytes(unit + 192), x4 = Simd::load_bytes(unit + 256);
  part.template operator()<0>(x0);
  part.template operator()<1>(x1);
  part.template operator()<2>(x2);
  part.template operator()<3>(x3);
  part.template operator()<4>(x4);
  const auto low = [](Simd::Bytes x, Simd::Bytes rest) __attribute__((always_inline)) {
    return Simd::template choose<7>(Simd::template shift_right<5>(x), rest);
  };
  part.template operator()<5>(low(x0, Simd::template shift_right<3>(x1)));
  part.template operator()<6>(low(x2, Simd::template shift_right<3>(x3)));
  part.template operator()<7>(
      low(x4, Simd::template choose<8>(Simd::template shift_right<2>(x1), Simd::template shift_right<1>(x3))));
}

/// Activations [stride], a multiple of 64, in the order of each_part's bytes: of every 16, q[4 i + j] goes to 4 j + i.
void sparse_order(int8_t* q, size_t stride) {
  for (size_t at = 0; at < stride; at += 16) {
    int8_t sixteen[16];
    for (int i = 0; i < 16; ++i) sixteen[i] = q[at + 4 * (i % 4) + i / 4];
    for (int i = 0; i < 16; ++i) q[at + i] = sixteen[i];
  }
}

}  // namespace
}  // namespace onebit
