// The socket that a daemon accepts connections on.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <cstdint>
#include <string>

#include "base/result.h"

namespace onebit::server {

/// Binds `acceptor` to the first address of `host`; `port` 0: any that is free. Returns the port.
Result<uint16_t> listen_at(boost::asio::ip::tcp::acceptor& acceptor, const std::string& host, uint16_t port);

}  // namespace onebit::server
