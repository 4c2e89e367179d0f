// gen-2 for AVX2, FMA, F16C and AVX-VNNI. Compiled for them: see CMakeLists.txt.
#include "kernels/cpu/simd_avx2.h"

#include "kernels/cpu/kernels.inl.h"

namespace onebit::cpu {

const Kernels* avx2_vnni_kernels() {
  static constexpr Kernels kernels = make_kernels("avx2-vnni");
  return &kernels;
}

}  // namespace onebit::cpu
