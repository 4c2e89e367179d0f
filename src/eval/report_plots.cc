// What the records show as pictures.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "eval/report_parts.h"

namespace onebit {
namespace {

using nlohmann::json;

constexpr size_t kMostSeries = 12;

/// Entries of an array; none where it is something else.
const json& entries(const json& value) {
  static const json kNone = json::array();
  return value.is_array() ? value : kNone;
}

/// A results value, or null without the record.
const json& results_of(const std::vector<Record>& records, const char* name) {
  static const json kNull;
  const auto* record = find_record(records, name);
  return record == nullptr ? kNull : *record->results;
}

Plot throughput(const json& results) {
  Plot plot{"Decode by context",
            "positions held before; thin lines: lowest to highest of the rounds",
            "tokens a second",
            false,
            {"64", "1024"},
            {},
            1,
            0,
            "benchmarks/bench.sh"};
  for (const auto& entry : entries(results)) {
    if (text_cell(member(entry, "name")) != "decode") continue;
    const auto name = text_cell(member(entry, "packing")) + ", " + text_cell(member(entry, "kv")) + " KV";
    const auto depth = text_cell(member(entry, "n_depth"));
    auto series = std::find_if(plot.series.begin(), plot.series.end(), [&](const auto& s) { return s.name == name; });
    if (series == plot.series.end()) {
      if (plot.series.size() == kMostSeries) continue;
      series = plot.series.emplace(series);
      series->name = name;
      series->values.resize(plot.labels.size());
      series->ranges.resize(plot.labels.size());
    }
    for (size_t i = 0; i < plot.labels.size(); ++i) {
      if (plot.labels[i] != depth) continue;
      series->values[i] = number_of(member(entry, "tokens_s"));
      series->ranges[i] = range_of(member(entry, "seen"));
    }
  }
  return plot;
}

Plot rooflines(const json& results) {
  Plot plot{"Decode as a fraction of its limit",
            "",
            "bytes of a token times tokens a second, over the read bandwidth",
            true,
            {},
            {},
            3,
            1,
            "benchmarks/roofline.sh"};
  for (const auto& entry : entries(results)) {
    plot.labels.push_back(fmt::format("{}, {} threads, {} KV, {}", text_cell(member(entry, "packing")),
                                      text_cell(member(entry, "threads")), text_cell(member(entry, "kv")),
                                      text_cell(member(entry, "depth"))));
    if (plot.series.empty()) plot.series.emplace_back();
    plot.series.front().values.push_back(number_of(member(entry, "token_fraction")));
  }
  return plot;
}

Plot perplexities(const json& results) {
  Plot plot{"Perplexity by configuration", "", "perplexity; lower is better", true, {}, {}, 4, 0,
            "benchmarks/ppl-gen2.sh"};
  for (const auto& entry : entries(member(results, "configurations"))) {
    plot.labels.push_back(fmt::format("{}, {}, {} KV, {} head", text_cell(member(entry, "engine")),
                                      text_cell(member(entry, "packing")), text_cell(member(entry, "kv")),
                                      text_cell(member(entry, "head"))));
    if (plot.series.empty()) plot.series.emplace_back();
    plot.series.front().values.push_back(number_of(member(entry, "token_perplexity")));
  }
  return plot;
}

/// "2026-01-31T12" of whatever follows it.
std::string hour_of(const json& hour) {
  return text_cell(member(hour, "date")).substr(0, 13);
}

/// "01-31 12 h".
std::string short_hour(const std::string& hour) {
  return hour.size() < 13 ? hour : hour.substr(5, 5) + " " + hour.substr(11) + " h";
}

/// The hours of all pairs on one axis, in the order of their dates.
Plot burn_in(const json& results) {
  Plot plot{"Burn-in over time",          "UTC", "% of rounds that were exact", false, {}, {}, 2, 100,
            "benchmarks/shadow-burnin.sh"};
  const auto& pairs = entries(member(results, "pairs"));
  std::map<std::string, size_t> hours;
  for (const auto& pair : pairs)
    for (const auto& hour : entries(member(pair, "hours"))) hours.emplace(hour_of(hour), 0);
  for (auto& [hour, index] : hours) {
    index = plot.labels.size();
    plot.labels.push_back(short_hour(hour));
  }
  for (const auto& pair : pairs) {
    if (plot.series.size() == kMostSeries) break;
    std::vector<double> exact(hours.size()), rounds(hours.size());
    for (const auto& hour : entries(member(pair, "hours"))) {
      const size_t index = hours[hour_of(hour)];
      exact[index] += number_of(member(hour, "exact")).value_or(0);
      rounds[index] += number_of(member(hour, "rounds")).value_or(0);
    }
    PlotSeries series{text_cell(member(pair, "name")), std::vector<std::optional<double>>(hours.size()), {}};
    for (size_t i = 0; i < hours.size(); ++i)
      if (rounds[i] > 0) series.values[i] = 100 * exact[i] / rounds[i];
    plot.series.push_back(std::move(series));
  }
  return plot;
}

}  // namespace

std::vector<Plot> report_plots(const std::vector<Record>& records) {
  return {throughput(results_of(records, "bench")), rooflines(results_of(records, "roofline")),
          perplexities(results_of(records, "ppl-gen2")), burn_in(results_of(records, "burnin"))};
}

}  // namespace onebit
