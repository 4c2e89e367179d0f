#include "landing/machine.h"

#include "base/sensors.h"
#include "landing/words.h"

namespace onebit::landing {

MachineFacts read_machine(const std::string& sys) {
  const auto sensors = read_sensors(sys);
  MachineFacts facts{sensors.cpu_celsius, sensors.gpu_celsius, std::nullopt};
  if (sensors.platform_profile) facts.power_profile = fit_to_show(*sensors.platform_profile);
  return facts;
}

}  // namespace onebit::landing
