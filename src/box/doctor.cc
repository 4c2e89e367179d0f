#include "box/doctor.h"

#include <future>
#include <memory>
#include <thread>

#include "box/doctor_checks.h"

namespace onebit::box {

std::string_view name_of(Colour colour) {
  return colour == Colour::kGreen ? "green" : colour == Colour::kYellow ? "yellow" : "red";
}

const std::vector<Check>& doctor_checks() {
  static const std::vector<Check> kChecks{{"cpu", check_cpu},
                                          {"huge pages", check_huge_pages},
                                          {"bandwidth", check_bandwidth},
                                          {"gpu", check_gpu},
                                          {"gpu modules", check_modules},
                                          {"power", check_power},
                                          {"clock", check_clock},
                                          {"disk", check_disk},
                                          {"model", check_model},
                                          {"permissions", check_permissions},
                                          {"services", check_services},
                                          {"server port", check_server_port},
                                          {"live page port", check_landing_port},
                                          {"versions", check_versions}};
  return kChecks;
}

bool examine(const DoctorOptions& options, const std::function<void(const Finding&)>& tell) {
  bool hangs = false;
  for (const auto& check : doctor_checks()) {
    if (options.quick && check.make == check_bandwidth) continue;
    // A file on a server that is gone, or a driver that is stuck, can hold a thread for ever.
    const auto shared = std::make_shared<const DoctorOptions>(options);
    std::packaged_task<Finding()> task([shared, make = check.make] { return make(*shared); });
    auto result = task.get_future();
    std::thread worker(std::move(task));
    Finding finding;
    if (result.wait_for(options.check_time) == std::future_status::ready) {
      worker.join();
      try {
        finding = result.get();
      } catch (const std::exception& e) {
        finding = yellow(fmt::format("could not be checked: {}", e.what()), "try again with more free memory");
      }
    } else {
      worker.detach();
      hangs = true;
      finding = yellow(fmt::format("did not end within {} s", options.check_time.count()),
                       "see what the machine waits for: a disk, a network file system or a driver (dmesg)");
    }
    finding.check = check.name;
    tell(finding);
  }
  return hangs;
}

}  // namespace onebit::box
