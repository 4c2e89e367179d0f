#include "landing/machine.h"

#include <gtest/gtest.h>

#include "tests/landing/temporary_folder.h"

namespace onebit::landing {
namespace {

TEST(Machine, NothingThereIsAbsent) {
  const auto facts = read_machine("/no/such/folder");
  EXPECT_FALSE(facts.cpu_celsius);
  EXPECT_FALSE(facts.gpu_celsius);
  EXPECT_FALSE(facts.power_profile);
  read_machine();  // this machine, whatever it has
}

TEST(Machine, TheHottestSensorOfEach) {
  const TemporaryFolder sys;
  sys.write("class/hwmon/hwmon0/name", "k10temp\n");
  sys.write("class/hwmon/hwmon0/temp1_input", "61250\n");
  sys.write("class/hwmon/hwmon0/temp3_input", "70000\n");
  sys.write("class/hwmon/hwmon0/temp1_label", "99000\n");
  sys.write("class/hwmon/hwmon1/name", "amdgpu\n");
  sys.write("class/hwmon/hwmon1/temp1_input", "48000\n");
  sys.write("class/hwmon/hwmon2/name", "nvme\n");
  sys.write("class/hwmon/hwmon2/temp1_input", "90000\n");
  sys.write("class/thermal/thermal_zone0/type", "x86_pkg_temp\n");
  sys.write("class/thermal/thermal_zone0/temp", "99000\n");
  sys.write("firmware/acpi/platform_profile", "balanced\n");
  const auto facts = read_machine(sys.path());
  EXPECT_EQ(facts.cpu_celsius, 70);
  EXPECT_EQ(facts.gpu_celsius, 48);
  EXPECT_EQ(facts.power_profile, "balanced");
}

TEST(Machine, ThermalZonesWhereThereIsNothingBetter) {
  const TemporaryFolder sys;
  sys.write("class/thermal/thermal_zone0/type", "cpu-thermal\n");
  sys.write("class/thermal/thermal_zone0/temp", "55000\n");
  sys.write("class/thermal/thermal_zone1/type", "gpu-thermal\n");
  sys.write("class/thermal/thermal_zone1/temp", "44500\n");
  sys.write("class/thermal/thermal_zone2/type", "acpitz\n");
  sys.write("class/thermal/thermal_zone2/temp", "88000\n");
  const auto facts = read_machine(sys.path());
  EXPECT_EQ(facts.cpu_celsius, 55);
  EXPECT_EQ(facts.gpu_celsius, 44.5);
}

TEST(Machine, APowerProfileIsFitToShow) {
  const TemporaryFolder sys;
  sys.write("firmware/acpi/platform_profile", "cool\xff\x1b!\n");
  EXPECT_EQ(read_machine(sys.path()).power_profile, "cool\xEF\xBF\xBD!");
}

TEST(Machine, WhatIsNoTemperature) {
  const TemporaryFolder sys;
  sys.write("class/hwmon/hwmon0/name", "coretemp\n");
  sys.write("class/hwmon/hwmon0/temp1_input", "warm\n");
  sys.write("class/hwmon/hwmon0/temp2_input", "-128000\n");
  sys.write("class/hwmon/hwmon0/temp3_input", "99999999999999\n");
  sys.write("class/hwmon/hwmon0/temp4_input", "");
  EXPECT_FALSE(read_machine(sys.path()).cpu_celsius);
}

}  // namespace
}  // namespace onebit::landing
