// The page of numbers that `halo report` wrote, as it is on the disk now.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace onebit::landing {

class NumbersPage {
 public:
  static constexpr size_t kMostBytes = 4 << 20;

  /// An HTML file, or another text (Markdown), which is shown as it stands; an empty path: none.
  explicit NumbersPage(std::string path) : path_(std::move(path)) {}

  /// Its text, read again only where the file changed; null where there is none, or it is too long.
  std::shared_ptr<const std::string> text();
  const char* type() const;

 private:
  std::string path_;
  uint64_t inode_ = 0, size_ = 0;
  int64_t changed_ = -1;  // nanoseconds
  std::shared_ptr<const std::string> text_;
};

}  // namespace onebit::landing
