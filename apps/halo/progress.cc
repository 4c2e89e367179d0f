#include "halo/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>

namespace onebit::halo {

ProgressBar::ProgressBar() : active_(::isatty(STDERR_FILENO) != 0), begin_(std::chrono::steady_clock::now()) {}

ProgressBar::~ProgressBar() {
  if (drawn_) fmt::print(stderr, "\r\033[K");
}

void ProgressBar::update(uint64_t done, uint64_t total, std::string_view what) {
  const auto now = std::chrono::steady_clock::now();
  if (!active_ || (drawn_ && done < total && now - last_ < std::chrono::milliseconds(100))) return;
  last_ = now;
  drawn_ = true;
  constexpr size_t kWidth = 30;
  const double share = total == 0 ? 1.0 : static_cast<double>(done) / static_cast<double>(total);
  const auto filled = std::min(kWidth, static_cast<size_t>(share * kWidth));
  const double elapsed = std::chrono::duration<double>(now - begin_).count();
  const double left = share > 0 ? elapsed / share - elapsed : 0;
  fmt::print(stderr, "\r\033[K[{}{}] {:3.0f}%  {:.0f} MB  {:.0f} s left  {}", std::string(filled, '#'),
             std::string(kWidth - filled, '.'), share * 100, static_cast<double>(done) / 1e6, left, what);
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
