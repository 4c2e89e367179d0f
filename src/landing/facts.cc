#include "landing/facts.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "landing/metrics_text.h"
#include "landing/words.h"

namespace onebit::landing {
namespace {

constexpr size_t kMostBuckets = 256;

std::optional<double> bound_of(std::string_view le) {
  if (le == "+Inf" || le == "Inf") return std::numeric_limits<double>::infinity();
  double value = 0;
  const auto [end, error] = std::from_chars(le.data(), le.data() + le.size(), value);
  if (error != std::errc() || end != le.data() + le.size() || !std::isfinite(value) || value < 0) return std::nullopt;
  return value;
}

void take_bucket(ServerFacts& facts, const Sample& sample) {
  const auto most = bound_of(sample.label("le"));
  if (most && facts.first_token.size() < kMostBuckets) facts.first_token.push_back({*most, sample.value});
}

}  // namespace

ServerFacts facts_of(std::string_view text) {
  ServerFacts facts;
  const std::pair<std::string_view, std::optional<double>*> plain[] = {
      {"tokps_recent", &facts.tokens_a_second},         {"onebit_running_requests", &facts.running},
      {"onebit_queue_length", &facts.queued},           {"onebit_kv_pages", &facts.kv_pages},
      {"onebit_kv_pages_limit", &facts.kv_pages_limit},
  };
  read_metrics(text, [&](const Sample& sample) {
    if (!std::isfinite(sample.value) || sample.value < 0) return;
    for (const auto& [name, value] : plain)
      if (sample.name == name && sample.labels.empty()) *value = sample.value;
    if (sample.name == "onebit_requests_total") {
      facts.requests = facts.requests.value_or(0) + sample.value;
      facts.failed = facts.failed.value_or(0) + (sample.label("outcome") == "error" ? sample.value : 0);
    } else if (sample.name == "onebit_time_to_first_token_seconds_bucket") {
      take_bucket(facts, sample);
    } else if (sample.name == "onebit_build_info") {
      facts.model = fit_to_show(sample.label("model"));
      facts.version = fit_to_show(sample.label("version"));
      facts.isa = fit_to_show(sample.label("isa"));
    }
  });
  // A server that counts but has answered nobody yet has no such sample: that is 0, not unknown.
  if (facts.tokens_a_second && !facts.requests) facts.requests = facts.failed = 0;
  std::sort(facts.first_token.begin(), facts.first_token.end(),
            [](const Bucket& a, const Bucket& b) { return a.most < b.most; });
  return facts;
}

std::optional<double> quantile_of(const std::vector<Bucket>& buckets, double quantile) {
  if (buckets.size() < 2 || !std::isinf(buckets.back().most) || !(buckets.back().count > 0)) return std::nullopt;
  for (size_t i = 1; i < buckets.size(); ++i)
    if (buckets[i].count < buckets[i - 1].count || buckets[i].most == buckets[i - 1].most) return std::nullopt;
  const double rank = std::clamp(quantile, 0.0, 1.0) * buckets.back().count;
  size_t at = 0;
  while (at + 1 < buckets.size() && buckets[at].count < rank) ++at;
  if (at + 1 == buckets.size()) return buckets[at - 1].most;
  const double low = at == 0 ? 0 : buckets[at - 1].most, below = at == 0 ? 0 : buckets[at - 1].count;
  const double within = buckets[at].count - below;
  const double most = buckets[at].most;
  return within > 0 ? std::min(most, low + (most - low) * (rank - below) / within) : most;  // rounding may pass it
}

}  // namespace onebit::landing
