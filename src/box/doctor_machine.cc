#include <sys/statvfs.h>
#include <sys/timex.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>

#include "backend/gpu_module.h"
#include "base/sensors.h"
#include "base/thread_pool.h"
#include "base/utf8.h"
#include "box/doctor_checks.h"
#include "box/power.h"
#include "eval/roofline.h"
#include "kernels/cpu/select.h"

namespace onebit::box {
namespace {

namespace fs = std::filesystem;

std::string cpu_model(const Roots& roots) {
  std::ifstream in(roots.path("/proc/cpuinfo"));
  for (std::string line; std::getline(in, line);)
    if (const size_t colon = line.find(": "); line.starts_with("model name") && colon != std::string::npos)
      return printable(line.substr(colon + 2), 100);
  return "a processor without a name";
}

/// A display or compute device of AMD's or NVIDIA's, as the PCI bus has it.
struct PciGpu {
  std::string address;  // 0000:c1:00.0
  bool amd = false;
  std::string driver;  // empty: none
  std::string_view maker() const { return amd ? "AMD" : "NVIDIA"; }
  bool is_driven() const { return driver == (amd ? "amdgpu" : "nvidia"); }
};

std::vector<PciGpu> pci_gpus(const Roots& roots) {
  std::vector<PciGpu> found;
  for (const auto& device : sorted_entries(roots.path("/sys/bus/pci/devices"))) {
    const auto vendor = first_line_of(device / "vendor");
    const bool amd = vendor == "0x1002";
    if (!first_line_of(device / "class").starts_with("0x03") || (!amd && vendor != "0x10de")) continue;
    std::error_code error;
    const auto driver = fs::read_symlink(device / "driver", error);
    found.push_back({device.filename().string(), amd, error ? std::string() : driver.filename().string()});
  }
  return found;
}

/// Whether the driver's device file is there and may be used by whoever runs this.
std::optional<Finding> check_device_file(const Roots& roots, const PciGpu& gpu) {
  const auto path = roots.path(gpu.amd ? "/dev/kfd" : "/dev/nvidiactl");
  if (::access(path.c_str(), F_OK) != 0)
    return yellow(fmt::format("{} GPU at {}, driver {}, but no {}", gpu.maker(), gpu.address, gpu.driver, path),
                  gpu.amd ? "a kernel with ROCm's driver (CONFIG_HSA_AMD) makes it" : "nvidia-modprobe makes it");
  if (::access(path.c_str(), R_OK | W_OK) != 0)
    return yellow(fmt::format("{} may not be used by this user", path),
                  gpu.amd ? "sudo usermod -aG render,video $USER, then log in again"
                          : "sudo usermod -aG video $USER, then log in again");
  return {};
}

}  // namespace

Finding check_cpu(const DoctorOptions& options) {
  const auto chosen = cpu::chosen_kernels();
  if (!chosen) return red(chosen.error().message, "unset HALO_ISA");
  std::vector<std::string> usable;
  for (const auto* kernels : cpu::usable_kernels()) usable.emplace_back(kernels->name);
  const auto text = fmt::format("{}, {} processors; kernels {} (of {})", cpu_model(options.roots),
                                available_processors(), (*chosen)->name, fmt::join(usable, ", "));
  if ((*chosen)->name != usable.front())
    return yellow(text, fmt::format("$HALO_ISA keeps {} from being used: unset it", usable.front()));
  if (usable.size() == 1)
    return yellow(text, "plain code is several times slower; a processor with AVX2 or NEON has faster kernels");
  return green(text);
}

Finding check_huge_pages(const DoctorOptions& options) {
  const auto file = options.roots.path("/sys/kernel/mm/transparent_hugepage/enabled");
  const auto line = first_line_of(file);
  const auto advice =
      "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled, and the kernel option "
      "transparent_hugepage=madvise for the next start";
  if (line.empty()) return yellow("the kernel has no transparent huge pages", "long contexts are a little slower");
  if (line.find("[never]") != std::string::npos) return yellow("transparent huge pages: " + printable(line), advice);
  return green("transparent huge pages: " + printable(line));
}

Finding check_bandwidth(const DoctorOptions& options) {
  const double gigabytes = measure_read_bandwidth(available_processors(), 1, std::chrono::seconds(2)) / 1e9;
  const auto text = fmt::format("reads {:.1f} GB/s of memory, looked at for a moment", gigabytes);
  if (gigabytes < options.min_bandwidth_gb_s)
    return yellow(text + fmt::format(", less than {:g}", options.min_bandwidth_gb_s),
                  "decode is as fast as memory: see what else runs (top), and whether all memory channels are filled "
                  "(sudo dmidecode -t memory)");
  return green(text + "; 'halo roofline' measures");
}

Finding check_gpu(const DoctorOptions& options) {
  const auto gpus = pci_gpus(options.roots);
  if (gpus.empty()) return green("none of AMD's or NVIDIA's: the CPU computes");
  std::vector<std::string> names;
  for (const auto& gpu : gpus) {
    if (!gpu.is_driven())
      return yellow(fmt::format("{} GPU at {} with {}: the CPU computes", gpu.maker(), gpu.address,
                                gpu.driver.empty() ? "no driver" : "the driver " + gpu.driver),
                    gpu.amd ? "the kernel's amdgpu drives it, with the package firmware-amd-graphics"
                            : "install NVIDIA's driver (package nvidia-driver)");
    if (auto finding = check_device_file(options.roots, gpu)) return *finding;
    names.push_back(fmt::format("{} at {} ({})", gpu.maker(), gpu.address, gpu.driver));
  }
  return green(fmt::format("{}", fmt::join(names, ", ")));
}

Finding check_modules(const DoctorOptions& options) {
  std::vector<std::string> names, kinds;
  for (const auto& gpu : pci_gpus(options.roots)) {
    const std::string kind = gpu.amd ? "hip" : "cuda";
    const bool usable = gpu.is_driven() && !check_device_file(options.roots, gpu);  // else check_gpu tells
    if (usable && std::find(kinds.begin(), kinds.end(), kind) == kinds.end()) kinds.push_back(kind);
  }
  if (kinds.empty()) return green("none is needed");
  for (const auto& kind : kinds) {
    const auto module = load_gpu_module(kind);
    if (!module && module.error().message.starts_with("there is no module"))
      return yellow(module.error().message, "the CPU computes; a build with " + kind + " has the module (docs/gpu.md)");
    if (!module) return red(module.error().message, "install program and module from one package");
    const int count = module->functions->device_count();
    if (count == 0)
      return yellow(fmt::format("the module for {} sees no device", kind),
                    "the CPU computes; the driver may be older than the module, see dmesg");
    for (int i = 0; i < count; ++i) {
      const auto info = module->functions->describe(i);
      names.push_back(fmt::format("{}:{} {} ({}, {:.1f} of {:.1f} GB free)", kind, i, printable(info.name, 80),
                                  printable(info.architecture), static_cast<double>(info.free_bytes) / 1e9,
                                  static_cast<double>(info.memory_bytes) / 1e9));
    }
  }
  return green(fmt::format("{}", fmt::join(names, ", ")));
}

Finding check_power(const DoctorOptions& options) {
  const auto state = read_power_state(options.roots);
  if (state.curve_all != 0 && !state.undervolt_checked)
    return red(
        fmt::format("an undervolt of {} counts whose burn-in did not end: answers may be wrong", state.curve_all),
        "set a profile anew: sudo halo power PROFILE");
  if (!state.profile.empty()) return green(fmt::format("profile {}: {}", state.profile, text_of(state.limits)));
  return green("no profile was set: the limits are the firmware's");
}

Finding check_clock(const DoctorOptions& options) {
  const std::time_t now = options.now != 0 ? options.now : std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  const auto date = fmt::format("{:04}-{:02}-{:02}", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday);
  const auto advice = "sudo timedatectl set-ntp true (package systemd-timesyncd), or sudo date -s for now";
  if (utc.tm_year + 1900 < 2025 || utc.tm_year + 1900 > 2099)
    return red(fmt::format("the clock says {}", date), advice);
  bool synchronised = false;
  const auto told =
      find_program("timedatectl")
          ? output_of({"timedatectl", "show", "--property=NTPSynchronized", "--value"}, std::chrono::seconds(5))
          : fail("not there");
  if (told && !told->empty()) {
    synchronised = told->starts_with("yes");
  } else {
    timex state{};  // what the kernel was told by whoever keeps its time
    synchronised = ::adjtimex(&state) != TIME_ERROR;
  }
  if (!synchronised) return yellow(fmt::format("{}, not synchronised", date), advice);
  return green(fmt::format("{}, synchronised", date));
}

Finding check_disk(const DoctorOptions& options) {
  // Where the server keeps what it keeps; before it is there, where it will be.
  fs::path folder = options.roots.path("/var/lib/1bit");
  struct statvfs disk{};
  while (::statvfs(folder.c_str(), &disk) != 0) {
    if (!folder.has_relative_path())
      return yellow(fmt::format("{}: {}", folder.string(), std::strerror(errno)), "see whether /var is mounted");
    folder = folder.parent_path();
  }
  const double free_gb = static_cast<double>(disk.f_bavail) * static_cast<double>(disk.f_frsize) / 1e9;
  const auto text = fmt::format("{:.1f} GB free at {}", free_gb, folder.string());
  const auto advice = "conversations, updates and models need room: remove what is not needed (sudo apt-get clean)";
  if (free_gb < options.min_disk_gb / 10) return red(text, advice);
  if (free_gb < options.min_disk_gb) return yellow(text, advice);
  return green(text);
}

}  // namespace onebit::box
