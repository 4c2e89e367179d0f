#include "landing/system_bus.h"

#include <poll.h>
#include <unistd.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <cstring>
#include <memory>

#include "server/await.h"

namespace onebit::landing {

namespace asio = boost::asio;

std::string bus_sentence(const char* what, int error) {
  return std::string(what) + ": " + std::strerror(error < 0 ? -error : error);
}

void SystemBus::call_soon() {
  constexpr std::chrono::milliseconds kGather{100};  // a start changes a unit several times
  if (due_ == Clock::time_point::max()) due_ = Clock::now() + kGather;
}

/// When sd-bus, or we, have something to do though nothing comes.
SystemBus::Clock::time_point SystemBus::next_moment() const {
  uint64_t microseconds = UINT64_MAX;  // of CLOCK_MONOTONIC, as Clock is
  sd_bus_get_timeout(bus_, &microseconds);
  const auto bus_moment = microseconds >= uint64_t{INT64_MAX} / 1000
                              ? Clock::time_point::max()
                              : Clock::time_point(std::chrono::microseconds(microseconds));
  return std::min({bus_moment, due_, Clock::now() + std::chrono::seconds(60)});
}

asio::awaitable<std::string> SystemBus::serve(std::function<int()> work) {
  const auto executor = co_await asio::this_coro::executor;
  // A copy: the descriptor closes it, and the bus its own.
  asio::posix::stream_descriptor socket(executor, ::dup(sd_bus_get_fd(bus_)));
  const auto timer = std::make_shared<asio::steady_timer>(executor);
  const auto waits = std::make_shared<std::pair<bool, bool>>();  // for reading, for writing
  while (true) {
    int more = 1;
    while (more > 0 && lost_.empty()) more = sd_bus_process(bus_, nullptr);
    if (more >= 0 && lost_.empty() && due_ <= Clock::now()) {
      due_ = Clock::time_point::max();
      more = work();
    }
    if (more < 0) co_return bus_sentence("the system bus is lost", more);
    if (!lost_.empty()) co_return lost_;
    timer->expires_at(next_moment());
    const auto look = [&](auto kind, bool& waiting) {
      if (std::exchange(waiting, true)) return;
      socket.async_wait(kind, [timer, waits, &waiting](boost::system::error_code) {
        waiting = false;
        timer->cancel();
      });
    };
    look(asio::posix::descriptor_base::wait_read, waits->first);
    const int events = sd_bus_get_events(bus_);
    if (events > 0 && (events & POLLOUT) != 0) look(asio::posix::descriptor_base::wait_write, waits->second);
    co_await timer->async_wait(server::kAwait);
  }
}

}  // namespace onebit::landing
