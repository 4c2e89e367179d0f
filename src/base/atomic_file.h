// A file that appears whole or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"

namespace onebit {

/// Writes go to an unnamed file in the target's folder; commit() gives it the target's name in one
/// step. Until then the old file, if any, is untouched, and whatever ends the process leaves nothing, with
/// two exceptions: a process killed in the instant in which the new file replaces an old one may leave it,
/// finished, as .NAME.1bit-new until the next commit to the same target; and on a file system
/// without unnamed files (no O_TMPFILE) a kill leaves .NAME.PID-N.tmp.
class AtomicFile {
 public:
  /// `mode`: its permissions, as far as the umask leaves them.
  static Result<AtomicFile> create(const std::string& path, unsigned mode = 0666);

  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&&) = delete;
  ~AtomicFile();

  /// Appends. Errors (disk full, …) name the target.
  Status write(std::span<const std::byte> bytes);
  /// Overwrites bytes already written.
  Status write_at(uint64_t offset, std::span<const std::byte> bytes);
  /// Bytes appended so far.
  uint64_t position() const { return position_; }

  /// fsync, rename over the target, fsync of the folder. The object is spent afterwards.
  Status commit();

 private:
  AtomicFile(std::string path, std::string temporary, int fd)
      : path_(std::move(path)), temporary_(std::move(temporary)), fd_(fd) {}

  std::string path_;
  std::string temporary_;  // empty while the file has no name (O_TMPFILE)
  int fd_ = -1;
  uint64_t position_ = 0;
};

}  // namespace onebit
