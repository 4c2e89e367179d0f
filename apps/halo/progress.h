// Progress on a terminal; nothing elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>

#include "hub/rate.h"

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

/// The same of what comes from elsewhere, at a pace that changes: with its rate and the time that is left.
class TransferBar {
 public:
  TransferBar();
  ~TransferBar();
  TransferBar(const TransferBar&) = delete;
  TransferBar& operator=(const TransferBar&) = delete;

  /// `phase`: what is being done with `what`.
  void update(uint64_t done, uint64_t total, std::string_view phase, std::string_view what);

 private:
  bool active_;
  bool drawn_ = false;
  hub::RateMeter meter_;
  std::chrono::steady_clock::time_point last_;
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
