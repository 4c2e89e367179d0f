#include "backend/step_rows.h"

#include <algorithm>

namespace onebit {

Status check_batch(const ModelConfig& config, std::span<const BatchItem> batch, bool gives_states) {
  for (size_t i = 0; i < batch.size(); ++i) {
    const auto& item = batch[i];
    if (item.tokens.empty()) return fail("a sequence of the batch has no new token");
    for (size_t j = 0; j < i; ++j)
      if (batch[j].kv == item.kv) return fail("a sequence stands twice in one batch");
    for (const TokenId token : item.tokens)
      if (token < 0 || static_cast<uint32_t>(token) >= config.vocabulary)
        return fail("token id {} is outside the vocabulary of {}", token, config.vocabulary);
    if (item.tokens.size() > config.context - item.kv->length())
      return fail("{} tokens are more than the model's context of {}", item.kv->length() + item.tokens.size(),
                  config.context);
    if (item.best > 0 && item.rows != LogitRows::kLast) return fail("the best logits are those of the last row only");
    if (item.states != LogitRows::kNone && !gives_states) return fail("this device tells no states of tokens");
    if (item.best > kMostBest) return fail("the {} best logits are more than {}", item.best, kMostBest);
  }
  return {};
}

std::vector<StepRow> rows_of(const ModelConfig& config, std::span<const BatchItem> batch, Logits& logits) {
  std::vector<StepRow> rows;
  const auto wants_row = [](LogitRows which, bool last) {
    return which == LogitRows::kAll || (which == LogitRows::kLast && last);
  };
  uint32_t wanted = 0, best = 0, states = 0;
  logits.vocabulary = config.vocabulary;
  logits.first_row = {0};
  logits.best.clear();
  logits.first_best = {0};
  logits.hidden = config.hidden;
  logits.first_state = {0};
  for (const auto& item : batch) {
    const uint32_t begin = item.kv->length();
    for (size_t i = 0; i < item.tokens.size(); ++i) {
      const bool last = i + 1 == item.tokens.size();
      const bool wants = wants_row(item.rows, last), state = wants_row(item.states, last);
      rows.push_back({item.kv, item.tokens[i], begin + static_cast<uint32_t>(i), wants, wants ? item.best : 0, state});
      states += state;
      wanted += wants && item.best == 0;
    }
    best += std::min(item.best, config.vocabulary);
    logits.first_row.push_back(wanted);
    logits.first_best.push_back(best);
    logits.first_state.push_back(states);
  }
  logits.states.resize(size_t{states} * config.hidden);
  return rows;
}

}  // namespace onebit
