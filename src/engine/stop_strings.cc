#include "engine/stop_strings.h"

#include <algorithm>
#include <utility>

namespace onebit {

StopStrings::StopStrings(std::vector<std::string> stops, std::string last)
    : stops_(std::move(stops)), last_(std::move(last)) {
  std::erase_if(stops_, [](const std::string& s) { return s.empty(); });
}

std::string StopStrings::push(std::string_view piece) {
  if (matched_) return {};
  held_ += piece;
  size_t first = std::string::npos;  // of the earliest complete stop string
  for (const auto& stop : stops_) {
    const size_t at = held_.find(stop);
    if (at >= first) continue;
    first = at;
    match_ = stop;
  }
  if (const size_t at = last_.empty() ? std::string::npos : held_.find(last_); at < first) {
    stops_.clear();
    last_.clear();
    match_.clear();
    return std::exchange(held_, {});
  }
  if (first != std::string::npos) {
    matched_ = true;
    held_.resize(first);
    return std::exchange(held_, {});
  }
  size_t keep = 0;  // the longest end of the text with which a stop string begins, or the last text
  const auto hold = [&](std::string_view begun) {
    for (size_t n = std::min(begun.size() - 1, held_.size()); n > keep; --n)
      if (std::string_view(held_).substr(held_.size() - n) == begun.substr(0, n)) keep = n;
  };
  for (const auto& stop : stops_) hold(stop);
  if (!stops_.empty() && !last_.empty()) hold(last_);
  auto certain = held_.substr(0, held_.size() - keep);
  held_.erase(0, certain.size());
  return certain;
}

std::string StopStrings::finish() {
  return matched_ ? std::string() : std::exchange(held_, {});
}

}  // namespace onebit
