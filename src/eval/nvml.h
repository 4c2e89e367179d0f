// NVIDIA's management library, as far as it is there: loaded when asked for, never linked.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace onebit {

/// One GPU. What its driver does not tell is absent.
class NvmlDevice {
 public:
  std::string name() const;
  std::optional<double> joules() const;  // since the driver was loaded
  std::optional<double> watts() const;
  std::optional<double> celsius() const;

 private:
  friend class Nvml;
  NvmlDevice(void* library, void* device) : library_(library), device_(device) {}

  void* library_;
  void* device_;
};

class Nvml {
 public:
  /// `library`: its file. Where it cannot be loaded or started there are no devices.
  explicit Nvml(const std::string& library);

  /// The one at `pci`, "0000:c1:00.0".
  std::optional<NvmlDevice> at(const std::string& pci) const;
  std::vector<NvmlDevice> all() const;

 private:
  void* library_ = nullptr;  // never closed: it may have threads
};

}  // namespace onebit
