#include "hub/rate.h"

namespace onebit::hub {

void RateMeter::add(Time now, uint64_t done) {
  constexpr std::chrono::milliseconds kWindow(10'000), kStep(50);
  if (!seen_.empty() && done < seen_.back().second) seen_.clear();
  if (seen_.size() > 1 && now - seen_[seen_.size() - 2].first < kStep) seen_.pop_back();
  seen_.emplace_back(now, done);
  while (seen_.size() > 2 && now - seen_[1].first >= kWindow) seen_.pop_front();
}

std::optional<double> RateMeter::rate() const {
  constexpr double kLeast = 0.5;
  if (seen_.size() < 2) return std::nullopt;
  const double seconds = std::chrono::duration<double>(seen_.back().first - seen_.front().first).count();
  if (seconds < kLeast) return std::nullopt;
  return static_cast<double>(seen_.back().second - seen_.front().second) / seconds;
}

std::optional<double> RateMeter::seconds_for(uint64_t left) const {
  const auto bytes = rate();
  if (!bytes || *bytes <= 0) return std::nullopt;
  return static_cast<double>(left) / *bytes;
}

}  // namespace onebit::hub
