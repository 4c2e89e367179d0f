// A whole file mapped read-only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"

namespace onebit {

/// Owns the mapping: spans from bytes() live as long as this object (moves keep them valid).
class MappedFile {
 public:
  /// Maps `path`. Errors name the path and the system's reason; a directory or device is refused.
  static Result<MappedFile> open(const std::string& path);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }

 private:
  MappedFile(std::string path, const std::byte* data, size_t size) : path_(std::move(path)), data_(data), size_(size) {}

  std::string path_;
  const std::byte* data_ = nullptr;  // null for an empty file, which cannot be mapped
  size_t size_ = 0;
};

/// The whole of a small text file (at most `limit` bytes; a larger one is an error, not a cut).
Result<std::string> read_text_file(const std::string& path, size_t limit);

}  // namespace onebit
