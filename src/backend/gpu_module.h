// GPU engines are modules, shared libraries beside the programs that are loaded when they are asked for: one package
// serves machines with and without a GPU, and a program starts without a GPU's runtime.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "kernels/gpu/engine.h"

namespace onebit {

/// What computes: `auto`, `cpu`, or a GPU by its kind and number such as `cuda:0`; `cuda:all` is every one of a kind.
struct Device {
  enum class Kind { kAuto, kCpu, kGpu };
  static constexpr int kAll = -1;

  Kind kind = Kind::kAuto;
  std::string module;  // "cuda", "hip", "host"
  int index = 0;       // of the module's devices, or kAll

  friend bool operator==(const Device&, const Device&) = default;
};
/// One device: not `all`.
Result<Device> device_by_name(std::string_view name);
/// One or several, as in `cuda:0,cuda:1`; only GPUs can be several. Nothing is loaded yet.
Result<std::vector<Device>> devices_by_name(std::string_view names);

/// A module that is loaded. Never unloaded.
struct GpuModule {
  const gpu::Module* functions = nullptr;
  std::string name;  // "cuda"
};

/// Errors: there is no such module, or it is of another build. `kind` is "cuda", "hip" or "host". Looked for in
/// $HALO_GPU_MODULES, then beside the program, then in ../lib/1bit from there.
Result<GpuModule> load_gpu_module(std::string_view kind);

/// The devices of all modules that can be loaded, as --device takes them.
struct GpuDevice {
  std::string name;  // "cuda:0"
  gpu::DeviceInfo info;
};
std::vector<GpuDevice> gpu_devices();

}  // namespace onebit
