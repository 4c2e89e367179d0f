// The socket that a daemon accepts connections on.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <cstdint>
#include <string>

#include "base/result.h"

namespace onebit::server {

/// Binds `acceptor` to the first address of `host`; `port` 0: any that is free. Returns the port. Where a service
/// manager listens for this process already, that socket is taken instead.
Result<uint16_t> listen_at(boost::asio::ip::tcp::acceptor& acceptor, const std::string& host, uint16_t port);

/// Tells a service manager that wants to know that the thread of this io_context still comes to everything in turn.
boost::asio::awaitable<void> tell_watchdog();

}  // namespace onebit::server
