// What computing costs in energy, as far as the machine tells: GPUs by NVIDIA's management library or by the sensors of
// Linux' drivers, processors by RAPL.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace onebit {

inline constexpr char kNvmlLibrary[] = "libnvidia-ml.so.1";  // NVIDIA's management library, of its driver

/// What is measured, and where a machine tells.
struct EnergySource {
  std::string device = "cpu";  // as --device takes it: "cpu", "cuda:0", "hip:0"
  std::string pci;             // a GPU's place, "0000:c1:00.0"
  std::string nvml = kNvmlLibrary;
  std::string sys = "/sys";  // tests have their own
};

/// For one thread.
class EnergyMeter {
 public:
  virtual ~EnergyMeter() = default;
  /// What tells: "nvml", "hwmon", "rapl".
  virtual std::string source() const = 0;
  /// Taken since the meter was made, by all of the device, whatever it does besides; nothing once a reading failed.
  virtual std::optional<double> joules() = 0;
};

/// Null where nothing tells, or only to those with more rights.
std::unique_ptr<EnergyMeter> energy_meter(const EnergySource& source);

/// What a machine takes and how warm it is now.
struct MachinePower {
  struct Reading {
    std::string what;    // "processor", a GPU's name
    std::string source;  // as EnergyMeter::source
    double watts = 0;
  };
  std::vector<Reading> readings;                   // an APU's GPU counts all of its package: do not add them up
  std::optional<double> cpu_celsius, gpu_celsius;  // of several sensors the hottest
};

/// `span`: of the processor's counter, where one can be read; else there is no waiting.
MachinePower read_power(const std::string& sys, const std::string& nvml, std::chrono::milliseconds span);

}  // namespace onebit
