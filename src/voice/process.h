// Another program that reads a text and writes an answer, and that may die, hang or flood.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace onebit::voice {

struct ProcessBounds {
  std::chrono::milliseconds timeout{20000};  // until it has ended
  uint64_t most_bytes = 64 << 20;            // of its output
  std::stop_token stop{};
};

/// Runs `program` (the first is sought in $PATH) with `input` as its standard input, and gives the sink its standard
/// output as it comes; false from the sink ends it, which is no error, and neither is `stop`. Errors: it is not there,
/// it fails, takes longer or writes more than allowed. Whatever happens, it and what it started in its process group
/// have ended afterwards, and nothing is left to wait for.
Status run_process(const std::vector<std::string>& program, std::string_view input,
                   const std::function<bool(std::string_view output)>& sink, const ProcessBounds& bounds);

}  // namespace onebit::voice
