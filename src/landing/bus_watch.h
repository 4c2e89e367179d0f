// What other daemons of this machine tell over the system's bus. Where the program was built without libsystemd, it
// says so and does nothing. All go on for ever, also where the bus or the daemon is away for a while, and are to be
// started by co_spawn on a context of one thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <functional>
#include <optional>
#include <string>

#include "landing/services.h"

namespace onebit::landing {

/// Tells `use` what is known of the units 1bit-*.service, again at each change.
boost::asio::awaitable<void> watch_services(std::function<void(ServiceState)> use);

/// Tells `use` the profile that power-profiles-daemon has set ("balanced", "performance", …), again at each change;
/// nothing where there is no such daemon. It is not started for that.
boost::asio::awaitable<void> watch_power_profile(std::function<void(std::optional<std::string>)> use);

}  // namespace onebit::landing
