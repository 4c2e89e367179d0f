#include "engine/lookup.h"

#include <algorithm>

namespace onebit {

std::vector<TokenId> draft_by_lookup(std::span<const TokenId> tokens, uint32_t most) {
  constexpr size_t kLongest = 4, kShortest = 2;
  if (most == 0) return {};
  for (size_t n = kLongest; n >= kShortest; --n) {
    if (tokens.size() <= n) continue;
    const auto pattern = tokens.last(n);
    for (size_t end = tokens.size() - 1; end >= n; --end)  // where the earlier occurrence ends
      if (std::equal(pattern.begin(), pattern.end(), tokens.begin() + static_cast<std::ptrdiff_t>(end - n))) {
        const auto next = tokens.subspan(end, std::min<size_t>(most, tokens.size() - end));
        return {next.begin(), next.end()};
      }
  }
  return {};
}

uint32_t DraftLength::next(uint32_t most) {
  if (rest_ == 0) return std::min(length_, most);
  --rest_;
  return 0;
}

void DraftLength::met(uint32_t drafted, uint32_t accepted) {
  constexpr uint32_t kLongest = 64, kLongestRest = 32;
  if (drafted == 0) return;
  length_ = accepted == drafted ? std::min(kLongest, 2 * length_) : accepted + 1;
  rests_ = accepted > 0 ? 0 : std::min(kLongestRest, 2 * rests_ + 1);
  rest_ = rests_;
}

}  // namespace onebit
