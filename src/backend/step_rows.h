// A batch as the rows of a step: one row a new token.
#pragma once

#include <vector>

#include "backend/backend.h"

namespace onebit {

struct StepRow {
  KvCache* kv;
  TokenId token;
  uint32_t position;
  bool wants_logits;
  uint32_t best = 0;  // of the logits, where not all are wanted; 0: all
  bool wants_state = false;
};

/// Everything an item can have wrong, before anything changes.
Status check_batch(const ModelConfig& config, std::span<const BatchItem> batch, bool gives_states = false);

/// The rows in the order of the batch; those of one sequence stand together. Fills all of `logits` but its values, its
/// best and its states, which have room for what is wanted or are empty.
std::vector<StepRow> rows_of(const ModelConfig& config, std::span<const BatchItem> batch, Logits& logits);

}  // namespace onebit
