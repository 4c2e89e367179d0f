// Shadow burn-in: the same requests to two endpoints, round after round, and what became of each in a log.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "burnin/log.h"
#include "burnin/prompts.h"

namespace onebit::burnin {

struct RunOptions {
  std::string a, b;          // URLs
  std::string a_key, b_key;  // API keys, or empty
  std::string log;           // path; grows
  std::vector<Prompt> prompts;
  uint64_t rounds = 0;                 // then end; 0: until `stop`
  uint32_t parallel = 1;               // rounds under way at once
  uint32_t max_tokens = 0;             // of an answer, at most; 0: what the prompts say
  bool logprobs = false;               // ask for log-probabilities every time: they count for "exact" then
  std::chrono::milliseconds every{0};  // at least from one round's begin to the next's
  std::chrono::milliseconds timeout{120000};
};

struct RunResult {
  uint64_t rounds = 0, exact = 0;
  uint64_t repaired_bytes = 0;  // of an unfinished line that an earlier run left
};

/// Goes on where the log ends. A and B take turns in being asked first. While one is unreachable, rounds come ever more
/// rarely, to one a minute. `stop` ends it after the rounds under way. `progress`: after each round, by one thread at a
/// time. Errors: a URL, the log, no prompts; endpoints' failures are results.
Result<RunResult> run(const RunOptions& options, const std::atomic<bool>& stop,
                      const std::function<void(const Round&, const RunResult&)>& progress = {});

}  // namespace onebit::burnin
