// Setting power profiles through the program ryzenadj, in an order that is safe at every moment.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "box/power_profile.h"
#include "box/roots.h"

namespace onebit::box {

/// What `ryzenadj --info` prints, as far as it has all four limits.
std::optional<PowerLimits> parse_limits(std::string_view info);

enum class Limit { kStapm, kFast, kSlow, kTctl };

struct LimitStep {
  Limit limit;
  uint32_t value = 0;  // mW, °C
};

/// The four steps from `now` (nothing: unknown) to `wanted`. The thermal ceiling goes up before any power limit changes
/// and down after all have; before the power limits too where it is not known. Of the power limits, those that fall
/// come first, and at no moment is a limit over a longer time above one over a shorter. ryzenadj itself sets what one
/// call names in an order of its own, Tctl last, so each step is a call.
std::vector<LimitStep> plan_limits(const std::optional<PowerLimits>& now, const PowerLimits& wanted);

/// {"ryzenadj", "--stapm-limit=120000"}.
std::vector<std::string> ryzenadj_command(const LimitStep& step);
/// Counts of all cores, 0 or below: {"ryzenadj", "--set-coall=1048566"}.
std::vector<std::string> ryzenadj_curve(int counts);

/// What halo set since the machine was started: in /run, which forgets as the processor does.
struct PowerState {
  std::string profile;            // empty: none
  PowerLimits limits;             // as they were set
  int curve_all = 0;              // 0: no undervolt
  bool undervolt_checked = true;  // false: its burn-in has not ended
};
PowerState read_power_state(const Roots& roots);

/// The limits in force, asked of ryzenadj; nothing where it cannot tell.
std::optional<PowerLimits> read_limits();

struct SetOptions {
  Roots roots;
  /// Each line that a user should see: the calls made, and what became of the check.
  std::function<void(const std::string& line)> say;
  /// The burn-in of an undervolt: true only where all rounds were exact. Errors: it could not be run, was ended.
  std::function<Result<bool>(const Undervolt&)> check;
};

/// Limits first, then the undervolt and its check, which takes it back where it does not pass. An undervolt of before
/// is taken back first of all. Errors: ryzenadj failed, or the limits it reads back are others; the message says
/// whether the limits of before are in force again, or which are not.
Status set_profile(const PowerProfile& profile, const SetOptions& options);

/// The calls that set_profile would make.
std::vector<std::vector<std::string>> planned_calls(const PowerProfile& profile, const Roots& roots);

}  // namespace onebit::box
