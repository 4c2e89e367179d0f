// One publisher, any number of coroutines that each want the newest: nothing is queued for those that are slow.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>

#include "server/await.h"

namespace onebit::landing {

namespace asio = boost::asio;

/// Of one thread. Whoever waits is woken, and then looks at what it shares with the publisher.
class Wakeup {
 public:
  explicit Wakeup(const asio::any_io_executor& executor) : timer_(executor, asio::steady_timer::time_point::max()) {}

  void all() { timer_.cancel(); }
  /// Until the next all(). May end sooner: look again.
  asio::awaitable<void> wait() { co_await timer_.async_wait(server::kAwait); }

 private:
  asio::steady_timer timer_;
};

}  // namespace onebit::landing
