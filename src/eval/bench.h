// How fast a backend is: prompts and answers of given lengths, at given depths and batch sizes.
#pragma once

#include <functional>
#include <vector>

#include "backend/backend.h"

namespace onebit {

struct BenchCase {
  uint32_t prompt = 0;  // tokens computed in one go; 0: none
  uint32_t answer = 0;  // tokens computed one by one in each sequence; 0: none
  uint32_t depth = 0;   // positions that each sequence holds before
  uint32_t batch = 1;   // sequences
};

struct BenchResult {
  std::vector<double> seconds;  // of each repetition
  uint64_t tokens = 0;          // of one, over all sequences
  double mean() const;          // tokens per second
  double deviation() const;     // standard deviation of tokens per second over the repetitions
  double median() const;
};

/// Runs a case once unmeasured, then `repetitions` times. Errors are the backend's, or a context too short.
Result<BenchResult> run_bench(Backend& backend, const BenchCase& wanted, uint32_t repetitions,
                              const std::function<void(uint32_t done)>& progress = {});

}  // namespace onebit
