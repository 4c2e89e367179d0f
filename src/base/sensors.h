// What the kernel says of a machine's temperatures and of its platform's power profile.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace onebit {

struct Sensors {
  std::optional<double> cpu_celsius, gpu_celsius;  // of several sensors the hottest
  std::optional<std::string> platform_profile;     // as it stands there: "balanced", "performance", …
};

/// Reads `sys`/class/hwmon, `sys`/class/thermal and `sys`/firmware/acpi/platform_profile anew. What is not there, or
/// not a temperature of this world, is absent.
Sensors read_sensors(const std::string& sys = "/sys");

/// The first line of a small file of the kernel's, at most 255 bytes of it; empty where it cannot be read.
std::string first_line_of(const std::filesystem::path& file);

/// A folder's entries, sorted, so that the same place is found each time; none where it cannot be read. At most 256.
std::vector<std::filesystem::path> sorted_entries(const std::filesystem::path& folder);

}  // namespace onebit
