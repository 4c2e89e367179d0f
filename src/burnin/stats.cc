#include "burnin/stats.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <ctime>
#include <deque>
#include <nlohmann/json.hpp>

namespace onebit::burnin {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kLeastMs = 1e-3, kStep = 1.01;

std::string iso_time(double seconds) {
  const auto whole = static_cast<std::time_t>(seconds);
  std::tm utc{};
  ::gmtime_r(&whole, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday,
                     utc.tm_hour, utc.tm_min, utc.tm_sec);
}

bool is_miss(Verdict verdict) {
  return verdict == Verdict::kPrefixOnly || verdict == Verdict::kNoMatch;
}

/// Three digits are enough for long ones, and bound the memory.
uint64_t three_digits(uint64_t n) {
  uint64_t unit = 1;
  while (n / unit >= 1000) unit *= 10;
  return n / unit * unit;
}

void add(Stats& stats, const RoundNumbers& round, std::string_view line, PromptStats& prompt) {
  ++stats.rounds;
  ++stats.by_verdict[static_cast<size_t>(round.verdict)];
  if (stats.rounds == 1) stats.first_time = round.time;
  stats.last_time = std::max(stats.last_time, round.time);
  auto& hour = stats.hours[static_cast<int64_t>(round.time / 3600)];
  ++hour.rounds;
  ++prompt.rounds;
  if (round.verdict == Verdict::kExact) ++hour.exact;
  if (round.verdict != Verdict::kAUnreachable && round.verdict != Verdict::kBUnreachable) {
    stats.a.add(round.a_ms);
    stats.b.add(round.b_ms);
  }
  if (!is_miss(round.verdict)) return;
  ++prompt.misses;
  ++stats.prefixes[three_digits(round.prefix)];
  prompt.last_miss = parse_line(line);
}

}  // namespace

void LatencyHistogram::add(double ms) {
  const double steps = std::log(std::max(ms, kLeastMs) / kLeastMs) / std::log(kStep);
  ++counts_[static_cast<size_t>(std::clamp(steps, 0.0, kBuckets - 1.0))];
  ++count_;
}

double LatencyHistogram::quantile(double q) const {
  if (count_ == 0) return 0;
  const auto wanted = static_cast<uint64_t>(q * static_cast<double>(count_ - 1)) + 1;
  uint64_t seen = 0;
  size_t bucket = 0;
  while (bucket + 1 < counts_.size() && (seen += counts_[bucket]) < wanted) ++bucket;
  return kLeastMs * std::pow(kStep, static_cast<double>(bucket) + 0.5);
}

double Stats::exact_rate() const {
  const uint64_t answered = rounds - unreachable();
  return answered == 0 ? 0 : static_cast<double>(of(Verdict::kExact)) / static_cast<double>(answered);
}

uint64_t Stats::median_prefix() const {
  uint64_t seen = 0;
  for (const auto& [prefix, count] : prefixes)
    if (seen += count; 2 * seen >= misses()) return prefix;
  return 0;
}

std::vector<std::string> Stats::drifting() const {
  std::vector<std::string> names;
  for (const auto& [name, prompt] : prompts)
    if (prompt.misses > 0) names.push_back(name);
  std::sort(names.begin(), names.end(), [&](const auto& x, const auto& y) {
    const uint64_t of_x = prompts.at(x).misses, of_y = prompts.at(y).misses;
    return of_x != of_y ? of_x > of_y : x < y;
  });
  return names;
}

Result<Stats> read_stats(const std::string& path, double since) {
  Stats stats;
  // Prompts take turns, so the next is most often the one that followed last time.
  std::vector<std::pair<std::string, PromptStats*>> order;
  size_t at = 0;
  const auto prompt_of = [&](std::string_view name) -> PromptStats& {
    if (order.empty() || order[at].first != name) {
      const auto it = std::find_if(order.begin(), order.end(), [&](const auto& p) { return p.first == name; });
      at = static_cast<size_t>(it - order.begin());
      if (it == order.end()) order.emplace_back(name, &stats.prompts[std::string(name)]);
    }
    auto& found = *order[at].second;
    at = (at + 1) % order.size();
    return found;
  };
  ASSIGN_OR_RETURN(const auto read, read_log(path, since, [&](const RoundNumbers& round, std::string_view line) {
                     add(stats, round, line, prompt_of(round.prompt));
                   }));
  stats.damaged_lines = read.damaged;
  return stats;
}

Result<std::vector<Round>> recent(const std::string& path, size_t count) {
  std::deque<std::string> lines;
  RETURN_IF_ERROR(read_log(path, 0, [&](const RoundNumbers&, std::string_view line) {
    lines.emplace_back(line);
    if (lines.size() > count) lines.pop_front();
  }));
  std::vector<Round> rounds;
  for (const auto& line : lines)
    if (auto round = parse_line(line)) rounds.push_back(*std::move(round));
  return rounds;
}

Result<double> parse_when(const std::string& text, double now) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string unit(end, text.data() + text.size());
  const double seconds = unit == "s" ? 1 : unit == "m" ? 60 : unit == "h" ? 3600 : unit == "d" ? 86400 : 0;
  if (error == std::errc() && seconds > 0 && number >= 0) return now - number * seconds;
  for (const char* format : {"%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d"}) {
    std::tm utc{};
    const char* rest = ::strptime(text.c_str(), format, &utc);
    if (rest != nullptr && *rest == '\0') return static_cast<double>(::timegm(&utc));
  }
  return fail("'{}' is no time: expected 90m, 24h, 7d, 2026-11-23 or 2026-11-23T14:00 (UTC)", text);
}

std::string to_json(const Stats& s) {
  const auto side = [](const LatencyHistogram& h) -> Json {
    return {{"p50", h.quantile(0.5)}, {"p95", h.quantile(0.95)}};
  };
  Json root{{"rounds", s.rounds}};
  for (size_t i = 0; i < kVerdicts; ++i) root[std::string(name_of(static_cast<Verdict>(i)))] = s.by_verdict[i];
  root.update({{"exact_rate", s.exact_rate()},
               {"prompts", s.prompts.size()},
               {"median_prefix", s.misses() > 0 ? Json(s.median_prefix()) : Json()},
               {"a_ms", side(s.a)},
               {"b_ms", side(s.b)},
               {"first", iso_time(s.first_time)},
               {"last", iso_time(s.last_time)},
               {"damaged_lines", s.damaged_lines},
               {"drift", Json::array()},
               {"hours", Json::array()}});
  for (const auto& name : s.drifting()) {
    const auto& p = s.prompts.at(name);
    root["drift"].push_back({{"prompt", name},
                             {"rounds", p.rounds},
                             {"misses", p.misses},
                             {"share", static_cast<double>(p.misses) / static_cast<double>(s.misses())}});
  }
  for (const auto& [hour, h] : s.hours)
    root["hours"].push_back(
        {{"date", iso_time(static_cast<double>(hour) * 3600)}, {"rounds", h.rounds}, {"exact", h.exact}});
  return root.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace onebit::burnin
