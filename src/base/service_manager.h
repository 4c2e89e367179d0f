// What a service manager of systemd's kind and a daemon tell each other, through the environment: sd_notify(3),
// sd_listen_fds(3), sd_watchdog_enabled(3). Without one none of this does anything.
#pragma once

#include <chrono>
#include <string_view>

namespace onebit {

/// "READY=1", "STOPPING=1", "WATCHDOG=1", lines between them; to $NOTIFY_SOCKET. Never blocks; what cannot be told is
/// not.
void notify_manager(std::string_view state);

/// How often the manager wants to hear WATCHDOG=1 at least ($WATCHDOG_USEC, for this process); 0: it does not.
std::chrono::microseconds watchdog_period();

/// The first socket that the manager listens at for this process ($LISTEN_FDS); -1: there is none. The environment says
/// so no longer afterwards, and it is not inherited by other programs.
int socket_of_manager();

}  // namespace onebit
