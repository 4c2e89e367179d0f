// The largest logits of a row, and what a step computed made into what was asked of it.
#pragma once

#include <span>
#include <vector>

#include "backend/step_rows.h"

namespace onebit {

/// The largest value of at least one; with NaN among them a NaN or the largest, never a crash.
float largest(std::span<const float> values);

/// Appends the k largest with their ids, descending, ties to the lower id; all where there are fewer. None may be NaN.
void select_best(std::span<const float> logits, uint32_t k, std::vector<Logits::Candidate>& out);

/// Rows that want logits, which is how many a step computes.
size_t logit_rows(std::span<const StepRow> rows);

/// From all that a step computed, [rows that want logits][vocabulary], the rows and the best that are wanted.
/// `logits` is as rows_of() left it.
void take_wanted(std::span<const StepRow> rows, std::span<const float> computed, Logits& logits);

}  // namespace onebit
