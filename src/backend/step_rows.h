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
};

/// Everything an item can have wrong, before anything changes.
Status check_batch(const ModelConfig& config, std::span<const BatchItem> batch);

/// The rows in the order of the batch; those of one sequence stand together. Fills logits.first_row.
std::vector<StepRow> rows_of(std::span<const BatchItem> batch, Logits& logits);

}  // namespace onebit
