// The checks of doctor.cc, by what they are about.
#pragma once

#include "box/doctor.h"

namespace onebit::box {

// doctor_machine.cc: the machine, without anything of ours on it.
Finding check_cpu(const DoctorOptions& options);
Finding check_huge_pages(const DoctorOptions& options);
Finding check_bandwidth(const DoctorOptions& options);
Finding check_gpu(const DoctorOptions& options);
Finding check_modules(const DoctorOptions& options);
Finding check_clock(const DoctorOptions& options);
Finding check_disk(const DoctorOptions& options);
Finding check_power(const DoctorOptions& options);

// doctor_service.cc: what was installed and runs.
Finding check_model(const DoctorOptions& options);
Finding check_permissions(const DoctorOptions& options);
Finding check_server_port(const DoctorOptions& options);
Finding check_landing_port(const DoctorOptions& options);
Finding check_services(const DoctorOptions& options);
Finding check_versions(const DoctorOptions& options);

inline Finding green(std::string text) {
  return {{}, Colour::kGreen, std::move(text), {}};
}
inline Finding yellow(std::string text, std::string advice) {
  return {{}, Colour::kYellow, std::move(text), std::move(advice)};
}
inline Finding red(std::string text, std::string advice) {
  return {{}, Colour::kRed, std::move(text), std::move(advice)};
}

}  // namespace onebit::box
