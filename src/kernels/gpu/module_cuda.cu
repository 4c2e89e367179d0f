// The module for NVIDIA's GPUs: libonebit_gpu_cuda.so.
#include "kernels/gpu/engine.inl.h"

extern "C" const onebit::gpu::Module* onebit_gpu_module() {
  static const onebit::gpu::Module module{onebit::gpu::kInterface,      "cuda",
                                          &onebit::gpu::device_count,   &onebit::gpu::describe_device,
                                          &onebit::gpu::read_bandwidth, &onebit::gpu::pci_address,
                                          &onebit::gpu::create_engine};
  return &module;
}
