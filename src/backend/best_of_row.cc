#include "backend/best_of_row.h"

#include <algorithm>
#include <bit>
#include <cstdint>

namespace onebit {

float largest(std::span<const float> values) {
  // As integers that are ordered like floats: compilers make vectors of that, and of a comparison of floats, which NaN
  // could be among, they do not.
  const auto ordered = [](int32_t bits) { return bits ^ ((bits >> 31) & 0x7fffffff); };
  int32_t most = INT32_MIN;
  for (const float v : values) most = std::max(most, ordered(std::bit_cast<int32_t>(v)));
  return std::bit_cast<float>(ordered(most));
}

void select_best(std::span<const float> logits, uint32_t k, std::vector<Logits::Candidate>& out) {
  constexpr size_t kBlock = 256;
  const size_t begin = out.size(), full = begin + std::min<size_t>(k, logits.size());
  if (full == begin) return;
  for (size_t at = 0; at < logits.size(); at += kBlock) {
    const auto block = logits.subspan(at, std::min(kBlock, logits.size() - at));
    // Most blocks have nothing for those that are full already.
    if (out.size() == full && !(largest(block) > out.back().logit)) continue;
    for (size_t i = 0; i < block.size(); ++i) {
      if (out.size() == full && !(block[i] > out.back().logit)) continue;
      if (out.size() == full) out.pop_back();
      // Behind its equals, whose ids are lower.
      const auto place = std::upper_bound(out.begin() + static_cast<std::ptrdiff_t>(begin), out.end(), block[i],
                                          [](float l, const Logits::Candidate& c) { return l > c.logit; });
      out.insert(place, {static_cast<TokenId>(at + i), block[i]});
    }
  }
}

size_t logit_rows(std::span<const StepRow> rows) {
  return static_cast<size_t>(std::count_if(rows.begin(), rows.end(), [](const auto& row) { return row.wants_logits; }));
}

void take_wanted(std::span<const StepRow> rows, std::span<const float> computed, Logits& logits) {
  logits.values.clear();
  logits.best.reserve(logits.first_best.back());
  for (const auto& row : rows) {
    if (!row.wants_logits) continue;
    const auto values = computed.first(logits.vocabulary);
    computed = computed.subspan(logits.vocabulary);
    if (row.best > 0)
      select_best(values, row.best, logits.best);
    else
      logits.values.insert(logits.values.end(), values.begin(), values.end());
  }
}

}  // namespace onebit
