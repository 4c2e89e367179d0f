// Looks a name up without waiting for it longer than one wants to: the system's own way cannot be given up.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <memory>
#include <string>

#include "server/await.h"

namespace onebit::landing {

namespace asio = boost::asio;

/// Of one name, by a thread of its own for each look: a thread that hangs outlives this, and the io_context too.
class Lookup {
 public:
  using Addresses = asio::ip::tcp::resolver::results_type;

  Lookup(asio::io_context& io, std::string host, std::string port);
  Lookup(const Lookup&) = delete;
  Lookup& operator=(const Lookup&) = delete;
  ~Lookup();

  /// Begins to look, where it does not look already. Throws std::system_error where there can be no thread.
  void start();
  /// What was found last, or, where nothing was found yet, what comes of the look under way until `deadline`. Of the
  /// last look that failed, `error` is why; timed_out where none has ended. For one coroutine at a time.
  asio::awaitable<Addresses> addresses(std::chrono::steady_clock::time_point deadline,
                                       boost::system::error_code& error);

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;
};

}  // namespace onebit::landing
