// libonebit_gpu_host.so: the GPU module for the host as programs load modules. Only tests make it, and only they name
// its devices.
#include "kernels/gpu/gpu_host.h"
#include "kernels/gpu/module_host.h"

extern "C" const onebit::gpu::Module* onebit_gpu_module() {
  return &onebit::gpu::host_module();
}

/// The machine that a test wants: see gpu::host::Machine.
extern "C" void onebit_gpu_host_set(int devices, int64_t launches_until_lost, int lost_device) {
  onebit::gpu::host::set_machine(
      {.devices = devices, .launches_until_lost = launches_until_lost, .lost_device = lost_device});
}
