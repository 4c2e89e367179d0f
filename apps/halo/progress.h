// A progress bar on a terminal; nothing elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>

namespace onebit::halo {

class ProgressBar {
 public:
  ProgressBar();
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  /// Redraws at most ten times a second; `done` and `total` are bytes.
  void update(uint64_t done, uint64_t total, std::string_view what);

 private:
  bool active_;  // standard error is a terminal
  bool drawn_ = false;
  std::chrono::steady_clock::time_point begin_, last_;
};

/// Lines on standard error of which only the last matters: each takes the place of the one before on a terminal.
class StatusLine {
 public:
  StatusLine();
  ~StatusLine();
  StatusLine(const StatusLine&) = delete;
  StatusLine& operator=(const StatusLine&) = delete;
  void show(std::string_view text);

 private:
  bool terminal_;
  bool drawn_ = false;
};

}  // namespace onebit::halo
