// One program at a time in a folder.
#pragma once

#include <string>
#include <utility>

#include "base/result.h"

namespace onebit::hub {

/// Keeps other programs' locks of the same folder out while it lives; gone with the process, however that ends.
class FolderLock {
 public:
  /// Does not wait: an error where somebody has it.
  static Result<FolderLock> take(const std::string& folder);
  FolderLock(FolderLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FolderLock& operator=(FolderLock&&) = delete;
  ~FolderLock();

 private:
  explicit FolderLock(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace onebit::hub
