// The unfinished file of a download and the record of what is in it.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "hub/repo.h"

namespace onebit::hub {

/// What a file's hash says of its contents; kUnknown: the host told no hash.
enum class Contents { kRight, kWrong, kUnknown };
/// Of the file `path` under its name; kWrong where it is absent or of another size.
Result<Contents> check_file(const std::string& path, const RepoFile& file, const std::function<bool()>& stop);

class PartFile {
 public:
  /// What is left of an earlier try for the same file, or a new one, with its space reserved. `path` is the file's to
  /// be.
  static Result<PartFile> open(const std::string& path, const RepoFile& file, uint64_t chunk);
  PartFile(PartFile&& other) noexcept;
  PartFile& operator=(PartFile&&) = delete;
  ~PartFile();  // saves, or removes what has nothing yet

  struct Chunk {
    uint64_t begin = 0, end = 0;
    uint64_t done = 0;  // bytes from `begin`
    uint64_t left() const { return end - begin - done; }
  };
  const std::vector<Chunk>& chunks() const { return chunks_; }
  uint64_t done() const;
  bool whole() const { return done() == file_.size; }

  /// Appends to what a chunk has; at most what it lacks.
  Status append(size_t chunk, std::string_view bytes);
  /// Nothing is there any more; with `whole`, all of the file is one chunk.
  void forget(bool one_chunk = false);
  /// A chunk's bytes are not there.
  void forget_chunk(size_t chunk) { chunks_[chunk].done = 0; }

  /// The ETag that what is there came with; empty: none yet, or the host has none.
  const std::string& etag() const { return etag_; }
  void set_etag(std::string etag) { etag_ = std::move(etag); }

  /// Writes the record. It may say less than is there, after a loss of power also more: the hash finds that.
  Status save();

  Result<Contents> verify(const std::function<bool()>& stop) const;
  /// Gives it its name.
  Status finish();
  /// Removes it and its record.
  void remove();

 private:
  PartFile(std::string path, RepoFile file, int fd, uint64_t chunk);
  void load();

  std::string path_;
  RepoFile file_;
  int fd_ = -1;
  uint64_t chunk_bytes_ = 0;
  std::vector<Chunk> chunks_;
  std::string etag_;
};

}  // namespace onebit::hub
