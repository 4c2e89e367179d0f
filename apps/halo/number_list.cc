#include "halo/number_list.h"

#include <charconv>

#include "base/utf8.h"

namespace onebit::halo {
namespace {

constexpr size_t kMost = 1000;

bool take_number(std::string_view& text, uint32_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return true;
}

bool take(std::string_view& text, char c) {
  if (text.empty() || text.front() != c) return false;
  text.remove_prefix(1);
  return true;
}

/// One part between commas.
bool add_part(std::string_view part, std::vector<uint32_t>& numbers) {
  uint32_t first = 0, last = 0, step = 1;
  if (!take_number(part, first)) return false;
  last = first;
  bool by_factor = false;
  if (take(part, '-')) {
    if (!take_number(part, last) || last < first) return false;
    by_factor = take(part, '*');
    if ((by_factor || take(part, '+')) && !take_number(part, step)) return false;
    if (step < (by_factor ? 2u : 1u) || (by_factor && first == 0)) return false;
  }
  if (!part.empty()) return false;
  for (uint64_t n = first; n <= last && numbers.size() <= kMost; n = by_factor ? n * step : n + step)
    numbers.push_back(static_cast<uint32_t>(n));
  return true;
}

}  // namespace

Result<std::vector<uint32_t>> parse_number_list(std::string_view text) {
  std::vector<uint32_t> numbers;
  for (std::string_view rest = text;;) {
    const size_t comma = rest.find(',');
    if (!add_part(rest.substr(0, comma), numbers))
      return fail("'{}' is no list of numbers such as 1,2,4 or 1-4 or 64-512*2", printable(text));
    if (comma == std::string_view::npos) break;
    rest.remove_prefix(comma + 1);
  }
  if (numbers.size() > kMost) return fail("'{}' are more than {} numbers", printable(text), kMost);
  return numbers;
}

}  // namespace onebit::halo
