// gen-2 for AVX2, FMA and F16C. Compiled for them: see CMakeLists.txt.
#include "kernels/cpu/simd_avx2.h"

#include "kernels/cpu/kernels.inl.h"

namespace onebit::cpu {

const Kernels* avx2_kernels() {
  static constexpr Kernels kernels = make_kernels("avx2");
  return &kernels;
}

}  // namespace onebit::cpu
