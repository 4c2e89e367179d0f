#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

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
  FileDescriptor file;
  struct stat info{};
  RETURN_IF_ERROR(open_regular(path, file, info));
  const auto size = static_cast<size_t>(info.st_size);
  if (size == 0) return MappedFile(path, nullptr, 0);
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.fd, 0);
  if (data == MAP_FAILED) return fail("{}: cannot map {} bytes: {}", path, size, std::strerror(errno));
  return MappedFile(path, static_cast<const std::byte*>(data), size);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
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
