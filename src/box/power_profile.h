// Power profiles: limits of an AMD processor's package by name, from TOML (docs/box.md).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace onebit::box {

struct PowerLimits {
  uint32_t stapm_mw = 0;  // sustained, over minutes
  uint32_t fast_mw = 0;   // at any moment
  uint32_t slow_mw = 0;   // over seconds
  uint32_t tctl_c = 0;    // °C at which the processor slows down

  friend bool operator==(const PowerLimits&, const PowerLimits&) = default;
};

/// "STAPM 120 W, fast 140 W, slow 120 W, Tctl 98 °C".
std::string text_of(const PowerLimits& limits);

/// Less voltage for all cores, and the check that it has to pass.
struct Undervolt {
  int curve_all = 0;      // counts of AMD's Curve Optimiser, below 0
  std::string a, b;       // two servers, asked the same (burnin/run.h)
  uint64_t rounds = 500;  // that must all be exact
};

struct PowerProfile {
  std::string name;   // one of kProfileNames
  std::string about;  // one line
  PowerLimits limits;
  std::optional<Undervolt> undervolt;
};

inline constexpr std::array<std::string_view, 4> kProfileNames = {"inference", "chat", "balanced", "idle"};

/// `path` begins errors, which name line, key and what is allowed there. A text may have some of the profiles.
Result<std::vector<PowerProfile>> parse_profiles(std::string_view text, const std::string& path);

/// All four, in the order of kProfileNames: those built in, and instead of them those of `file`.
/// Empty: there is none. Errors: it cannot be read, or as of parse_profiles.
Result<std::vector<PowerProfile>> load_profiles(const std::string& file);

}  // namespace onebit::box
