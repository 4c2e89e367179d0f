#include "halo/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>

namespace onebit::halo {
namespace {

/// "[######........]".
std::string bar_text(double share) {
  constexpr size_t kWidth = 30;
  const auto filled = std::min(kWidth, static_cast<size_t>(share * kWidth));
  return fmt::format("[{}{}]", std::string(filled, '#'), std::string(kWidth - filled, '.'));
}

double share_of(uint64_t done, uint64_t total) {
  return total == 0 ? 1.0 : static_cast<double>(done) / static_cast<double>(total);
}

constexpr std::chrono::milliseconds kBetweenDrawings(100);

}  // namespace

ProgressBar::ProgressBar() : active_(::isatty(STDERR_FILENO) != 0), begin_(std::chrono::steady_clock::now()) {}

ProgressBar::~ProgressBar() {
  if (drawn_) fmt::print(stderr, "\r\033[K");
}

void ProgressBar::update(uint64_t done, uint64_t total, std::string_view what) {
  const auto now = std::chrono::steady_clock::now();
  if (!active_ || (drawn_ && done < total && now - last_ < kBetweenDrawings)) return;
  last_ = now;
  drawn_ = true;
  const double share = share_of(done, total);
  const double elapsed = std::chrono::duration<double>(now - begin_).count();
  const double left = share > 0 ? elapsed / share - elapsed : 0;
  fmt::print(stderr, "\r\033[K{} {:3.0f}%  {:.0f} MB  {:.0f} s left  {}", bar_text(share), share * 100,
             static_cast<double>(done) / 1e6, left, what);
  std::fflush(stderr);
}

TransferBar::TransferBar() : active_(::isatty(STDERR_FILENO) != 0) {}

TransferBar::~TransferBar() {
  if (drawn_) fmt::print(stderr, "\r\033[K");
}

void TransferBar::update(uint64_t done, uint64_t total, std::string_view phase, std::string_view what) {
  const auto now = std::chrono::steady_clock::now();
  meter_.add(now, done);
  if (!active_ || (drawn_ && now - last_ < kBetweenDrawings)) return;
  last_ = now;
  drawn_ = true;
  const auto rate = meter_.rate();
  const auto left = meter_.seconds_for(total - std::min(done, total));
  const auto seconds = static_cast<uint64_t>(left.value_or(0));
  const double share = share_of(done, total);
  fmt::print(stderr, "\r\033[K{} {:3.0f}%  {:.1f} of {:.1f} MB  {}{}  {} {}", bar_text(share), share * 100,
             static_cast<double>(done) / 1e6, static_cast<double>(total) / 1e6,
             rate ? fmt::format("{:.1f} MB/s", *rate / 1e6) : "… MB/s",
             left && done < total ? fmt::format(", {}:{:02} left", seconds / 60, seconds % 60) : "", phase, what);
  std::fflush(stderr);
}

StatusLine::StatusLine() : terminal_(::isatty(STDERR_FILENO) != 0) {}

StatusLine::~StatusLine() {
  if (drawn_) fmt::print(stderr, "\n");
}

void StatusLine::show(std::string_view text) {
  fmt::print(stderr, "{}{}{}", terminal_ ? "\r\033[K" : "", text, terminal_ ? "" : "\n");
  drawn_ = terminal_;
  std::fflush(stderr);
}

}  // namespace onebit::halo
