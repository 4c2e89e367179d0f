// Watches systemd over the system's bus. Where the program was built without libsystemd, it says so and does nothing.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <functional>

#include "landing/services.h"

namespace onebit::landing {

/// Tells `use` what is known of the units 1bit-*.service, again at each change; goes on for ever, also where the bus or
/// systemd is away for a while. To be started by co_spawn on a context of one thread.
boost::asio::awaitable<void> watch_services(std::function<void(ServiceState)> use);

}  // namespace onebit::landing
