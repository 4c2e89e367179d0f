// Prometheus' text format, as far as a scraper needs it: samples by name, with their labels. Any bytes may come.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace onebit::landing {

/// One line of the text: NAME{LABEL="VALUE",…} VALUE [TIMESTAMP].
struct Sample {
  std::string_view name;                                         // into the text
  std::vector<std::pair<std::string_view, std::string>> labels;  // values without their escapes
  double value = 0;                                              // may be infinite or NaN, as the format has it

  /// The value of a label; empty where there is none of that name.
  std::string_view label(std::string_view wanted) const;
};

/// Limits of one text: what is beyond them is left out.
inline constexpr size_t kMostLines = 20'000, kMostLineBytes = 4096, kMostLabels = 32;

struct MetricsRead {
  size_t samples = 0;
  size_t damaged = 0;  // lines that are neither a sample nor a comment
};

/// Calls `use` with each sample, in order. Lines that are none are counted and left out.
MetricsRead read_metrics(std::string_view text, const std::function<void(const Sample&)>& use);

/// The sample on one line, without its end; nothing where it is none.
std::optional<Sample> parse_sample(std::string_view line);

}  // namespace onebit::landing
