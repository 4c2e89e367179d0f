#include "box/power_profile.h"

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

#include <algorithm>
#include <cmath>

#include "base/http_client.h"
#include "base/mapped_file.h"
#include "base/utf8.h"
#include "box/builtin_profiles.h"

namespace onebit::box {
namespace {

struct Range {
  double low, high;
};
// What any box of this kind could mean: typing errors and wrong units are outside.
constexpr Range kWatts{5, 160}, kCelsius{60, 105}, kCounts{-40, -1}, kRounds{10, 1000000};

/// Reads one table; keeps the first fault, with its line.
class TableReader {
 public:
  TableReader(const toml::table& table, std::string name, const std::string& path, std::string& fault)
      : table_(table), name_(std::move(name)), path_(path), fault_(fault) {}

  /// Every key must be one of these.
  void allow(std::initializer_list<std::string_view> keys) {
    for (const auto& [key, node] : table_)
      if (std::find(keys.begin(), keys.end(), key.str()) == keys.end())
        wrong(key.source().begin.line, printable(key.str(), 80),
              fmt::format("is no key here; there are {}", fmt::join(keys, ", ")));
  }

  bool has(std::string_view key) const { return table_.contains(key); }

  std::optional<std::string> text(std::string_view key, size_t most) {
    const auto* node = table_.get(key);
    if (node == nullptr) return {};
    const auto value = node->value_exact<std::string>();
    if (!value || value->size() > most)
      wrong(line_of(node), key, fmt::format("expected a text of at most {} bytes", most));
    return value;
  }

  /// In `range`; `whole`: without a fraction.
  std::optional<double> number(std::string_view key, Range range, const char* unit, bool whole) {
    const auto* node = table_.get(key);
    if (node == nullptr) {
      wrong(line_of(&table_), key, fmt::format("is missing: {}", expected(range, unit, whole)));
      return {};
    }
    const auto value = node->is_number() ? node->value<double>() : std::nullopt;
    const bool sound = value && *value >= range.low && *value <= range.high && (!whole || *value == std::floor(*value));
    if (sound) return value;
    const auto seen = value ? fmt::format("is {}: ", *value) : std::string("is no number: ");
    wrong(line_of(node), key, seen + expected(range, unit, whole));
    return {};
  }

  /// KEY_w in watts or KEY_mw in milliwatts, as milliwatts.
  uint32_t milliwatts(const std::string& key) {
    const auto watts = key + "_w", milli = key + "_mw";
    if (has(watts) && has(milli)) {
      wrong(line_of(table_.get(milli)), milli, fmt::format("stands beside {}: give one of them", watts));
      return 0;
    }
    if (has(milli))
      return static_cast<uint32_t>(number(milli, {kWatts.low * 1000, kWatts.high * 1000}, "mW", true).value_or(0));
    return static_cast<uint32_t>(std::lround(number(watts, kWatts, "W", false).value_or(0) * 1000));
  }

  void wrong(size_t line, std::string_view key, std::string_view what) {
    if (fault_.empty()) fault_ = fmt::format("{}:{}: {}.{} {}", path_, line, name_, key, what);
  }
  size_t line_of(const toml::node* node) const { return node->source().begin.line; }
  size_t line_of(std::string_view key) const { return line_of(has(key) ? table_.get(key) : &table_); }

 private:
  static std::string expected(Range range, const char* unit, bool whole) {
    return fmt::format("expected a {} from {} to {}{}{}", whole ? "whole number" : "number", range.low, range.high,
                       *unit == '\0' ? "" : " ", unit);
  }

  const toml::table& table_;
  std::string name_;
  const std::string& path_;
  std::string& fault_;
};

Undervolt read_undervolt(const toml::table& table, const std::string& name, const std::string& path,
                         std::string& fault) {
  TableReader in(table, name, path, fault);
  in.allow({"curve_all", "a", "b", "rounds"});
  Undervolt undervolt;
  undervolt.curve_all = static_cast<int>(in.number("curve_all", kCounts, "counts", true).value_or(0));
  if (in.has("rounds")) undervolt.rounds = static_cast<uint64_t>(in.number("rounds", kRounds, "", true).value_or(0));
  for (const auto& [key, url] : {std::pair{"a", &undervolt.a}, {"b", &undervolt.b}}) {
    *url = in.text(key, 400).value_or("");
    if (url->empty())
      in.wrong(in.line_of(key), key, "is missing: the URL of a server that the check asks");
    else if (const auto client = HttpClient::open(*url, "", std::chrono::seconds(1)); !client)
      in.wrong(in.line_of(key), key, "is no URL of a server: " + client.error().message);
  }
  return undervolt;
}

PowerProfile read_profile(const toml::table& table, const std::string& name, const std::string& path,
                          std::string& fault) {
  TableReader in(table, name, path, fault);
  in.allow({"about", "stapm_w", "stapm_mw", "fast_w", "fast_mw", "slow_w", "slow_mw", "tctl_c", "undervolt"});
  PowerProfile profile;
  profile.name = name;
  profile.about = in.text("about", 200).value_or("");
  auto& limits = profile.limits;
  limits.stapm_mw = in.milliwatts("stapm");
  limits.slow_mw = in.milliwatts("slow");
  limits.fast_mw = in.milliwatts("fast");
  limits.tctl_c = static_cast<uint32_t>(in.number("tctl_c", kCelsius, "°C", true).value_or(0));
  const auto order = [&](const char* key, uint32_t below, uint32_t above, const char* higher) {
    if (below > above)
      in.wrong(in.line_of(in.has(fmt::format("{}_w", key)) ? fmt::format("{}_w", key) : fmt::format("{}_mw", key)), key,
               fmt::format("is {} W, above {}'s {} W: a limit over a longer time is no higher", below / 1e3, higher,
                           above / 1e3));
  };
  order("stapm", limits.stapm_mw, limits.slow_mw, "slow");
  order("slow", limits.slow_mw, limits.fast_mw, "fast");
  if (const auto* node = table.get("undervolt"); node != nullptr) {
    if (node->is_table())
      profile.undervolt = read_undervolt(*node->as_table(), name + ".undervolt", path, fault);
    else
      in.wrong(in.line_of(node), "undervolt", "expected a table with curve_all, a, b and rounds");
  }
  return profile;
}

}  // namespace

std::string text_of(const PowerLimits& limits) {
  return fmt::format("STAPM {:g} W, fast {:g} W, slow {:g} W, Tctl {} °C", limits.stapm_mw / 1e3, limits.fast_mw / 1e3,
                     limits.slow_mw / 1e3, limits.tctl_c);
}

Result<std::vector<PowerProfile>> parse_profiles(std::string_view text, const std::string& path) {
  const auto parsed = toml::parse(text, path);
  if (!parsed) return fail("{}:{}: {}", path, parsed.error().source().begin.line, parsed.error().description());
  std::vector<PowerProfile> profiles;
  std::string fault;
  for (const auto& [key, node] : parsed.table()) {
    const std::string name(key.str());
    if (std::find(kProfileNames.begin(), kProfileNames.end(), name) == kProfileNames.end())
      return fail("{}:{}: {} is no profile; there are {}", path, key.source().begin.line, printable(name, 80),
                  fmt::join(kProfileNames, ", "));
    if (!node.is_table())
      return fail("{}:{}: {} is no table: expected [{}] and its limits below", path, key.source().begin.line, name,
                  name);
    profiles.push_back(read_profile(*node.as_table(), name, path, fault));
    if (!fault.empty()) return tl::unexpected(Error{fault});
  }
  return profiles;
}

Result<std::vector<PowerProfile>> load_profiles(const std::string& file) {
  constexpr size_t kMostBytes = 1 << 20;
  ASSIGN_OR_RETURN(auto builtin, parse_profiles(kBuiltinProfiles, "the profiles built in"));
  std::vector<PowerProfile> own;
  if (!file.empty()) {
    ASSIGN_OR_RETURN(const auto text, read_text_file(file, kMostBytes));
    ASSIGN_OR_RETURN(own, parse_profiles(text, file));
  }
  std::vector<PowerProfile> profiles;
  for (const auto name : kProfileNames)
    for (const auto* from : {&own, &builtin}) {
      const auto found =
          std::find_if(from->begin(), from->end(), [&](const PowerProfile& profile) { return profile.name == name; });
      if (found == from->end()) continue;
      profiles.push_back(*found);
      break;
    }
  return profiles;
}

}  // namespace onebit::box
