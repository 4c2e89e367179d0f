#include "landing/metrics_text.h"

#include <algorithm>
#include <charconv>
#include <limits>

namespace onebit::landing {
namespace {

bool is_space(char c) {
  return c == ' ' || c == '\t';
}

bool begins_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':';
}

/// Takes a line apart from its front.
class Scanner {
 public:
  explicit Scanner(std::string_view line) : rest_(line) {}

  bool done() const { return rest_.empty(); }
  void skip_spaces() {
    while (!rest_.empty() && is_space(rest_.front())) rest_.remove_prefix(1);
  }
  bool literal(char c) {
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  /// Empty where none begins here.
  std::string_view name() {
    if (rest_.empty() || !begins_name(rest_.front())) return {};
    size_t end = 1;
    while (end < rest_.size() && (begins_name(rest_[end]) || (rest_[end] >= '0' && rest_[end] <= '9'))) ++end;
    return take(end);
  }
  /// What stands until a space; empty at the end.
  std::string_view word() {
    size_t end = 0;
    while (end < rest_.size() && !is_space(rest_[end])) ++end;
    return take(end);
  }
  /// A label's value with both quotes.
  std::optional<std::string> quoted() {
    if (!literal('"')) return std::nullopt;
    std::string value;
    while (!rest_.empty()) {
      const char c = take(1).front();
      if (c == '"') return value;
      if (c != '\\') {
        value += c;
        continue;
      }
      if (rest_.empty()) return std::nullopt;
      const char escaped = take(1).front();
      if (escaped != 'n' && escaped != '"' && escaped != '\\') return std::nullopt;
      value += escaped == 'n' ? '\n' : escaped;
    }
    return std::nullopt;
  }

 private:
  std::string_view take(size_t count) {
    const auto taken = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return taken;
  }

  std::string_view rest_;
};

std::optional<double> number(std::string_view word) {
  const bool negative = word.starts_with('-');
  const auto digits = negative || word.starts_with('+') ? word.substr(1) : word;
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (digits == "Inf") return negative ? -kInfinity : kInfinity;
  if (digits == "NaN") return std::numeric_limits<double>::quiet_NaN();
  if (digits.empty() || !((digits[0] >= '0' && digits[0] <= '9') || digits[0] == '.')) return std::nullopt;  // "inf"
  double value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return negative ? -value : value;
}

/// The labels up to and with their closing brace.
bool read_labels(Scanner& line, Sample& sample) {
  line.skip_spaces();
  while (!line.literal('}')) {
    const auto name = line.name();
    line.skip_spaces();
    if (name.empty() || !line.literal('=')) return false;
    line.skip_spaces();
    auto value = line.quoted();
    if (!value || sample.labels.size() == kMostLabels) return false;
    sample.labels.emplace_back(name, *std::move(value));
    line.skip_spaces();
    if (line.literal(',')) {
      line.skip_spaces();
    } else if (!line.literal('}')) {
      return false;
    } else {
      return true;
    }
  }
  return true;
}

}  // namespace

std::string_view Sample::label(std::string_view wanted) const {
  for (const auto& [name_of_label, text] : labels)
    if (name_of_label == wanted) return text;
  return {};
}

std::optional<Sample> parse_sample(std::string_view text) {
  if (text.size() > kMostLineBytes) return std::nullopt;
  Scanner line(text);
  Sample sample;
  line.skip_spaces();
  sample.name = line.name();
  if (sample.name.empty()) return std::nullopt;
  line.skip_spaces();
  if (line.literal('{') && !read_labels(line, sample)) return std::nullopt;
  line.skip_spaces();
  const auto value = number(line.word());
  if (!value) return std::nullopt;
  sample.value = *value;
  line.skip_spaces();
  const auto timestamp = line.word();
  line.skip_spaces();
  if (!line.done() || (!timestamp.empty() && !number(timestamp))) return std::nullopt;
  return sample;
}

MetricsRead read_metrics(std::string_view text, const std::function<void(const Sample&)>& use) {
  MetricsRead read;
  for (size_t lines = 0; !text.empty() && lines < kMostLines; ++lines) {
    const auto end = std::min(text.find('\n'), text.size());
    auto line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    const auto first = std::find_if_not(line.begin(), line.end(), is_space);
    if (first == line.end() || *first == '#') continue;
    if (const auto sample = parse_sample(line)) {
      ++read.samples;
      use(*sample);
    } else {
      ++read.damaged;
    }
  }
  return read;
}

}  // namespace onebit::landing
