#include "burnin/gate.h"

#include <CLI/Config.hpp>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

namespace onebit::burnin {
namespace {

using nlohmann::json;

struct Key {
  const char* section;
  const char* name;
  std::optional<double> Thresholds::* value;
};

constexpr Key kKeys[] = {{"perplexity", "max_delta", &Thresholds::max_perplexity_delta},
                         {"perplexity", "max_nll_delta", &Thresholds::max_nll_delta},
                         {"perplexity", "min_windows", &Thresholds::min_windows},
                         {"burnin", "min_exact_rate", &Thresholds::min_exact_rate},
                         {"burnin", "min_rounds", &Thresholds::min_rounds},
                         {"burnin", "max_unreachable_rate", &Thresholds::max_unreachable_rate},
                         {"latency", "max_gap_p50_ms", &Thresholds::max_gap_p50_ms},
                         {"latency", "max_gap_p95_ms", &Thresholds::max_gap_p95_ms}};

Status set(Thresholds& thresholds, const CLI::ConfigItem& item) {
  for (const auto& key : kKeys) {
    if (item.parents != std::vector<std::string>{key.section} || item.name != key.name) continue;
    char* end = nullptr;
    const auto text = item.inputs.size() == 1 ? item.inputs[0] : std::string();
    const double value = std::strtod(text.c_str(), &end);
    if (text.empty() || *end != '\0' || !(value >= 0))
      return fail("{} is '{}', expected a number from 0 on", item.fullname(), text);
    if (thresholds.*key.value) return fail("{} is there twice", item.fullname());
    thresholds.*key.value = value;
    return {};
  }
  return fail("{} is no threshold", item.fullname());
}

Result<json> read_ppl(const std::string& path) {
  std::ifstream file(path);
  if (!file) return fail("{}: cannot be read", path);
  auto root = json::parse(file, nullptr, false);
  const auto windows = root.is_object() ? root.find("windows") : root.end();
  if (!root.is_object() || windows == root.end() || !windows->is_array())
    return fail("{}: is no result of halo ppl --json", path);
  for (const auto& w : *windows)
    if (!w.is_object() || !w.value("tokens", json()).is_number_unsigned() || !w.value("nll", json()).is_number())
      return fail("{}: a window has no tokens or no nll", path);
  return root;
}

/// Whether a figure is on the right side of a threshold, in a line.
Check compare_figure(const char* name, double figure, double threshold, bool at_most) {
  const bool passed = at_most ? figure <= threshold : figure >= threshold;
  return {passed, fmt::format("{} is {:.12g}, {} {} {:.12g}", name, figure, passed ? "as wanted" : "not",
                              at_most ? "at most" : "at least", threshold)};
}

}  // namespace

Result<Thresholds> read_thresholds(const std::string& path) {
  std::ifstream file(path);
  if (!file) return fail("{}: cannot be read", path);
  std::vector<CLI::ConfigItem> items;
  try {
    items = CLI::ConfigTOML().from_config(file);
  } catch (const CLI::Error& error) {
    return fail("{}: {}", path, error.what());
  }
  Thresholds thresholds;
  bool any = false;
  for (const auto& item : items) {
    if (item.name == "++" || item.name == "--") continue;  // begin and end of a section
    if (auto status = set(thresholds, item); !status) return fail_in(path, status.error());
    any = true;
  }
  if (!any) return fail("{}: has no threshold: everything would pass", path);
  return thresholds;
}

Result<PerplexityPair> compare_perplexity(const std::string& a_path, const std::string& b_path) {
  ASSIGN_OR_RETURN(const auto a, read_ppl(a_path));
  ASSIGN_OR_RETURN(const auto b, read_ppl(b_path));
  for (const char* same : {"text", "window", "stride", "bos", "kv", "head"})
    if (!a.contains(same) || !b.contains(same) || a[same] != b[same])
      return fail("{} and {}: differ in their {}, or lack it: they cannot be compared", a_path, b_path, same);
  PerplexityPair pair;
  pair.windows = std::min(a["windows"].size(), b["windows"].size());
  double a_nll = 0, b_nll = 0, tokens = 0;
  for (size_t i = 0; i < pair.windows; ++i) {
    const auto &wa = a["windows"][i], &wb = b["windows"][i];
    const double na = wa["nll"].get<double>(), nb = wb["nll"].get<double>();
    if (wa["tokens"] != wb["tokens"]) return fail("{} and {}: window {} has other tokens", a_path, b_path, i);
    pair.nll_delta = std::max(pair.nll_delta, std::abs(na - nb));
    a_nll += na;
    b_nll += nb;
    tokens += wa["tokens"].get<double>();
  }
  if (pair.windows > 0) pair.delta = std::abs(std::exp(a_nll / tokens) - std::exp(b_nll / tokens));
  return pair;
}

std::vector<Check> check(const Thresholds& t, const std::optional<PerplexityPair>& ppl,
                         const std::optional<Stats>& burnin) {
  std::vector<Check> checks;
  const auto add = [&](const char* name, const std::optional<double>& threshold, bool known, auto figure,
                       bool at_most) {
    if (!threshold) return;
    checks.push_back(known ? compare_figure(name, figure(), *threshold, at_most)
                           : Check{false, fmt::format("{} is asked for, and there is no result of it", name)});
  };
  const bool has_ppl = ppl && ppl->windows > 0, has_rounds = burnin && burnin->rounds > 0,
             answered = has_rounds && burnin->rounds > burnin->unreachable();
  add("difference of perplexities", t.max_perplexity_delta, has_ppl, [&] { return ppl->delta; }, true);
  add("largest difference of a window's sum", t.max_nll_delta, has_ppl, [&] { return ppl->nll_delta; }, true);
  add("windows scored by both", t.min_windows, has_ppl, [&] { return static_cast<double>(ppl->windows); }, false);
  add("exact rate", t.min_exact_rate, answered, [&] { return burnin->exact_rate(); }, false);
  add(
      "rounds", t.min_rounds, has_rounds, [&] { return static_cast<double>(burnin->rounds - burnin->unreachable()); },
      false);
  const auto unreachable = [&] {
    return static_cast<double>(burnin->unreachable()) / static_cast<double>(burnin->rounds);
  };
  add("unreachable rate", t.max_unreachable_rate, has_rounds, unreachable, true);
  const auto gap = [&](double q) { return [&burnin, q] { return burnin->b.quantile(q) - burnin->a.quantile(q); }; };
  add("latency gap at p50, ms", t.max_gap_p50_ms, answered, gap(0.5), true);
  add("latency gap at p95, ms", t.max_gap_p95_ms, answered, gap(0.95), true);
  if (burnin && burnin->damaged_lines > 0)
    checks.push_back(
        {false, fmt::format("{} lines of the log are damaged: what they said is not known", burnin->damaged_lines)});
  return checks;
}

}  // namespace onebit::burnin
