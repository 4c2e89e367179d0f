#include "base/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <utility>

#include "base/hash.h"

namespace onebit {
namespace {

std::string folder_of(const std::string& path) {
  auto folder = std::filesystem::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

std::string temporary_name(const std::string& path) {
  static unsigned counter = 0;
  const auto name = std::filesystem::path(path).filename().string();
  return fmt::format("{}/.{}.{}-{}.tmp", folder_of(path), name, ::getpid(), counter++);
}

/// The passing name of a finished file. Always the same for a target, so that what a process left that was
/// killed while it stood is found by the next.
std::string passing_name(const std::string& path) {
  constexpr size_t kLongest = 200;  // of a name with something put around it
  auto name = std::filesystem::path(path).filename().string();
  if (name.size() > kLongest) name = fmt::format("{:016x}", xxh3(std::as_bytes(std::span(name))));
  return fmt::format("{}/.{}.1bit-new", folder_of(path), name);
}

/// Gives the unnamed file `fd` the name `path`. It cannot be linked over an existing file, so where there is
/// one it passes through another name. Whoever finds that name taken, by a process that was killed or by one
/// that is about to, takes the last step for it: what it names is finished.
Status give_name(int fd, const std::string& path) {
  const auto self = fmt::format("/proc/self/fd/{}", fd);
  const auto link = [&](const std::string& name) {
    return ::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW) == 0;
  };
  if (link(path)) return {};
  const auto passing = passing_name(path);
  constexpr int kAttempts = 100;
  for (int i = 0; i < kAttempts && errno == EEXIST; ++i) {
    const bool ours = link(passing);
    if (!ours && errno != EEXIST) break;
    const bool renamed = ::rename(passing.c_str(), path.c_str()) == 0;
    if (ours && (renamed || errno == ENOENT)) return {};  // ENOENT: done by another
    if (ours) {
      const int reason = errno;
      ::unlink(passing.c_str());
      errno = reason;
    } else if (renamed || errno == ENOENT) {
      errno = EEXIST;  // the name is free: again
    }
  }
  return fail("{}: cannot replace: {}; nothing was changed", path, std::strerror(errno));
}

Status write_all(int fd, const std::string& path, uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail("{}: cannot write: {}; nothing was changed", path, std::strerror(errno));
    offset += static_cast<uint64_t>(n);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return {};
}

}  // namespace

Result<AtomicFile> AtomicFile::create(const std::string& path, unsigned mode) {
  std::error_code ignored;
  // A link is followed, so that the file it names is replaced and not the link.
  std::string target = path;
  if (std::filesystem::is_symlink(path, ignored)) {
    target = std::filesystem::weakly_canonical(path, ignored).string();
    if (ignored) return fail("{}: cannot follow the link: {}", path, ignored.message());
  }
  struct stat info{};
  if (::stat(target.c_str(), &info) == 0 && !S_ISREG(info.st_mode))
    return fail("{}: exists and is not a regular file", path);
  int fd = ::open(folder_of(target).c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, mode);
  if (fd >= 0) return AtomicFile(std::move(target), "", fd);
  if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)
    return fail("{}: cannot create: {}", path, std::strerror(errno));
  // A file system without unnamed files: a named one, removed by the destructor.
  auto temporary = temporary_name(target);
  fd = ::open(temporary.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, mode);
  if (fd < 0) return fail("{}: cannot create: {}", path, std::strerror(errno));
  return AtomicFile(std::move(target), std::move(temporary), fd);
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::exchange(other.temporary_, {})),
      fd_(std::exchange(other.fd_, -1)),
      position_(other.position_) {}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) ::close(fd_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

Status AtomicFile::write(std::span<const std::byte> bytes) {
  RETURN_IF_ERROR(write_all(fd_, path_, position_, bytes));
  position_ += bytes.size();
  return {};
}

Status AtomicFile::write_at(uint64_t offset, std::span<const std::byte> bytes) {
  if (offset > position_ || bytes.size() > position_ - offset)
    return fail("{}: write at {} is past the {} bytes written", path_, offset, position_);
  return write_all(fd_, path_, offset, bytes);
}

Status AtomicFile::commit() {
  if (::fsync(fd_) != 0) return fail("{}: cannot sync: {}; nothing was changed", path_, std::strerror(errno));
  if (temporary_.empty()) {
    RETURN_IF_ERROR(give_name(fd_, path_));
  } else if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    return fail("{}: cannot replace: {}; nothing was changed", path_, std::strerror(errno));
  }
  temporary_.clear();
  const int folder = ::open(folder_of(path_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder >= 0) {
    ::fsync(folder);  // the name survives a power cut; a file system that refuses is left to itself
    ::close(folder);
  }
  return {};
}

}  // namespace onebit
