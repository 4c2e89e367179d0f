// A module of another build, as an update that reached only half of the files leaves one.
#include "kernels/gpu/engine.h"

extern "C" const onebit::gpu::Module* onebit_gpu_module() {
  static constexpr onebit::gpu::Module module{
      "1bit-gpu-of-another-build", "hip", nullptr, nullptr, nullptr, nullptr, nullptr};
  return &module;
}
