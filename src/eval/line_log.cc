#include "eval/line_log.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

namespace onebit {

LineLog::~LineLog() {
  if (fd_ >= 0) ::close(fd_);
}

Result<LineLog> LineLog::open(const std::string& path, std::string_view begins) {
  ASSIGN_OR_RETURN(auto log, open_if_free(path, begins));
  if (!log) return fail("{}: another process is writing it", path);
  return *std::move(log);
}

Result<std::optional<LineLog>> LineLog::open_if_free(const std::string& path, std::string_view begins) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0) return fail("{}: cannot be opened for writing: {}", path, std::strerror(errno));
  LineLog log(path, fd);
  struct stat s{};
  if (::fstat(fd, &s) != 0 || !S_ISREG(s.st_mode)) return fail("{}: is not a file", path);
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return std::nullopt;
    return fail("{}: cannot be locked: {}", path, std::strerror(errno));
  }
  RETURN_IF_ERROR(log.check_beginning(begins));
  RETURN_IF_ERROR(log.cut_unfinished());
  return std::optional(std::move(log));
}

Status LineLog::check_beginning(std::string_view begins) const {
  std::string first(begins.size(), '\0');
  const ssize_t n = ::pread(fd_, first.data(), first.size(), 0);
  if (n < 0) return fail("{}: cannot be read: {}", path_, std::strerror(errno));
  if (begins.starts_with(std::string_view(first).substr(0, static_cast<size_t>(n)))) return {};
  return fail("{}: does not begin with {}: it is another file, and left as it is", path_, begins);
}

Status LineLog::cut_unfinished() {
  const off_t size = ::lseek(fd_, 0, SEEK_END);
  std::vector<char> bytes(size_t{1} << 16);
  off_t end = 0;  // of the last whole line
  for (off_t from = size; from > 0 && end == 0;) {
    const auto n = std::min<off_t>(from, static_cast<off_t>(bytes.size()));
    from -= n;
    if (::pread(fd_, bytes.data(), static_cast<size_t>(n), from) != n)
      return fail("{}: cannot be read: {}", path_, std::strerror(errno));
    for (off_t i = n; i > 0 && end == 0; --i)
      if (bytes[static_cast<size_t>(i - 1)] == '\n') end = from + i;
  }
  if (end == size) return {};
  if (::ftruncate(fd_, end) != 0) return fail("{}: cannot be cut: {}", path_, std::strerror(errno));
  repaired_ = static_cast<uint64_t>(size - end);
  return {};
}

Status LineLog::append(std::string_view line) {
  std::string whole(line);
  whole += '\n';
  const off_t before = ::lseek(fd_, 0, SEEK_END);
  for (size_t done = 0; done < whole.size();) {
    const ssize_t n = ::write(fd_, whole.data() + done, whole.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int error = errno;
      if (::ftruncate(fd_, before) != 0) return fail("{}: cannot be written, nor cut", path_);
      return fail("{}: cannot be written: {}", path_, std::strerror(error));
    }
    done += static_cast<size_t>(n);
  }
  return {};
}

Status LineLog::sync() {
  if (::fdatasync(fd_) != 0) return fail("{}: cannot be written: {}", path_, std::strerror(errno));
  return {};
}

}  // namespace onebit
