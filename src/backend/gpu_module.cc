#include "backend/gpu_module.h"

#include <dlfcn.h>

#include <algorithm>
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

Result<Device> parse_device(std::string_view name) {
  if (name == "auto") return Device{};
  if (name == "cpu") return Device{.kind = Device::Kind::kCpu, .module = {}, .index = 0};
  Device device{.kind = Device::Kind::kGpu, .module = std::string(name.substr(0, name.find(':'))), .index = 0};
  const auto number = name.size() > device.module.size() ? name.substr(device.module.size() + 1) : "0";
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), device.index);
  const bool is_number = error == std::errc() && end == number.data() + number.size() && device.index >= 0;
  if (number == "all") device.index = Device::kAll;
  const bool known = device.module == "cuda" || device.module == "hip" || device.module == "host";
  if (!known || (!is_number && number != "all"))
    return fail("unknown device '{}': known are auto, cpu, cuda:N and hip:N", name);
  return device;
}

}  // namespace

Result<Device> device_by_name(std::string_view name) {
  auto device = parse_device(name);
  if (device && device->index == Device::kAll)
    return fail("'{}' may be several devices: one is wanted, such as {}:0", name, device->module);
  return device;
}

Result<std::vector<Device>> devices_by_name(std::string_view names) {
  std::vector<Device> devices;
  for (size_t at = 0; at <= names.size();) {
    const size_t end = std::min(names.find(',', at), names.size());
    ASSIGN_OR_RETURN(auto device, parse_device(names.substr(at, end - at)));
    devices.push_back(std::move(device));
    at = end + 1;
  }
  for (const auto& device : devices) {
    if (devices.size() > 1 && device.kind != Device::Kind::kGpu)
      return fail("'{}': only GPUs can be several, such as cuda:0,cuda:1", names);
    const auto same = [&](const Device& other) {
      return other.module == device.module && (other.index == device.index || other.index == Device::kAll);
    };
    if (std::count_if(devices.begin(), devices.end(), same) > 1)
      return fail("'{}': a device stands there twice", names);
  }
  return devices;
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
