#include "landing/lookup.h"

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <mutex>
#include <thread>

namespace onebit::landing {

using server::kAwait;

/// What the thread has its part of.
struct Lookup::Shared {
  std::string host, port;
  std::mutex mutex;                             // of `io`
  asio::io_context* io = nullptr;               // null once nobody wants to know any more
  std::shared_ptr<asio::steady_timer> waiting;  // as all below, of the io_context's thread
  bool under_way = false;
  Addresses found;
  boost::system::error_code error;
};

Lookup::Lookup(asio::io_context& io, std::string host, std::string port) : shared_(std::make_shared<Shared>()) {
  shared_->host = std::move(host);
  shared_->port = std::move(port);
  shared_->io = &io;
  shared_->waiting = std::make_shared<asio::steady_timer>(io);
}

Lookup::~Lookup() {
  const std::lock_guard lock(shared_->mutex);
  shared_->io = nullptr;
  shared_->waiting.reset();  // before the io_context
}

void Lookup::start() {
  if (shared_->under_way) return;
  const auto look = [shared = shared_] {
    asio::io_context own;  // never runs: what blocks is this thread
    asio::ip::tcp::resolver resolver(own);
    boost::system::error_code error;
    auto found = resolver.resolve(shared->host, shared->port, error);
    const std::lock_guard lock(shared->mutex);
    if (shared->io == nullptr) return;
    asio::post(*shared->io, [shared, error, found = std::move(found)] {
      shared->under_way = false;
      shared->error = error;
      if (!error) shared->found = found;
      if (shared->waiting != nullptr) shared->waiting->cancel();
    });
  };
  std::thread(look).detach();
  shared_->under_way = true;
}

asio::awaitable<Lookup::Addresses> Lookup::addresses(std::chrono::steady_clock::time_point deadline,
                                                     boost::system::error_code& error) {
  const auto shared = shared_;
  if (shared->found.empty() && shared->under_way) {
    shared->waiting->expires_at(deadline);
    co_await shared->waiting->async_wait(kAwait);
  }
  error = !shared->found.empty() ? boost::system::error_code()
          : shared->under_way    ? make_error_code(asio::error::timed_out)
                                 : shared->error;
  co_return shared->found;
}

}  // namespace onebit::landing
