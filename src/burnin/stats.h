// What a burn-in's log says: rates, latencies, which prompts differ.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "burnin/log.h"

namespace onebit::burnin {

/// Quantiles of times within 1 %, in bounded memory.
class LatencyHistogram {
 public:
  void add(double ms);
  /// In ms, 0 where there is nothing. 0 <= q <= 1.
  double quantile(double q) const;

 private:
  static constexpr int kBuckets = 2200;  // each 1 % above the last, from 1 µs to about 50 minutes
  std::array<uint64_t, kBuckets> counts_{};
  uint64_t count_ = 0;
};

struct PromptStats {
  uint64_t rounds = 0, misses = 0;
  std::optional<Round> last_miss;
};

struct HourStats {
  uint64_t rounds = 0, exact = 0;
};

struct Stats {
  uint64_t rounds = 0, damaged_lines = 0;
  std::array<uint64_t, kVerdicts> by_verdict{};
  double first_time = 0, last_time = 0;  // seconds since 1970
  LatencyHistogram a, b;
  std::map<uint64_t, uint64_t> prefixes;  // of misses: agreeing bytes, how often; long ones rounded to 1 %
  std::unordered_map<std::string, PromptStats> prompts;
  std::map<int64_t, HourStats> hours;  // by hours since 1970

  uint64_t of(Verdict verdict) const { return by_verdict[static_cast<size_t>(verdict)]; }
  uint64_t misses() const { return of(Verdict::kPrefixOnly) + of(Verdict::kNoMatch); }
  uint64_t unreachable() const { return of(Verdict::kAUnreachable) + of(Verdict::kBUnreachable); }
  /// Of the rounds that both endpoints answered; 0 where there are none.
  double exact_rate() const;
  uint64_t median_prefix() const;
  /// Names of prompts with misses, most first.
  std::vector<std::string> drifting() const;
};

/// Of the rounds from `since` (seconds since 1970) on.
Result<Stats> read_stats(const std::string& path, double since = 0);

/// The last `count` rounds, oldest first.
Result<std::vector<Round>> recent(const std::string& path, size_t count);

/// A point in time before `now` (seconds since 1970): "90m", "24h", "7d" (back from now), "2026-11-23" or
/// "2026-11-23T14:00" (UTC).
Result<double> parse_when(const std::string& text, double now);

/// As a benchmark record's pair ("rounds", "exact", "exact_rate", …, "hours"): JSON.
std::string to_json(const Stats& stats);

}  // namespace onebit::burnin
