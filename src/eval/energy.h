// What computing costs in energy, as far as the machine tells: GPUs by NVIDIA's management library or by the sensors of
// Linux' drivers, processors by RAPL.
#pragma once

#include <memory>
#include <optional>
#include <string>

namespace onebit {

/// What is measured, and where a machine tells.
struct EnergySource {
  std::string device = "cpu";              // as --device takes it: "cpu", "cuda:0", "hip:0"
  std::string pci;                         // a GPU's place, "0000:c1:00.0"
  std::string nvml = "libnvidia-ml.so.1";  // NVIDIA's management library, which comes with the driver
  std::string sys = "/sys";                // tests have their own
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

}  // namespace onebit
