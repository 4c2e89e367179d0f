// The exact rate of a burn-in, from its log (docs/burnin.md) as that grows.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace onebit::landing {

struct BurninRate {
  uint64_t rounds = 0;  // that both endpoints answered
  uint64_t exact = 0;   // of these
};

class BurninLog {
 public:
  /// An empty path: there is none.
  explicit BurninLog(std::string path) : path_(std::move(path)) {}

  /// Counts what was written since the last call, so much at once that it takes some hundredths of a second. Nothing
  /// while there is no log, no round that both answered, or more to read. A log that was replaced is read anew.
  std::optional<BurninRate> read();

 private:
  void take(std::string_view bytes);

  std::string path_;
  uint64_t device_ = 0, inode_ = 0, offset_ = 0;
  std::string held_;   // of a line whose end was not there yet
  bool skip_ = false;  // the line under way is too long to be one of ours
  BurninRate rate_;
};

}  // namespace onebit::landing
