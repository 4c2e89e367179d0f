#include "server/event_queue.h"

#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "server/await.h"

namespace onebit::server {

void EventQueue::push(Event event) {
  bool first = false;
  {
    const std::lock_guard lock(mutex_);
    first = events_.empty();
    events_.push_back(std::move(event));
    too_slow_ = too_slow_ || events_.size() > most_;
  }
  // Looked at on the reader's own thread: it either has not begun to wait, and finds the event, or is woken.
  if (first) asio::post(executor_, [self = shared_from_this()] { self->timer_.cancel(); });
}

asio::awaitable<std::vector<Event>> EventQueue::take(asio::steady_timer::time_point until) {
  while (true) {
    {
      const std::lock_guard lock(mutex_);
      if (!events_.empty()) co_return std::exchange(events_, {});
    }
    if (woken_ || asio::steady_timer::clock_type::now() >= until) co_return std::vector<Event>();
    timer_.expires_at(until);
    co_await timer_.async_wait(kAwait);
  }
}

void EventQueue::wake() {
  woken_ = true;
  timer_.cancel();
}

bool EventQueue::too_slow() const {
  const std::lock_guard lock(mutex_);
  return too_slow_;
}

}  // namespace onebit::server
