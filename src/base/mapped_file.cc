#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/bus_guard.h"

namespace onebit {
namespace {

struct FileDescriptor {
  int fd = -1;
  ~FileDescriptor() {
    if (fd >= 0) ::close(fd);
  }
};

/// Opens a regular file for reading; `info` receives its size.
Status open_regular(const std::string& path, FileDescriptor& file, struct stat& info) {
  // O_NONBLOCK: opening a named pipe must not wait for somebody to write into it.
  file.fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file.fd < 0) return fail("{}: cannot open: {}", path, std::strerror(errno));
  if (::fstat(file.fd, &info) != 0) return fail("{}: cannot stat: {}", path, std::strerror(errno));
  if (S_ISDIR(info.st_mode)) return fail("{}: is a directory, not a file", path);
  if (!S_ISREG(info.st_mode)) return fail("{}: is not a regular file", path);
  return {};
}

}  // namespace

Result<MappedFile> MappedFile::open(const std::string& path) {
  FileDescriptor descriptor;
  struct stat info{};
  RETURN_IF_ERROR(open_regular(path, descriptor, info));
  MappedFile file;
  file.path_ = path;
  file.modified_ = info.st_mtim;
  file.fd_ = std::exchange(descriptor.fd, -1);
  const auto size = static_cast<size_t>(info.st_size);
  if (size == 0) return file;
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.fd_, 0);
  if (data == MAP_FAILED) return fail("{}: cannot map {} bytes: {}", path, size, std::strerror(errno));
  file.data_ = static_cast<const std::byte*>(data);
  file.size_ = size;
  file.guard_ = bus_guard::add(data, size);
  if (file.guard_ < 0) return fail("{}: more than {} files are mapped at once", path, bus_guard::kMostMappings);
  return file;
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      fd_(std::exchange(other.fd_, -1)),
      modified_(other.modified_),
      guard_(std::exchange(other.guard_, -1)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(fd_, other.fd_);
  std::swap(modified_, other.modified_);
  std::swap(guard_, other.guard_);
  return *this;
}

MappedFile::~MappedFile() {
  bus_guard::remove(guard_);
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
  if (fd_ >= 0) ::close(fd_);
}

Status MappedFile::check_readable() const {
  return check(false);
}

Status MappedFile::check_unchanged() const {
  return check(true);
}

Status MappedFile::check(bool same) const {
  struct stat info{};
  if (::fstat(fd_, &info) != 0) return fail("{}: cannot stat: {}", path_, std::strerror(errno));
  if (static_cast<size_t>(info.st_size) < size_) return fail("{}: was cut short while it was in use", path_);
  if (bus_guard::faulted(guard_))
    return fail("{}: a part of it could not be read: it was cut short for a while, or the disk has a fault", path_);
  const bool changed = static_cast<size_t>(info.st_size) != size_ || info.st_mtim.tv_sec != modified_.tv_sec ||
                       info.st_mtim.tv_nsec != modified_.tv_nsec;
  if (same && changed) return fail("{}: was changed while it was in use", path_);
  return {};
}

Result<std::string> read_text_file(const std::string& path, size_t limit) {
  FileDescriptor file;
  struct stat info{};
  RETURN_IF_ERROR(open_regular(path, file, info));
  const auto size = static_cast<size_t>(info.st_size);
  if (size > limit) return fail("{}: is {} bytes, more than the {} this kind of file may have", path, size, limit);
  std::string text(size, '\0');
  size_t done = 0;
  while (done < size) {
    const ssize_t n = ::read(file.fd, text.data() + done, size - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail("{}: cannot read: {}", path, std::strerror(errno));
    if (n == 0) return fail("{}: ended after {} of {} bytes: the file changed while it was read", path, done, size);
    done += static_cast<size_t>(n);
  }
  return text;
}

}  // namespace onebit
