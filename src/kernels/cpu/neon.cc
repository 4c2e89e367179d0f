// gen-2 for 64-bit Arm with dot products. Compiled for them: see CMakeLists.txt.
#include "kernels/cpu/simd_neon.h"

#include "kernels/cpu/kernels.inl.h"

namespace onebit::cpu {

const Kernels* neon_kernels() {
  static constexpr Kernels kernels = make_kernels("neon");
  return &kernels;
}

}  // namespace onebit::cpu
