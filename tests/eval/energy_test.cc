#include "eval/energy.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/support/temp_folder.h"

namespace onebit {
namespace {

using namespace std::chrono_literals;

class Energy : public ::testing::Test {
 protected:
  void write(const std::string& file, const std::string& text) const {
    const std::filesystem::path path = folder_.path(file);
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text << "\n";
  }
  std::unique_ptr<EnergyMeter> meter(const std::string& device, const std::string& pci,
                                     const std::string& nvml = "libno-such-thing.so") const {
    return energy_meter({.device = device, .pci = pci, .nvml = nvml, .sys = folder_.path("")});
  }
  std::unique_ptr<EnergyMeter> cpu() const { return meter("cpu", ""); }
  std::unique_ptr<EnergyMeter> amd() const { return meter("hip:0", "0000:c1:00.0"); }

  test::TempFolder folder_;
};

TEST_F(Energy, NothingWhereNothingTells) {
  EXPECT_EQ(cpu(), nullptr);
  EXPECT_EQ(amd(), nullptr);
  EXPECT_EQ(meter("hip:0", ""), nullptr);
  EXPECT_EQ(meter("cuda:0", "0000:01:00.0", "libno-such-thing.so"), nullptr);
  EXPECT_EQ(meter("cuda:0", "0000:09:00.0", ONEBIT_FAKE_NVML), nullptr);
  EXPECT_EQ(meter("cuda:0", "", ONEBIT_FAKE_NVML), nullptr);
}

TEST_F(Energy, PackagesAndMemoryAreAddedAcrossTheirLimits) {
  const auto zone = [&](const std::string& folder, const std::string& name, const std::string& microjoules) {
    write("class/powercap/" + folder + "/name", name);
    write("class/powercap/" + folder + "/max_energy_range_uj", "10000000");
    write("class/powercap/" + folder + "/energy_uj", microjoules);
  };
  zone("intel-rapl:0", "package-0", "9000000");
  zone("intel-rapl:0:0", "core", "1000");
  zone("intel-rapl:0:1", "dram", "500000");
  zone("intel-rapl:1", "package-1", "100");
  const auto energy = cpu();
  ASSERT_NE(energy, nullptr);
  EXPECT_EQ(energy->source(), "rapl");
  EXPECT_EQ(energy->joules(), 0.0);
  zone("intel-rapl:0", "package-0", "500000");  // past the limit: 1.5 J
  zone("intel-rapl:0:0", "core", "9000");       // part of the package
  zone("intel-rapl:0:1", "dram", "1000000");
  zone("intel-rapl:1", "package-1", "2000100");
  EXPECT_DOUBLE_EQ(*energy->joules(), 4.0);
  EXPECT_DOUBLE_EQ(*energy->joules(), 4.0);
  std::filesystem::remove(folder_.path("class/powercap/intel-rapl:1/energy_uj"));
  EXPECT_FALSE(energy->joules());
}

TEST_F(Energy, ADriversCounterIsReadAsItIs) {
  write("bus/pci/devices/0000:c1:00.0/hwmon/hwmon3/energy1_input", "7000000");
  const auto energy = amd();
  ASSERT_NE(energy, nullptr);
  write("bus/pci/devices/0000:c1:00.0/hwmon/hwmon3/energy1_input", "9500000");
  EXPECT_EQ(energy->source(), "hwmon");
  EXPECT_DOUBLE_EQ(*energy->joules(), 2.5);
}

/// Between the time that surely passed and the time that passed at most.
void expect_watts(EnergyMeter& meter, double watts) {
  const auto begin = std::chrono::steady_clock::now();
  const double before = *meter.joules();
  std::this_thread::sleep_for(100ms);
  const double joules = *meter.joules() - before;
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  EXPECT_GE(joules, watts * 0.0999);
  EXPECT_LE(joules, watts * seconds * 1.0001);
}

TEST_F(Energy, PowerIsSampled) {
  const auto file = "bus/pci/devices/0000:c1:00.0/hwmon/hwmon0/power1_average";
  write(file, "50000000");
  const auto energy = amd();
  ASSERT_NE(energy, nullptr);
  EXPECT_EQ(energy->source(), "hwmon");
  expect_watts(*energy, 50);
  std::filesystem::remove(folder_.path(file));
  EXPECT_FALSE(energy->joules());
}

TEST_F(Energy, NvidiasLibraryIsAskedForItsCounterOrElseForItsPower) {
  const auto counter = meter("cuda:1", "0000:01:00.0", ONEBIT_FAKE_NVML);
  ASSERT_NE(counter, nullptr);
  EXPECT_EQ(counter->source(), "nvml");
  EXPECT_DOUBLE_EQ(*counter->joules(), 0.25);  // each reading tells a quarter more
  EXPECT_DOUBLE_EQ(*counter->joules(), 0.5);
  const auto power = meter("cuda:1", "0000:01:00.0", ONEBIT_FAKE_NVML_POWER);
  ASSERT_NE(power, nullptr);
  expect_watts(*power, 300);
}

TEST_F(Energy, AMachinesPowerIsAllThatTells) {
  const auto none = read_power(folder_.path(""), "libno-such-thing.so", 10ms);
  EXPECT_TRUE(none.readings.empty());
  EXPECT_FALSE(none.cpu_celsius || none.gpu_celsius);
  write("class/hwmon/hwmon0/name", "k10temp");
  write("class/hwmon/hwmon0/temp1_input", "61500");
  write("class/hwmon/hwmon0/power1_average", "99000000");  // not a GPU's
  write("class/hwmon/hwmon1/name", "amdgpu");
  write("class/hwmon/hwmon1/temp1_input", "58000");
  write("class/hwmon/hwmon1/power1_average", "43250000");
  write("class/hwmon/hwmon1/power1_input", "50000000");
  auto power = read_power(folder_.path(""), "libno-such-thing.so", 10ms);
  ASSERT_EQ(power.readings.size(), 1u);
  EXPECT_EQ(power.readings[0].source, "hwmon");
  EXPECT_DOUBLE_EQ(power.readings[0].watts, 43.25);
  EXPECT_EQ(power.cpu_celsius, 61.5);
  EXPECT_EQ(power.gpu_celsius, 58);
  power = read_power(folder_.path(""), ONEBIT_FAKE_NVML, 10ms);
  ASSERT_EQ(power.readings.size(), 2u);
  EXPECT_EQ(power.readings[1].what, "Some GPU");
  EXPECT_EQ(power.readings[1].source, "nvml");
  EXPECT_DOUBLE_EQ(power.readings[1].watts, 300);
  EXPECT_EQ(power.gpu_celsius, 64) << "the hotter of the two";
}

TEST_F(Energy, AProcessorsPowerIsItsCountersRise) {
  write("class/powercap/intel-rapl:0/name", "package-0");
  write("class/powercap/intel-rapl:0/max_energy_range_uj", "100000000");
  write("class/powercap/intel-rapl:0/energy_uj", "1000000");
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (uint64_t joules = 2; !stop; ++joules) {
      std::this_thread::sleep_for(10ms);  // or longer: at most 100 W
      const auto next = folder_.path("next");
      std::ofstream(next) << joules << "000000\n";
      std::filesystem::rename(next, folder_.path("class/powercap/intel-rapl:0/energy_uj"));
    }
  });
  const auto power = read_power(folder_.path(""), "libno-such-thing.so", 1000ms);
  stop = true;
  writer.join();
  ASSERT_EQ(power.readings.size(), 1u);
  EXPECT_EQ(power.readings[0].source, "rapl");
  EXPECT_GT(power.readings[0].watts, 0);
  EXPECT_LE(power.readings[0].watts, 102);
}

}  // namespace
}  // namespace onebit
