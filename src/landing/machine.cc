#include "landing/machine.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <vector>

#include "landing/words.h"

namespace onebit::landing {
namespace {

namespace fs = std::filesystem;

/// The first line of a small file; empty where it cannot be read.
std::string first_line(const fs::path& path) {
  std::ifstream in(path);
  char line[128] = {};
  in.get(line, sizeof line);
  return line;
}

std::optional<double> celsius_in(const fs::path& path) {
  const auto text = first_line(path);
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

bool contains(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::any_of(words.begin(), words.end(),
                     [&](std::string_view word) { return text.find(word) != std::string_view::npos; });
}

bool is_cpu(std::string_view name) {
  return contains(name, {"coretemp", "k10temp", "zenpower", "cpu", "x86_pkg", "soc_thermal"});
}

bool is_gpu(std::string_view name) {
  return contains(name, {"amdgpu", "radeon", "nouveau", "nvidia", "gpu"}) || name == "i915" || name == "xe";
}

/// The folder's entries; none where it cannot be read.
std::vector<fs::path> entries_of(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end && found.size() < 256; it.increment(error))
    found.push_back(it->path());
  std::sort(found.begin(), found.end());
  return found;
}

void read_hwmon(const fs::path& sensors, MachineFacts& facts) {
  const auto name = first_line(sensors / "name");
  auto* kept = is_gpu(name) ? &facts.gpu_celsius : is_cpu(name) ? &facts.cpu_celsius : nullptr;
  if (kept == nullptr) return;
  for (const auto& file : entries_of(sensors)) {
    const auto word = file.filename().string();
    if (word.starts_with("temp") && word.ends_with("_input")) keep_hottest(*kept, celsius_in(file));
  }
}

}  // namespace

MachineFacts read_machine(const std::string& sys) {
  MachineFacts facts;
  for (const auto& sensors : entries_of(fs::path(sys) / "class/hwmon")) read_hwmon(sensors, facts);
  MachineFacts zones;  // coarser, and often the same sensors: only where there is nothing better
  for (const auto& zone : entries_of(fs::path(sys) / "class/thermal")) {
    const auto type = first_line(zone / "type");
    if (is_gpu(type))
      keep_hottest(zones.gpu_celsius, celsius_in(zone / "temp"));
    else if (is_cpu(type))
      keep_hottest(zones.cpu_celsius, celsius_in(zone / "temp"));
  }
  if (!facts.cpu_celsius) facts.cpu_celsius = zones.cpu_celsius;
  if (!facts.gpu_celsius) facts.gpu_celsius = zones.gpu_celsius;
  if (const auto profile = first_line(fs::path(sys) / "firmware/acpi/platform_profile"); !profile.empty())
    facts.power_profile = fit_to_show(profile);
  return facts;
}

}  // namespace onebit::landing
