// Looks a box over: one finding a check, each with what to do about it. Nothing is changed, and nothing needs root.
#pragma once

#include <chrono>
#include <ctime>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "box/roots.h"
#include "box/settings.h"

namespace onebit::box {

enum class Colour { kGreen, kYellow, kRed };  // well; works, but; does not work
std::string_view name_of(Colour colour);

struct Finding {
  std::string check;
  Colour colour = Colour::kGreen;
  std::string text;    // what was found
  std::string advice;  // what to do; empty where that is nothing
};

struct DoctorOptions {
  Roots roots;
  std::string model;  // the file that is used; empty: `model_error` says why there is none
  std::string model_error;
  std::string version;                  // this program's
  double min_bandwidth_gb_s = 10;       // below: yellow
  bool quick = false;                   // without the bandwidth, which takes all processors for a moment
  double min_disk_gb = 5;               // free below: yellow; below a tenth: red
  std::time_t now = 0;                  // 0: the system's clock
  std::chrono::seconds check_time{15};  // of one check; one that takes longer is yellow
};

/// Makes every check in turn and tells each finding as it is there. True where a check did not end in time: it goes on
/// in a thread of its own, so the program has to end by _exit.
bool examine(const DoctorOptions& options, const std::function<void(const Finding&)>& tell);

/// One check.
struct Check {
  std::string_view name;
  Finding (*make)(const DoctorOptions& options);
};
const std::vector<Check>& doctor_checks();

}  // namespace onebit::box
