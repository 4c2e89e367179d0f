#include "landing/stats.h"

#include <cmath>
#include <nlohmann/json.hpp>

namespace onebit::landing {
namespace {

using Json = nlohmann::ordered_json;

template <class T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json word_or_null(const std::string& word) {
  return word.empty() ? Json(nullptr) : Json(word);
}

double milliseconds(double seconds) {
  return std::round(seconds * 1000) / 1000;
}

/// A name that a stranger's server told may be no UTF-8.
std::string dumped(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json kv_use(const ServerFacts& facts) {
  const bool known = facts.kv_pages && facts.kv_pages_limit && *facts.kv_pages_limit > 0;
  return {{"pages", or_null(facts.kv_pages)},
          {"limit", or_null(facts.kv_pages_limit)},
          {"use", known ? Json(*facts.kv_pages / *facts.kv_pages_limit) : Json(nullptr)}};
}

Json first_token(const ServerFacts& facts) {
  const auto& buckets = facts.first_token;
  return {{"p50", or_null(quantile_of(buckets, 0.5))},
          {"p90", or_null(quantile_of(buckets, 0.9))},
          {"p99", or_null(quantile_of(buckets, 0.99))},
          {"count", buckets.empty() ? Json(nullptr) : Json(buckets.back().count)}};
}

Json burnin_json(const std::optional<BurninRate>& burnin) {
  if (!burnin) return nullptr;
  return {{"exact_rate", static_cast<double>(burnin->exact) / static_cast<double>(burnin->rounds)},
          {"exact", burnin->exact},
          {"rounds", burnin->rounds}};
}

}  // namespace

std::string stats_json(const Stats& s) {
  const auto& facts = s.scrape.facts;
  const Json json{
      {"scraped_at", milliseconds(s.scrape.time)},
      {"state", s.scrape.up ? "up" : "down"},
      {"last_seen", s.scrape.last_seen ? Json(milliseconds(*s.scrape.last_seen)) : Json(nullptr)},
      {"last_seen_age", s.scrape.last_seen ? Json(milliseconds(s.scrape.last_seen_age)) : Json(nullptr)},
      {"error", word_or_null(s.scrape.error)},
      {"tokps_recent", or_null(facts.tokens_a_second)},
      {"requests",
       {{"running", or_null(facts.running)}, {"total", or_null(facts.requests)}, {"failed", or_null(facts.failed)}}},
      {"queue", or_null(facts.queued)},
      {"kv", kv_use(facts)},
      {"ttft", first_token(facts)},
      {"temperature", {{"cpu", or_null(s.machine.cpu_celsius)}, {"gpu", or_null(s.machine.gpu_celsius)}}},
      {"power_profile", or_null(s.machine.power_profile)},
      {"model", word_or_null(facts.model)},
      {"version", word_or_null(facts.version)},
      {"isa", word_or_null(facts.isa)},
      {"burnin", burnin_json(s.burnin)},
      {"numbers", s.numbers},
  };
  return dumped(json);
}

void History::add(const Scrape& scrape) {
  if (!points_.empty() && scrape.time < points_.back().time) points_.clear();  // the machine's clock was set back
  if (!points_.empty() && scrape.time == points_.back().time) return;
  points_.push_back({scrape.time, scrape.up ? scrape.facts.tokens_a_second : std::nullopt});
  while (points_.front().time < scrape.time - kSeconds) points_.pop_front();
}

std::string History::json() const {
  auto all = Json::array();
  for (const auto& [time, value] : points_) all.push_back({milliseconds(time), or_null(value)});
  return dumped(all);
}

}  // namespace onebit::landing
