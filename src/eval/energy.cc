#include "eval/energy.h"

#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace onebit {
namespace {

namespace fs = std::filesystem;

std::optional<double> number_in(const fs::path& file) {
  std::ifstream in(file);
  double value = 0;
  if (in >> value) return value;
  return {};
}

std::string word_in(const fs::path& file) {
  std::ifstream in(file);
  std::string word;
  in >> word;
  return word;
}

/// Sorted, so that the same place is found each time; none where there is no such folder.
std::vector<fs::path> entries_of(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    found.push_back(it->path());
  std::sort(found.begin(), found.end());
  return found;
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
    for (const auto& zone : entries_of(sys / "class" / "powercap")) {
      const auto name = word_in(zone / "name");
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

/// The functions of NVIDIA's management library that this takes, as its reference states them.
class Nvml {
 public:
  Nvml(const std::string& library, const std::string& pci) {
    if (pci.empty()) return;
    void* const opened = ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);  // never closed: it may have threads
    if (opened == nullptr) return;
    const auto start = function<int()>(opened, "nvmlInit_v2");
    const auto find = function<int(const char*, void**)>(opened, "nvmlDeviceGetHandleByPciBusId_v2");
    energy_ = function<int(void*, unsigned long long*)>(opened, "nvmlDeviceGetTotalEnergyConsumption");
    power_ = function<int(void*, unsigned*)>(opened, "nvmlDeviceGetPowerUsage");
    if (start == nullptr || find == nullptr || start() != 0 || find(pci.c_str(), &device_) != 0) device_ = nullptr;
  }

  std::optional<double> joules() const {
    unsigned long long millijoules = 0;
    if (device_ == nullptr || energy_ == nullptr || energy_(device_, &millijoules) != 0) return {};
    return static_cast<double>(millijoules) * 1e-3;
  }
  std::optional<double> watts() const {
    unsigned milliwatts = 0;
    if (device_ == nullptr || power_ == nullptr || power_(device_, &milliwatts) != 0) return {};
    return milliwatts * 1e-3;
  }

 private:
  template <class Signature>
  static Signature* function(void* library, const char* name) {
    return reinterpret_cast<Signature*>(::dlsym(library, name));
  }

  int (*energy_)(void*, unsigned long long*) = nullptr;
  int (*power_)(void*, unsigned*) = nullptr;
  void* device_ = nullptr;
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
  for (const auto& monitor : entries_of(folder)) {
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
    const Nvml nvml(source.nvml, source.pci);
    if (nvml.joules()) return std::make_unique<Counter>("nvml", [nvml] { return nvml.joules(); });
    if (nvml.watts()) return std::make_unique<Sampler>("nvml", [nvml] { return nvml.watts(); });
    return nullptr;
  }
  if (source.pci.empty()) return nullptr;
  return hwmon_meter(fs::path(source.sys) / "bus" / "pci" / "devices" / source.pci / "hwmon");
}

}  // namespace onebit
