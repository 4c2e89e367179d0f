#include "eval/energy.h"

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "base/sensors.h"
#include "eval/nvml.h"

namespace onebit {
namespace {

namespace fs = std::filesystem;

std::optional<double> number_in(const fs::path& file) {
  std::ifstream in(file);
  double value = 0;
  if (in >> value) return value;
  return {};
}

using Reading = std::function<std::optional<double>()>;

/// A counter of joules.
class Counter final : public EnergyMeter {
 public:
  Counter(std::string source, Reading joules)
      : source_(std::move(source)), joules_(std::move(joules)), first_(joules_()) {}
  std::string source() const override { return source_; }
  std::optional<double> joules() override {
    const auto now = joules_();
    if (!now || !first_) return {};
    return *now - *first_;
  }

 private:
  std::string source_;
  Reading joules_;
  std::optional<double> first_;
};

/// Watts, read again and again by a thread of its own.
class Sampler final : public EnergyMeter {
 public:
  Sampler(std::string source, Reading watts)
      : source_(std::move(source)), watts_(std::move(watts)), thread_([this] { run(); }) {}
  Sampler(const Sampler&) = delete;
  Sampler& operator=(const Sampler&) = delete;
  ~Sampler() override {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }
  std::string source() const override { return source_; }
  std::optional<double> joules() override {
    const std::lock_guard lock(mutex_);
    sample();
    return failed_ ? std::nullopt : std::optional(joules_);
  }

 private:
  using Clock = std::chrono::steady_clock;
  /// Drivers average over longer than this.
  static constexpr auto kInterval = std::chrono::milliseconds(20);

  void run() {
    std::unique_lock lock(mutex_);
    do sample();
    while (!wake_.wait_for(lock, kInterval, [this] { return stop_; }));
  }

  /// As if the power had changed evenly since the last one. With the lock held.
  void sample() {
    const auto now = Clock::now();
    const auto watts = watts_();
    if (!watts) failed_ = true;
    if (watts && last_) joules_ += (*watts + *last_) / 2 * std::chrono::duration<double>(now - at_).count();
    last_ = watts;
    at_ = now;
  }

  std::string source_;
  Reading watts_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false, failed_ = false;
  std::optional<double> last_;
  Clock::time_point at_;
  double joules_ = 0;
  std::thread thread_;
};

/// Processor packages, and memory where it is told apart. The counters begin again at a limit of each.
class Rapl {
 public:
  explicit Rapl(const fs::path& sys) {
    for (const auto& zone : sorted_entries(sys / "class" / "powercap")) {
      const auto name = first_line_of(zone / "name");
      if (!name.starts_with("package") && name != "dram") continue;
      const auto now = number_in(zone / "energy_uj"), limit = number_in(zone / "max_energy_range_uj");
      if (now && limit) zones_.push_back({zone / "energy_uj", *now, *limit});
    }
  }
  bool any() const { return !zones_.empty(); }

  std::optional<double> operator()() {
    for (auto& zone : zones_) {
      const auto now = number_in(zone.counter);
      if (!now) return {};
      microjoules_ += *now - zone.last + (*now < zone.last ? zone.limit : 0);
      zone.last = *now;
    }
    return microjoules_ * 1e-6;
  }

 private:
  struct Zone {
    fs::path counter;
    double last, limit;  // microjoules
  };
  std::vector<Zone> zones_;
  double microjoules_ = 0;
};

/// Microjoules or microwatts, as the kernel's hwmon interface has them; null where a sensor is not there.
Reading sensor(const fs::path& file) {
  if (!number_in(file)) return nullptr;
  return [file]() -> std::optional<double> {
    const auto value = number_in(file);
    return value ? std::optional(*value * 1e-6) : std::nullopt;
  };
}

std::unique_ptr<EnergyMeter> hwmon_meter(const fs::path& folder) {
  for (const auto& monitor : sorted_entries(folder)) {
    if (auto joules = sensor(monitor / "energy1_input")) return std::make_unique<Counter>("hwmon", std::move(joules));
    for (const char* name : {"power1_average", "power1_input"})
      if (auto watts = sensor(monitor / name)) return std::make_unique<Sampler>("hwmon", std::move(watts));
  }
  return nullptr;
}

}  // namespace

std::unique_ptr<EnergyMeter> energy_meter(const EnergySource& source) {
  if (source.device == "cpu") {
    Rapl rapl(source.sys);
    return rapl.any() ? std::make_unique<Counter>("rapl", std::move(rapl)) : nullptr;
  }
  if (source.device.starts_with("cuda")) {
    const auto device = Nvml(source.nvml).at(source.pci);
    if (device && device->joules()) return std::make_unique<Counter>("nvml", [device] { return device->joules(); });
    if (device && device->watts()) return std::make_unique<Sampler>("nvml", [device] { return device->watts(); });
    return nullptr;
  }
  if (source.pci.empty()) return nullptr;
  return hwmon_meter(fs::path(source.sys) / "bus" / "pci" / "devices" / source.pci / "hwmon");
}

MachinePower read_power(const std::string& sys, const std::string& nvml, std::chrono::milliseconds span) {
  MachinePower power;
  const auto sensors = read_sensors(sys);
  power.cpu_celsius = sensors.cpu_celsius;
  power.gpu_celsius = sensors.gpu_celsius;
  Rapl rapl(sys);
  const auto begin = std::chrono::steady_clock::now();
  if (rapl.any()) {
    std::this_thread::sleep_for(span);
    const auto joules = rapl();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    if (joules) power.readings.push_back({"processor", "rapl", *joules / seconds});
  }
  for (const auto& monitor : sorted_entries(fs::path(sys) / "class" / "hwmon")) {
    if (first_line_of(monitor / "name") != "amdgpu") continue;
    for (const char* name : {"power1_average", "power1_input"})
      if (const auto watts = sensor(monitor / name)) {
        if (const auto now = watts()) power.readings.push_back({"AMD GPU", "hwmon", *now});
        break;
      }
  }
  for (const auto& device : Nvml(nvml).all()) {
    if (const auto watts = device.watts()) power.readings.push_back({device.name(), "nvml", *watts});
    const auto celsius = device.celsius();
    if (celsius && (!power.gpu_celsius || *celsius > *power.gpu_celsius)) power.gpu_celsius = celsius;
  }
  return power;
}

}  // namespace onebit
