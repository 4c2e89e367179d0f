// A whole file mapped read-only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <span>
#include <string>

#include "base/result.h"

namespace onebit {

/// Owns the mapping: spans from bytes() live as long as this object (moves keep them valid).
///
/// A mapped file can be cut short by somebody else while it is used. Reading past its new end raises
/// SIGBUS; the first open() installs a handler for that signal which puts zeros where the bytes were and
/// marks the file, so that the reader goes on and finds the error at its next check. Any other SIGBUS
/// goes to whatever handled it before.
class MappedFile {
 public:
  /// Maps `path`. Errors name the path and the system's reason; a directory or device is refused.
  static Result<MappedFile> open(const std::string& path);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }

  /// An error once a read met bytes that are no longer there, or where the file is shorter than it was: what
  /// is missing of the last page that is left reads as zeros without a signal. A system call.
  Status check_readable() const;
  /// An error where the file was cut, written to or touched since it was opened; not where another file
  /// took its name. Tells writes by the time that the file system notes, some milliseconds coarse.
  Status check_unchanged() const;

 private:
  MappedFile() = default;
  Status check(bool same) const;

  std::string path_;
  const std::byte* data_ = nullptr;  // null for an empty file, which cannot be mapped
  size_t size_ = 0;
  int fd_ = -1;  // kept for the checks
  timespec modified_{};
  int guard_ = -1;  // this mapping's slot in the table that the signal handler reads
};

/// The whole of a small text file (at most `limit` bytes; a larger one is an error, not a cut).
Result<std::string> read_text_file(const std::string& path, size_t limit);

}  // namespace onebit
