// The module for AMD's GPUs: libonebit_gpu_hip.so.
#include "kernels/gpu/engine.inl.h"

extern "C" const onebit::gpu::Module* onebit_gpu_module() {
  static const onebit::gpu::Module module{onebit::gpu::kInterface,      "hip",
                                          &onebit::gpu::device_count,   &onebit::gpu::describe_device,
                                          &onebit::gpu::read_bandwidth, &onebit::gpu::pci_address,
                                          &onebit::gpu::create_engine};
  return &module;
}
