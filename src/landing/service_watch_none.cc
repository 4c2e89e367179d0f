#include "landing/service_watch.h"

namespace onebit::landing {

boost::asio::awaitable<void> watch_services(std::function<void(ServiceState)> use) {
  ServiceState state;
  state.reason = "this program was built without libsystemd";
  use(std::move(state));
  co_return;
}

}  // namespace onebit::landing
