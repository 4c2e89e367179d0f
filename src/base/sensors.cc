#include "base/sensors.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <string_view>

namespace onebit {
namespace {

namespace fs = std::filesystem;

std::optional<double> celsius_in(const fs::path& file) {
  const auto text = first_line_of(file);
  int thousandths = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), thousandths);
  if (error != std::errc() || end == text.data()) return std::nullopt;
  const double celsius = thousandths / 1000.0;
  if (celsius <= -50 || celsius >= 200) return std::nullopt;  // what a sensor says that is not connected
  return celsius;
}

void keep_hottest(std::optional<double>& kept, std::optional<double> celsius) {
  if (celsius && (!kept || *celsius > *kept)) kept = celsius;
}

bool has_any(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::any_of(words.begin(), words.end(),
                     [&](std::string_view word) { return text.find(word) != std::string_view::npos; });
}

bool is_of_cpu(std::string_view name) {
  return has_any(name, {"coretemp", "k10temp", "zenpower", "cpu", "x86_pkg", "soc_thermal"});
}

bool is_of_gpu(std::string_view name) {
  return has_any(name, {"amdgpu", "radeon", "nouveau", "nvidia", "gpu"}) || name == "i915" || name == "xe";
}

void read_monitor(const fs::path& monitor, Sensors& sensors) {
  const auto name = first_line_of(monitor / "name");
  auto* kept = is_of_gpu(name) ? &sensors.gpu_celsius : is_of_cpu(name) ? &sensors.cpu_celsius : nullptr;
  if (kept == nullptr) return;
  for (const auto& file : sorted_entries(monitor)) {
    const auto word = file.filename().string();
    if (word.starts_with("temp") && word.ends_with("_input")) keep_hottest(*kept, celsius_in(file));
  }
}

}  // namespace

std::string first_line_of(const fs::path& file) {
  std::ifstream in(file);
  char line[256] = {};
  in.get(line, sizeof line);
  return line;
}

std::vector<fs::path> sorted_entries(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end && found.size() < 256; it.increment(error))
    found.push_back(it->path());
  std::sort(found.begin(), found.end());
  return found;
}

Sensors read_sensors(const std::string& sys) {
  Sensors sensors;
  for (const auto& monitor : sorted_entries(fs::path(sys) / "class/hwmon")) read_monitor(monitor, sensors);
  Sensors zones;  // coarser, and often the same sensors: only where there is nothing better
  for (const auto& zone : sorted_entries(fs::path(sys) / "class/thermal")) {
    const auto type = first_line_of(zone / "type");
    if (is_of_gpu(type))
      keep_hottest(zones.gpu_celsius, celsius_in(zone / "temp"));
    else if (is_of_cpu(type))
      keep_hottest(zones.cpu_celsius, celsius_in(zone / "temp"));
  }
  if (!sensors.cpu_celsius) sensors.cpu_celsius = zones.cpu_celsius;
  if (!sensors.gpu_celsius) sensors.gpu_celsius = zones.gpu_celsius;
  if (auto profile = first_line_of(fs::path(sys) / "firmware/acpi/platform_profile"); !profile.empty())
    sensors.platform_profile = std::move(profile);
  return sensors;
}

}  // namespace onebit
