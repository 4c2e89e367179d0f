// A file of lines that only grows, for results of long runs: whatever ends the process, the next one goes on after the
// last whole line.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace onebit {

class LineLog {
 public:
  /// Opens or makes the file, for this process alone, and cuts off a last line that lacks its end. A file that does not
  /// begin with `begins`, as its first line must, is somebody else's: an error, and left as it is.
  static Result<LineLog> open(const std::string& path, std::string_view begins);
  /// The same, and nothing where another process writes it.
  static Result<std::optional<LineLog>> open_if_free(const std::string& path, std::string_view begins);

  LineLog(LineLog&& other) noexcept : path_(std::move(other.path_)), fd_(other.fd_) { other.fd_ = -1; }
  LineLog& operator=(LineLog&&) = delete;
  ~LineLog();

  /// One line, without its end, in one write.
  Status append(std::string_view line);
  /// Onto the disk.
  Status sync();

  /// Bytes of what was cut off by open().
  uint64_t repaired() const { return repaired_; }

 private:
  LineLog(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  Status check_beginning(std::string_view begins) const;
  Status cut_unfinished();

  std::string path_;
  int fd_ = -1;
  uint64_t repaired_ = 0;
};

}  // namespace onebit
