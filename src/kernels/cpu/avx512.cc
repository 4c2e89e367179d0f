// gen-2 for AVX-512 F, BW, DQ, VL, VBMI and VNNI. Compiled for them: see CMakeLists.txt.
#include "kernels/cpu/simd_avx512.h"

#include "kernels/cpu/kernels.inl.h"

namespace onebit::cpu {

const Kernels* avx512_kernels() {
  static constexpr Kernels kernels = make_kernels("avx512");
  return &kernels;
}

}  // namespace onebit::cpu
