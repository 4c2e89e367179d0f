#include "landing/bus_watch.h"

namespace onebit::landing {

boost::asio::awaitable<void> watch_services(std::function<void(ServiceState)> use) {
  ServiceState state;
  state.reason = "this program was built without libsystemd";
  use(std::move(state));
  co_return;
}

boost::asio::awaitable<void> watch_power_profile(std::function<void(std::optional<std::string>)>) {
  co_return;
}

}  // namespace onebit::landing
