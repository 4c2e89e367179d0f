#include "eval/nvml.h"

#include <dlfcn.h>

#include <array>

namespace onebit {
namespace {

/// The functions are those of the library's reference; all return 0 where they did what was asked.
template <class Signature>
Signature* nvml_function(void* library, const char* name) {
  return reinterpret_cast<Signature*>(::dlsym(library, name));
}

template <class Value, class... Arguments>
std::optional<Value> nvml_value(void* library, const char* name, Arguments... arguments) {
  Value value{};
  const auto ask = nvml_function<int(Arguments..., Value*)>(library, name);
  if (ask == nullptr || ask(arguments..., &value) != 0) return {};
  return value;
}

}  // namespace

std::string NvmlDevice::name() const {
  std::array<char, 96> text{};
  const auto ask = nvml_function<int(void*, char*, unsigned)>(library_, "nvmlDeviceGetName");
  if (ask == nullptr || ask(device_, text.data(), text.size() - 1) != 0) return "NVIDIA GPU";
  return text.data();
}

std::optional<double> NvmlDevice::joules() const {
  const auto millijoules = nvml_value<unsigned long long>(library_, "nvmlDeviceGetTotalEnergyConsumption", device_);
  return millijoules ? std::optional(static_cast<double>(*millijoules) * 1e-3) : std::nullopt;
}

std::optional<double> NvmlDevice::watts() const {
  const auto milliwatts = nvml_value<unsigned>(library_, "nvmlDeviceGetPowerUsage", device_);
  return milliwatts ? std::optional(*milliwatts * 1e-3) : std::nullopt;
}

std::optional<double> NvmlDevice::celsius() const {
  constexpr int kOfTheGpu = 0;  // NVML_TEMPERATURE_GPU
  const auto degrees = nvml_value<unsigned>(library_, "nvmlDeviceGetTemperature", device_, kOfTheGpu);
  return degrees ? std::optional<double>(*degrees) : std::nullopt;
}

Nvml::Nvml(const std::string& library) {
  void* const opened = ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (opened == nullptr) return;
  const auto start = nvml_function<int()>(opened, "nvmlInit_v2");
  if (start != nullptr && start() == 0) library_ = opened;
}

std::optional<NvmlDevice> Nvml::at(const std::string& pci) const {
  if (library_ == nullptr || pci.empty()) return {};
  const auto device = nvml_value<void*>(library_, "nvmlDeviceGetHandleByPciBusId_v2", pci.c_str());
  return device ? std::optional(NvmlDevice(library_, *device)) : std::nullopt;
}

std::vector<NvmlDevice> Nvml::all() const {
  std::vector<NvmlDevice> found;
  if (library_ == nullptr) return found;
  const auto count = nvml_value<unsigned>(library_, "nvmlDeviceGetCount_v2");
  for (unsigned i = 0; i < count.value_or(0); ++i)
    if (const auto device = nvml_value<void*>(library_, "nvmlDeviceGetHandleByIndex_v2", i))
      found.push_back(NvmlDevice(library_, *device));
  return found;
}

}  // namespace onebit
