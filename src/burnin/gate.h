// The cutover gate: may the new engine take over? Thresholds from a TOML file, results of perplexity and burn-in.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "burnin/stats.h"

namespace onebit::burnin {

/// What is absent is not asked for; what is asked for and has no result fails.
struct Thresholds {
  std::optional<double> max_perplexity_delta;            // [perplexity] max_delta: of the two engines' perplexities
  std::optional<double> max_nll_delta;                   // [perplexity] max_nll_delta: of any window's sum, in nats
  std::optional<double> min_windows;                     // [perplexity] min_windows, scored by both
  std::optional<double> min_exact_rate;                  // [burnin] min_exact_rate, 0 to 1
  std::optional<double> min_rounds;                      // [burnin] min_rounds
  std::optional<double> max_unreachable_rate;            // [burnin] max_unreachable_rate, 0 to 1
  std::optional<double> max_gap_p50_ms, max_gap_p95_ms;  // [latency] max_gap_p50_ms, max_gap_p95_ms: B slower than A
};

/// Errors name the file, the key that is unknown or not a number.
Result<Thresholds> read_thresholds(const std::string& path);

/// Two perplexity results (halo ppl --json), window by window.
struct PerplexityPair {
  double delta = 0;      // of the perplexities, over the windows that both scored
  double nll_delta = 0;  // largest of a window
  size_t windows = 0;    // that both scored
};
/// Errors: files that are none, or of other texts or options. The model may be packed differently.
Result<PerplexityPair> compare_perplexity(const std::string& a, const std::string& b);

struct Check {
  bool passed = false;
  std::string reason;  // one line
};
std::vector<Check> check(const Thresholds& thresholds, const std::optional<PerplexityPair>& perplexity,
                         const std::optional<Stats>& burnin);

}  // namespace onebit::burnin
