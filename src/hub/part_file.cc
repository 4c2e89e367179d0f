#include "hub/part_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/atomic_file.h"
#include "base/mapped_file.h"
#include "hub/digest.h"
#include "hub/download.h"
#include "hub/part_record.h"

namespace onebit::hub {
namespace {

std::vector<PartFile::Chunk> cut(uint64_t size, uint64_t chunk) {
  std::vector<PartFile::Chunk> chunks;
  for (uint64_t begin = 0; begin < size; begin += chunk) chunks.push_back({begin, std::min(size, begin + chunk), 0});
  return chunks;
}

tl::unexpected<Error> failed(const std::string& path, const char* what) {
  const int reason = errno;
  return fail("{}: cannot {}: {}{}", path, what, std::strerror(reason),
              reason == ENOSPC || reason == EDQUOT ? "; make room, and the same command goes on" : "");
}

Result<Contents> check_contents(int fd, const std::string& path, const RepoFile& file,
                                const std::function<bool()>& stop) {
  const bool lfs = !file.sha256.empty();
  if (!lfs && file.git_sha1.empty()) return Contents::kUnknown;
  auto digest = lfs ? Digest::sha256() : Digest::git_blob(file.size);
  std::vector<std::byte> piece(size_t{1} << 20);
  for (uint64_t at = 0; at < file.size;) {
    if (stop()) return fail("{}: stopped", path);
    const auto wanted = std::min<uint64_t>(piece.size(), file.size - at);
    const ssize_t n = ::pread(fd, piece.data(), wanted, static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failed(path, "read");
    if (n == 0) return Contents::kWrong;
    digest.update(std::span(piece).first(static_cast<size_t>(n)));
    at += static_cast<uint64_t>(n);
  }
  return digest.finish() == (lfs ? file.sha256 : file.git_sha1) ? Contents::kRight : Contents::kWrong;
}

}  // namespace

Result<Contents> check_file(const std::string& path, const RepoFile& file, const std::function<bool()>& stop) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return Contents::kWrong;
  struct stat info{};
  const bool fits =
      ::fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && static_cast<uint64_t>(info.st_size) == file.size;
  auto contents = fits ? check_contents(fd, path, file, stop) : Contents::kWrong;
  ::close(fd);
  return contents;
}

PartFile::PartFile(std::string path, RepoFile file, int fd, uint64_t chunk)
    : path_(std::move(path)), file_(std::move(file)), fd_(fd) {
  chunk_bytes_ = std::max<uint64_t>(chunk, file_.size / kMostChunks + 1);
  chunks_ = cut(file_.size, chunk_bytes_);
}

PartFile::PartFile(PartFile&& other) noexcept
    : path_(std::move(other.path_)),
      file_(std::move(other.file_)),
      fd_(std::exchange(other.fd_, -1)),
      chunk_bytes_(other.chunk_bytes_),
      chunks_(std::move(other.chunks_)),
      etag_(std::move(other.etag_)) {}

PartFile::~PartFile() {
  if (fd_ < 0) return;
  if (done() == 0) {
    remove();
    return;
  }
  static_cast<void>(save());  // without it, the next try fetches more than it must
  ::close(fd_);
}

Result<PartFile> PartFile::open(const std::string& path, const RepoFile& file, uint64_t chunk) {
  const auto part = part_path(path);
  const int fd = ::open(part.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (fd < 0) return failed(part, "open");
  PartFile result(path, file, fd, chunk);
  struct stat info{};
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) return fail("{}: is no regular file", part);
  if (static_cast<uint64_t>(info.st_size) == file.size) result.load();
  if (result.done() == 0 && ::ftruncate(fd, 0) != 0) return failed(part, "empty");
  if (::ftruncate(fd, static_cast<off_t>(file.size)) != 0) return failed(part, "give its size");
  // Reserved, so that a full disk shows now. A file system that cannot is left to itself.
  if (file.size > 0 && ::fallocate(fd, 0, 0, static_cast<off_t>(file.size)) != 0 && errno != EOPNOTSUPP &&
      errno != ENOSYS && errno != EINTR)
    return failed(part, "reserve its space");
  return result;
}

/// Takes over what a record says, if it is of the same file and makes sense.
void PartFile::load() {
  const auto text = read_text_file(record_path(path_), kMostRecordBytes);
  if (!text) return;
  const auto record = parse_part_record(*text, record_path(path_));
  if (!record || record->size != file_.size || record->sha256 != file_.sha256 || record->git_sha1 != file_.git_sha1)
    return;
  chunk_bytes_ = record->chunk;
  chunks_ = cut(file_.size, chunk_bytes_);
  for (size_t i = 0; i < chunks_.size(); ++i) chunks_[i].done = record->done[i];
  etag_ = record->etag;
}

uint64_t PartFile::done() const {
  uint64_t sum = 0;
  for (const auto& chunk : chunks_) sum += chunk.done;
  return sum;
}

Status PartFile::append(size_t index, std::string_view bytes) {
  auto& chunk = chunks_[index];
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(chunk.begin + chunk.done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failed(part_path(path_), "write");
    chunk.done += static_cast<uint64_t>(n);
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

void PartFile::forget(bool one_chunk) {
  if (one_chunk) chunk_bytes_ = std::max<uint64_t>(file_.size, 1);
  chunks_ = cut(file_.size, chunk_bytes_);
  etag_.clear();
}

Status PartFile::save() {
  PartRecord record{.size = file_.size,
                    .chunk = chunk_bytes_,
                    .sha256 = file_.sha256,
                    .git_sha1 = file_.git_sha1,
                    .etag = etag_,
                    .done = {}};
  for (const auto& chunk : chunks_) record.done.push_back(chunk.done);
  const auto text = to_json(record);
  ASSIGN_OR_RETURN(auto file, AtomicFile::create(record_path(path_)));
  RETURN_IF_ERROR(file.write(std::as_bytes(std::span(text))));
  return file.commit();
}

Result<Contents> PartFile::verify(const std::function<bool()>& stop) const {
  return check_contents(fd_, part_path(path_), file_, stop);
}

Status PartFile::finish() {
  if (::fsync(fd_) != 0) return failed(part_path(path_), "sync");
  if (::rename(part_path(path_).c_str(), path_.c_str()) != 0) return failed(path_, "replace");
  ::unlink(record_path(path_).c_str());
  ::close(std::exchange(fd_, -1));
  return {};
}

void PartFile::remove() {
  ::unlink(part_path(path_).c_str());
  ::unlink(record_path(path_).c_str());
  ::close(std::exchange(fd_, -1));
}

uint64_t bytes_on_disk(const std::string& path) {
  constexpr uint64_t kBlock = 512;  // of st_blocks
  uint64_t most = 0;
  for (const auto& name : {path, part_path(path)}) {
    struct stat info{};
    if (::lstat(name.c_str(), &info) == 0)
      most = std::max<uint64_t>(most, std::min<uint64_t>(static_cast<uint64_t>(info.st_blocks) * kBlock,
                                                         static_cast<uint64_t>(info.st_size)));
  }
  return most;
}

}  // namespace onebit::hub
