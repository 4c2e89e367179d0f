// Checks that need more of a machine than a folder; tests/e2e/doctor_test.sh has the rest.
#include "box/doctor.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <thread>

#include "box/doctor_checks.h"
#include "tests/box/box_folder.h"

namespace onebit::box {
namespace {

constexpr std::time_t kToday = 1795700000;  // November 2026

class Doctor : public testing::Test {
 protected:
  Doctor() { options_.roots = box_.roots(); }
  void clock_says(const std::string& answer) const { box_.program("timedatectl", "echo " + answer); }
  void expect(const Finding& finding, Colour colour, const std::string& text) const {
    EXPECT_EQ(name_of(finding.colour), name_of(colour)) << finding.text;
    EXPECT_NE(finding.text.find(text), std::string::npos) << finding.text;
    EXPECT_EQ(finding.advice.empty(), colour == Colour::kGreen) << finding.advice;
  }

  test::BoxFolder box_;
  DoctorOptions options_;
};

TEST_F(Doctor, AClockThatIsOffOrAlone) {
  clock_says("yes");
  options_.now = kToday;
  expect(check_clock(options_), Colour::kGreen, "2026-11");
  options_.now = 1000;
  expect(check_clock(options_), Colour::kRed, "1970-01-01");
  options_.now = 5000000000;
  expect(check_clock(options_), Colour::kRed, "2128");
  options_.now = kToday;
  clock_says("no");
  expect(check_clock(options_), Colour::kYellow, "not synchronised");
}

TEST_F(Doctor, GpusAndTheirDrivers) {
  expect(check_gpu(options_), Colour::kGreen, "the CPU computes");
  expect(check_modules(options_), Colour::kGreen, "none is needed");
  const auto device = [&](const std::string& address, const char* vendor, const char* kind) {
    box_.write("sys/bus/pci/devices/" + address + "/vendor", std::string(vendor) + "\n");
    box_.write("sys/bus/pci/devices/" + address + "/class", std::string(kind) + "\n");
  };
  const auto driver = [&](const std::string& address, const std::string& name) {
    std::filesystem::create_directory_symlink("/drivers/" + name,
                                              box_.path("sys/bus/pci/devices/" + address + "/driver"));
  };
  device("0000:00:02.0", "0x8086", "0x030000");  // not one that we compute on
  device("0000:00:1f.0", "0x1002", "0x060000");  // a bridge
  expect(check_gpu(options_), Colour::kGreen, "the CPU computes");
  device("0000:c1:00.0", "0x1002", "0x030000");
  expect(check_gpu(options_), Colour::kYellow, "AMD GPU at 0000:c1:00.0 with no driver");
  driver("0000:c1:00.0", "vfio-pci");
  expect(check_gpu(options_), Colour::kYellow, "with the driver vfio-pci");
  std::filesystem::remove(box_.path("sys/bus/pci/devices/0000:c1:00.0/driver"));
  driver("0000:c1:00.0", "amdgpu");
  expect(check_gpu(options_), Colour::kYellow, "/dev/kfd");
  box_.write("dev/kfd", "");
  expect(check_gpu(options_), Colour::kGreen, "AMD at 0000:c1:00.0 (amdgpu)");
  device("0000:01:00.0", "0x10de", "0x030200");
  expect(check_gpu(options_), Colour::kYellow, "NVIDIA GPU at 0000:01:00.0 with no driver");
  driver("0000:01:00.0", "nvidia");
  expect(check_gpu(options_), Colour::kYellow, "/dev/nvidiactl");
  box_.write("dev/nvidiactl", "");
  expect(check_gpu(options_), Colour::kGreen, "NVIDIA at 0000:01:00.0 (nvidia), AMD at");
}

TEST_F(Doctor, ModulesThatAreMissingBrokenOrOfAnotherBuild) {
  box_.write("sys/bus/pci/devices/0000:c1:00.0/vendor", "0x1002\n");
  box_.write("sys/bus/pci/devices/0000:c1:00.0/class", "0x038000\n");
  std::filesystem::create_directory_symlink("/drivers/amdgpu", box_.path("sys/bus/pci/devices/0000:c1:00.0/driver"));
  expect(check_modules(options_), Colour::kGreen, "none is needed");  // where the driver has no device, that is told
  box_.write("dev/kfd", "");
  ::setenv("HALO_GPU_MODULES", box_.path("modules").c_str(), 1);
  expect(check_modules(options_), Colour::kYellow, "there is no module for hip GPUs");
  box_.write("modules/libonebit_gpu_hip.so", "half of a file");
  expect(check_modules(options_), Colour::kRed, "libonebit_gpu_hip.so: cannot be loaded");
  std::filesystem::remove(box_.path("modules/libonebit_gpu_hip.so"));
  std::filesystem::copy(ONEBIT_FAKE_GPU_MODULE, box_.path("modules/libonebit_gpu_hip.so"));
  expect(check_modules(options_), Colour::kRed, "belongs to another build");
  ::unsetenv("HALO_GPU_MODULES");
}

TEST_F(Doctor, AnUndervoltThatWasNotCheckedIsRed) {
  expect(check_power(options_), Colour::kGreen, "no profile was set");
  box_.write("run/halo/power.json",
             R"({"profile": "chat", "stapm-limit": 85000, "curve_all": -9, "undervolt_checked": true})");
  expect(check_power(options_), Colour::kGreen, "profile chat: STAPM 85 W");
  box_.write("run/halo/power.json", R"({"profile": "chat", "curve_all": -9, "undervolt_checked": false})");
  expect(check_power(options_), Colour::kRed, "an undervolt of -9 counts");
}

TEST_F(Doctor, AServiceThatCannotSeeItsModel) {
  expect(check_permissions(options_), Colour::kGreen, "no model is set");
  for (const char* hidden : {"/home/a/m.h1b", "/root/m.h1b", "/tmp/m.h1b"}) {
    box_.write("etc/1bit/server.env", std::string("ONEBIT_MODEL=") + hidden + "\n");
    expect(check_permissions(options_), Colour::kRed, "the service cannot see");
  }
  box_.write("etc/1bit/server.env", "ONEBIT_MODEL=/models/sub/m.h1b\n");
  expect(check_permissions(options_), Colour::kGreen, "is not there");
  box_.write("models/sub/m.h1b", "");
  // A test's folder is its owner's alone: open what is above.
  ::chmod(box_.path("").c_str(), 0755);
  const auto model = box_.path("models/sub/m.h1b"), folder = box_.path("models/sub");
  ::chmod(box_.path("models").c_str(), 0755);
  ::chmod(folder.c_str(), 0755);
  ::chmod(model.c_str(), 0644);
  const auto open = check_permissions(options_);
  if (open.colour != Colour::kGreen)
    GTEST_SKIP() << "the folder for temporary files is closed to others: " << open.text;
  ::chmod(model.c_str(), 0640);
  expect(check_permissions(options_), Colour::kRed, "m.h1b is not readable by others");
  ::chmod(model.c_str(), 0644);
  ::chmod(folder.c_str(), 0750);
  expect(check_permissions(options_), Colour::kRed, "sub is closed to others");
  ::chmod(folder.c_str(), 0755);
  box_.write("var/lib/1bit", "a file");
  expect(check_permissions(options_), Colour::kRed, "is no folder");
}

TEST_F(Doctor, ACheckThatHangsEndsAsYellowAndTheOthersGoOn) {
  ::mkfifo((box_.path("") + "pipe.h1b").c_str(), 0644);
  box_.program("timedatectl", "sleep 2; echo yes");
  options_.model = box_.path("") + "pipe.h1b";
  options_.check_time = std::chrono::seconds(1);
  options_.now = kToday;
  std::vector<Finding> findings;
  const auto begin = std::chrono::steady_clock::now();
  const bool hangs = examine(options_, [&](const Finding& finding) { findings.push_back(finding); });
  EXPECT_TRUE(hangs);
  EXPECT_EQ(findings.size(), doctor_checks().size());
  for (const auto& finding : findings) {
    if (finding.check == "clock") expect(finding, Colour::kYellow, "did not end within 1 s");
    if (finding.check == "model") {
      EXPECT_TRUE(finding.colour != Colour::kGreen) << "a pipe that nobody writes to";
    }
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(2) * doctor_checks().size());
  std::this_thread::sleep_for(
      std::chrono::seconds(4));  // the clock's own bound: its thread still uses this test's PATH
}

}  // namespace
}  // namespace onebit::box
