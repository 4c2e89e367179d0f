#include "base/service_manager.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "tests/support/temp_folder.h"

namespace onebit {
namespace {

/// A manager's end of $NOTIFY_SOCKET, at `name` ('@': not in the file system).
class Manager {
 public:
  explicit Manager(const std::string& name) : fd_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, name.data(), name.size());
    if (name[0] == '@') address.sun_path[0] = '\0';
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    EXPECT_EQ(::bind(fd_, reinterpret_cast<const sockaddr*>(&address), size), 0);
    ::setenv("NOTIFY_SOCKET", name.c_str(), 1);
  }
  ~Manager() {
    ::unsetenv("NOTIFY_SOCKET");
    ::close(fd_);
  }
  std::string heard() const {
    char text[256];
    const auto n = ::recv(fd_, text, sizeof text, 0);
    return n < 0 ? "" : std::string(text, static_cast<size_t>(n));
  }

 private:
  int fd_;
};

TEST(ServiceManager, IsToldThroughItsSocket) {
  const test::TempFolder folder;
  for (const auto& name : {folder.path("notify"), "@onebit-test-" + std::to_string(::getpid())}) {
    const Manager manager(name);
    notify_manager("READY=1\nSTATUS=here");
    EXPECT_EQ(manager.heard(), "READY=1\nSTATUS=here");
    EXPECT_EQ(manager.heard(), "");
  }
}

TEST(ServiceManager, NobodyIsToldWhereNobodyListens) {
  for (const auto& name : std::vector<std::string>{"", "/nowhere/at/all", "relative", "@", std::string(500, '/')}) {
    ::setenv("NOTIFY_SOCKET", name.c_str(), 1);
    notify_manager("READY=1");
  }
  ::unsetenv("NOTIFY_SOCKET");
  notify_manager("READY=1");
}

TEST(ServiceManager, TheWatchdogsPeriodIsForThisProcess) {
  EXPECT_EQ(watchdog_period().count(), 0);
  ::setenv("WATCHDOG_USEC", "30000000", 1);
  EXPECT_EQ(watchdog_period(), std::chrono::seconds(30));
  ::setenv("WATCHDOG_PID", std::to_string(::getpid()).c_str(), 1);
  EXPECT_EQ(watchdog_period(), std::chrono::seconds(30));
  ::setenv("WATCHDOG_PID", "1", 1);
  EXPECT_EQ(watchdog_period().count(), 0);
  ::unsetenv("WATCHDOG_PID");
  for (const char* nonsense : {"", "soon", "-1", "1x", "99999999999999999999"}) {
    ::setenv("WATCHDOG_USEC", nonsense, 1);
    EXPECT_EQ(watchdog_period().count(), 0) << nonsense;
  }
  ::unsetenv("WATCHDOG_USEC");
}

TEST(ServiceManager, SocketsOfOtherProcessesAreNotTaken) {
  EXPECT_EQ(socket_of_manager(), -1);
  ::setenv("LISTEN_FDS", "1", 1);
  ::setenv("LISTEN_PID", "1", 1);
  EXPECT_EQ(socket_of_manager(), -1);
  EXPECT_EQ(std::getenv("LISTEN_FDS"), nullptr) << "nor by who is started from here";
}

}  // namespace
}  // namespace onebit
