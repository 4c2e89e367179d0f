// Another program that reads a text and writes an answer, and that may die, hang or flood.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace onebit {

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

/// A program that reads as long as one writes: what plays sound.
class ProcessInput {
 public:
  static Result<ProcessInput> start(const std::vector<std::string>& program);
  ProcessInput(ProcessInput&&) noexcept;
  ProcessInput& operator=(ProcessInput&&) noexcept;
  /// Ends it at once where it has not ended.
  ~ProcessInput();

  /// Waits until all is taken, or `stop`. Errors: it has ended.
  Status write(std::string_view bytes, const std::stop_token& stop);
  /// Nothing more comes: waits until it has ended by itself, or `stop`.
  Status finish(const std::stop_token& stop);

 private:
  struct Impl;
  explicit ProcessInput(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace onebit
