// What the kernel says of this machine: temperatures and the power profile.
#pragma once

#include <optional>
#include <string>

namespace onebit::landing {

struct MachineFacts {
  std::optional<double> cpu_celsius, gpu_celsius;  // of several sensors the hottest
  std::optional<std::string> power_profile;        // "balanced", "performance", …
};

/// Reads `sys`/class/hwmon, `sys`/class/thermal and `sys`/firmware/acpi/platform_profile anew. What is not there, or
/// not a temperature of this world, is absent.
MachineFacts read_machine(const std::string& sys = "/sys");

}  // namespace onebit::landing
