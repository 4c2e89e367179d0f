#include "backend/gpu_module.h"

#include <dlfcn.h>

#include <charconv>
#include <cstdlib>
#include <filesystem>

namespace onebit {
namespace {

namespace fs = std::filesystem;

/// In order of preference where several have devices. The host's is for tests and is never chosen by itself.
constexpr std::string_view kKinds[] = {"cuda", "hip"};

std::vector<fs::path> folders() {
  if (const char* named = std::getenv("HALO_GPU_MODULES"); named != nullptr) return {named};
  std::error_code error;
  const auto program = fs::read_symlink("/proc/self/exe", error);
  if (error) return {};
  return {program.parent_path(), program.parent_path().parent_path() / "lib" / "1bit"};
}

}  // namespace

Result<Device> device_by_name(std::string_view name) {
  if (name == "auto") return Device{};
  if (name == "cpu") return Device{.kind = Device::Kind::kCpu, .module = {}, .index = 0};
  Device device{.kind = Device::Kind::kGpu, .module = std::string(name.substr(0, name.find(':'))), .index = 0};
  const auto number = name.size() > device.module.size() ? name.substr(device.module.size() + 1) : "0";
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), device.index);
  const bool known = device.module == "cuda" || device.module == "hip" || device.module == "host";
  if (!known || error != std::errc() || end != number.data() + number.size() || device.index < 0)
    return fail("unknown device '{}': known are auto, cpu, cuda:N and hip:N", name);
  return device;
}

Result<GpuModule> load_gpu_module(std::string_view kind) {
  const auto file = fmt::format("libonebit_gpu_{}.so", kind);
  for (const auto& folder : folders()) {
    const auto path = folder / file;
    std::error_code error;
    if (!fs::exists(path, error)) continue;
    void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return fail("{}: cannot be loaded: {}", path.string(), ::dlerror());
    const auto entry = reinterpret_cast<const gpu::Module* (*)()>(::dlsym(library, "onebit_gpu_module"));
    if (entry == nullptr) return fail("{}: is no GPU module of this program", path.string());
    const auto* functions = entry();
    if (std::string_view(functions->build) != gpu::kInterface)
      return fail("{}: belongs to another build of this program: install both from the same package", path.string());
    return GpuModule{functions, std::string(kind)};
  }
  return fail("there is no module for {} GPUs here ({} beside the program or in $HALO_GPU_MODULES)", kind, file);
}

std::vector<GpuDevice> gpu_devices() {
  std::vector<GpuDevice> devices;
  for (const auto kind : kKinds) {
    const auto module = load_gpu_module(kind);
    if (!module) continue;
    const int count = module->functions->device_count();
    for (int i = 0; i < count; ++i) devices.push_back({fmt::format("{}:{}", kind, i), module->functions->describe(i)});
  }
  return devices;
}

}  // namespace onebit
