#include "box/power.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>

#include "base/atomic_file.h"
#include "base/mapped_file.h"

namespace onebit::box {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr auto kCallTime = std::chrono::seconds(20);
constexpr char kStateFolder[] = "/run/halo";
constexpr char kStateFile[] = "/run/halo/power.json";

struct LimitName {
  Limit limit;
  const char* option;              // ryzenadj's
  const char* name;                // for people
  uint32_t PowerLimits::* member;  // mW, °C
  double scale;                    // of what --info prints
};
constexpr std::array<LimitName, 4> kLimits{{{Limit::kStapm, "stapm-limit", "STAPM", &PowerLimits::stapm_mw, 1000},
                                            {Limit::kFast, "fast-limit", "fast", &PowerLimits::fast_mw, 1000},
                                            {Limit::kSlow, "slow-limit", "slow", &PowerLimits::slow_mw, 1000},
                                            {Limit::kTctl, "tctl-temp", "Tctl", &PowerLimits::tctl_c, 1}}};

const LimitName& name_of(Limit limit) {
  return *std::find_if(kLimits.begin(), kLimits.end(), [&](const LimitName& n) { return n.limit == limit; });
}

std::string_view trim(std::string_view text) {
  const auto begin = text.find_first_not_of(" \t\r"), end = text.find_last_not_of(" \t\r");
  return begin == std::string_view::npos ? std::string_view() : text.substr(begin, end - begin + 1);
}

/// The value in "| STAPM LIMIT | 120.000 | stapm-limit |", told by its last column.
std::optional<double> value_of(std::string_view info, std::string_view option) {
  for (size_t at = 0; at < info.size();) {
    const size_t end = std::min(info.find('\n', at), info.size());
    const auto line = info.substr(at, end - at);
    at = end + 1;
    std::array<std::string_view, 5> cells{};
    size_t count = 0;
    for (size_t from = 0; from <= line.size() && count < cells.size();) {
      const size_t bar = std::min(line.find('|', from), line.size());
      cells[count++] = trim(line.substr(from, bar - from));
      from = bar + 1;
    }
    if (count < 4 || cells[3] != option) continue;
    double value = 0;
    const auto [stop, error] = std::from_chars(cells[2].data(), cells[2].data() + cells[2].size(), value);
    if (error == std::errc() && stop == cells[2].data() + cells[2].size() && value > 0 && value < 1e6) return value;
  }
  return {};
}

/// One `halo power` at a time; the folder of the state with it.
class Lock {
 public:
  static Result<Lock> take(const Roots& roots) {
    const auto folder = roots.path(kStateFolder);
    std::error_code error;
    fs::create_directories(folder, error);
    if (error) return fail("{}: {}{}", folder, error.message(), needs_root("halo power PROFILE"));
    const auto path = folder + "/power.lock";
    const int fd = ::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) return fail("{}: {}{}", path, std::strerror(errno), needs_root("halo power PROFILE"));
    Lock lock(fd);
    if (::flock(fd, LOCK_EX | LOCK_NB) != 0) return fail("{}: another halo power is at work; wait for it", path);
    return lock;
  }
  Lock(Lock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Lock& operator=(Lock&&) = delete;
  ~Lock() {
    if (fd_ >= 0) ::close(fd_);
  }

 private:
  explicit Lock(int fd) : fd_(fd) {}
  int fd_;
};

Status write_power_state(const Roots& roots, const PowerState& state) {
  json root{{"profile", state.profile}, {"curve_all", state.curve_all}, {"undervolt_checked", state.undervolt_checked}};
  for (const auto& limit : kLimits) root[limit.option] = state.limits.*limit.member;
  const auto text = root.dump() + "\n";
  ASSIGN_OR_RETURN(auto file, AtomicFile::create(roots.path(kStateFile), 0644));
  RETURN_IF_ERROR(file.write(std::as_bytes(std::span(text))));
  return file.commit();
}

/// One change of a profile under way.
class Setter {
 public:
  Setter(const PowerProfile& profile, const SetOptions& options)
      : profile_(profile), options_(options), state_(read_power_state(options.roots)), before_(read_limits()) {}

  Status run() {
    RETURN_IF_ERROR(take_back_undervolt());
    for (const auto& step : plan_limits(before_, profile_.limits)) {
      touched_.push_back(step.limit);
      if (auto status = call(ryzenadj_command(step)); !status) return give_up(status.error().message);
    }
    if (const auto now = read_limits())
      if (const auto other = difference(*now); !other.empty()) return give_up(other);
    state_.profile = profile_.name;
    state_.limits = profile_.limits;
    RETURN_IF_ERROR(keep());
    return profile_.undervolt ? undervolt(*profile_.undervolt) : Status{};
  }

 private:
  Status call(const std::vector<std::string>& command) {
    options_.say(command_line(command));
    auto output = output_of(command, kCallTime);
    if (!output) return fail("{}{}", output.error().message, needs_root("halo power PROFILE"));
    return {};
  }
  Status keep() { return write_power_state(options_.roots, state_); }

  Status take_back_undervolt() {
    if (state_.curve_all == 0) return {};
    if (auto status = call(ryzenadj_curve(0)); !status)
      return fail("{}: the undervolt of {} counts is still in force: restart the machine to be rid of it",
                  status.error().message, state_.curve_all);
    state_.curve_all = 0;
    state_.undervolt_checked = true;
    return keep();
  }

  /// A sentence where ryzenadj reads other limits than were set; firmware may round, and may refuse without saying so.
  std::string difference(const PowerLimits& now) const {
    for (const auto& limit : kLimits) {
      const double is = now.*limit.member / limit.scale, wanted = profile_.limits.*limit.member / limit.scale;
      if (std::abs(is - wanted) > 0.5)
        return fmt::format("the firmware did not take the {} limit: {:g} was set, {:g} is in force", limit.name, wanted,
                           is);
    }
    return {};
  }

  /// Back to the limits of before, as far as they were touched.
  Status give_up(const std::string& why) {
    std::vector<std::string> names;
    for (const auto limit : touched_) names.emplace_back(name_of(limit).name);
    const auto lost = [&](const std::string& because) {
      state_.profile.clear();
      const auto kept = keep();
      return fail("{}; the limits of before {}: {} may be either; set a profile anew, or restart the machine{}", why,
                  because, fmt::join(names, ", "), kept ? "" : "; " + kept.error().message);
    };
    if (!before_) return lost("could not be read, so they were not restored");
    auto mixed = *before_;
    for (const auto limit : touched_) mixed.*name_of(limit).member = profile_.limits.*name_of(limit).member;
    std::string failed;
    for (const auto& step : plan_limits(mixed, *before_)) {
      if (std::find(touched_.begin(), touched_.end(), step.limit) == touched_.end()) continue;
      if (auto status = call(ryzenadj_command(step)); !status) failed = status.error().message;
    }
    // What was refused before is refused again, and never changed.
    const auto now = read_limits();
    if (now ? *now != *before_ : !failed.empty())
      return lost(failed.empty() ? "did not come back" : "could not be restored (" + failed + ")");
    return fail("{}; the limits were restored to {}", why, text_of(*before_));
  }

  Status undervolt(const Undervolt& recipe) {
    state_.curve_all = recipe.curve_all;
    state_.undervolt_checked = false;
    RETURN_IF_ERROR(keep());  // before it is in force: whatever ends this process, it is known
    if (auto status = call(ryzenadj_curve(recipe.curve_all)); !status) {
      const auto why = status.error().message;
      RETURN_IF_ERROR(take_back_undervolt());
      return fail("{}; the undervolt was taken back, the limits of {} are in force", why, profile_.name);
    }
    const auto exact = options_.check(recipe);
    if (exact && *exact) {
      state_.undervolt_checked = true;
      options_.say(fmt::format("the undervolt of {} counts passed its burn-in", recipe.curve_all));
      return keep();
    }
    RETURN_IF_ERROR(take_back_undervolt());
    return fail("{}; the undervolt of {} counts was taken back, the limits of {} are in force",
                exact ? "the burn-in met an answer that was not exact" : exact.error().message, recipe.curve_all,
                profile_.name);
  }

  const PowerProfile& profile_;
  const SetOptions& options_;
  PowerState state_;
  std::optional<PowerLimits> before_;
  std::vector<Limit> touched_;
};

}  // namespace

std::optional<PowerLimits> parse_limits(std::string_view info) {
  PowerLimits limits;
  for (const auto& limit : kLimits) {
    const auto value = value_of(info, limit.option);
    if (!value) return {};
    limits.*limit.member = static_cast<uint32_t>(std::lround(*value * limit.scale));
  }
  return limits;
}

std::vector<LimitStep> plan_limits(const std::optional<PowerLimits>& now, const PowerLimits& wanted) {
  std::vector<LimitStep> steps;
  const LimitStep ceiling{Limit::kTctl, wanted.tctl_c};
  const bool ceiling_first = !now || wanted.tctl_c >= now->tctl_c;
  if (ceiling_first) steps.push_back(ceiling);
  const auto falls = [&](const LimitName& limit) { return now && wanted.*limit.member < *now.*limit.member; };
  for (const auto limit : {Limit::kStapm, Limit::kSlow, Limit::kFast})
    if (falls(name_of(limit))) steps.push_back({limit, wanted.*name_of(limit).member});
  for (const auto limit : {Limit::kFast, Limit::kSlow, Limit::kStapm})
    if (!falls(name_of(limit))) steps.push_back({limit, wanted.*name_of(limit).member});
  if (!ceiling_first) steps.push_back(ceiling);
  return steps;
}

std::vector<std::string> ryzenadj_command(const LimitStep& step) {
  return {"ryzenadj", fmt::format("--{}={}", name_of(step.limit).option, step.value)};
}

std::vector<std::string> ryzenadj_curve(int counts) {
  // A count below 0 is passed in 20 bits.
  return {"ryzenadj", fmt::format("--set-coall={}", counts < 0 ? 0x100000 + counts : counts)};
}

PowerState read_power_state(const Roots& roots) {
  PowerState state;
  const auto text = read_text_file(roots.path(kStateFile), 1 << 16);
  const auto root = text ? json::parse(*text, nullptr, false) : json();
  if (!root.is_object()) return state;
  const auto number = [&](const char* key) {
    const auto it = root.find(key);
    return it != root.end() && it->is_number_integer() ? it->get<int64_t>() : 0;
  };
  if (const auto it = root.find("profile"); it != root.end() && it->is_string()) {
    const auto& name = it->get_ref<const std::string&>();
    if (std::find(kProfileNames.begin(), kProfileNames.end(), name) != kProfileNames.end()) state.profile = name;
  }
  for (const auto& limit : kLimits) state.limits.*limit.member = static_cast<uint32_t>(number(limit.option));
  state.curve_all = static_cast<int>(std::clamp<int64_t>(number("curve_all"), -100, 0));
  state.undervolt_checked = state.curve_all == 0 || root.value("undervolt_checked", json()) == json(true);
  return state;
}

std::optional<PowerLimits> read_limits() {
  const auto info = output_of({"ryzenadj", "--info"}, kCallTime);
  return info ? parse_limits(*info) : std::nullopt;
}

Status set_profile(const PowerProfile& profile, const SetOptions& options) {
  ASSIGN_OR_RETURN(const auto lock, Lock::take(options.roots));
  return Setter(profile, options).run();
}

std::vector<std::vector<std::string>> planned_calls(const PowerProfile& profile, const Roots& roots) {
  std::vector<std::vector<std::string>> calls;
  if (read_power_state(roots).curve_all != 0) calls.push_back(ryzenadj_curve(0));
  for (const auto& step : plan_limits(read_limits(), profile.limits)) calls.push_back(ryzenadj_command(step));
  if (profile.undervolt) calls.push_back(ryzenadj_curve(profile.undervolt->curve_all));
  return calls;
}

}  // namespace onebit::box
