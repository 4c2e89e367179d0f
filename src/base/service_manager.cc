#include "base/service_manager.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <optional>

namespace onebit {
namespace {

std::optional<uint64_t> number_in(const char* name) {
  const char* text = std::getenv(name);
  if (text == nullptr) return {};
  uint64_t value = 0;
  const char* end = text + std::strlen(text);
  const auto [rest, error] = std::from_chars(text, end, value);
  if (error != std::errc() || rest != end) return {};
  return value;
}

bool is_this_process(const char* name) {
  return number_in(name) == static_cast<uint64_t>(::getpid());
}

}  // namespace

void notify_manager(std::string_view state) {
  const char* path = std::getenv("NOTIFY_SOCKET");
  if (path == nullptr) return;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const size_t length = std::strlen(path);
  if (length < 2 || length >= sizeof address.sun_path || (path[0] != '/' && path[0] != '@')) return;
  std::memcpy(address.sun_path, path, length);
  if (path[0] == '@') address.sun_path[0] = '\0';  // not in the file system
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return;
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
  (void)::sendto(fd, state.data(), state.size(), MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&address), size);
  ::close(fd);
}

std::chrono::microseconds watchdog_period() {
  const auto period = number_in("WATCHDOG_USEC");
  if (!period || (std::getenv("WATCHDOG_PID") != nullptr && !is_this_process("WATCHDOG_PID"))) return {};
  return std::chrono::microseconds(*period);
}

int socket_of_manager() {
  constexpr int kFirst = 3;
  const auto count = number_in("LISTEN_FDS");
  const bool mine = count.value_or(0) > 0 && is_this_process("LISTEN_PID");
  for (const char* name : {"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"}) ::unsetenv(name);
  if (!mine || ::fcntl(kFirst, F_SETFD, FD_CLOEXEC) != 0) return -1;
  return kFirst;
}

}  // namespace onebit
