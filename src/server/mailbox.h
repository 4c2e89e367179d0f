// What other threads have for a coroutine.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>

#include "server/await.h"

namespace onebit::server {

namespace asio = boost::asio;

/// One coroutine takes; its executor is of one thread.
template <class T>
class Mailbox : public std::enable_shared_from_this<Mailbox<T>> {
 public:
  explicit Mailbox(const asio::any_io_executor& executor) : executor_(executor), timer_(executor) {}

  /// By any thread.
  void push(T value) {
    {
      const std::lock_guard lock(mutex_);
      values_.push_back(std::move(value));
    }
    asio::post(executor_, [self = this->shared_from_this()] { self->timer_.cancel(); });
  }

  /// The oldest, once there is one; nothing once `until` is reached.
  asio::awaitable<std::optional<T>> take(asio::steady_timer::time_point until) {
    while (true) {
      {
        const std::lock_guard lock(mutex_);
        if (!values_.empty()) {
          std::optional<T> first(std::move(values_.front()));
          values_.pop_front();
          co_return first;
        }
      }
      if (asio::steady_timer::clock_type::now() >= until) co_return std::nullopt;
      timer_.expires_at(until);
      co_await timer_.async_wait(kAwait);
    }
  }

 private:
  asio::any_io_executor executor_;
  asio::steady_timer timer_;
  std::mutex mutex_;
  std::deque<T> values_;
};

}  // namespace onebit::server
