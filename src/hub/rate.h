// How fast something comes, and how long the rest will take.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>

namespace onebit::hub {

/// Over the last ten seconds, so that a change shows soon and a pause does not stay in the figure.
class RateMeter {
 public:
  using Time = std::chrono::steady_clock::time_point;
  /// `done` bytes at `now`; fewer than before: it begins anew.
  void add(Time now, uint64_t done);
  /// Bytes a second; none while less than half a second was seen.
  std::optional<double> rate() const;
  /// Seconds for `left` bytes; none where the rate is unknown or 0.
  std::optional<double> seconds_for(uint64_t left) const;

 private:
  std::deque<std::pair<Time, uint64_t>> seen_;
};

}  // namespace onebit::hub
