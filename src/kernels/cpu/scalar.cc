// gen-2 without vector instructions.
#include "kernels/cpu/simd_scalar.h"

#include "kernels/cpu/kernels.inl.h"

namespace onebit::cpu {

const Kernels* scalar_kernels() {
  static constexpr Kernels kernels = make_kernels("scalar");
  return &kernels;
}

}  // namespace onebit::cpu
