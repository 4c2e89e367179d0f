#include "server/listen.h"

#include <sys/socket.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>

#include "base/service_manager.h"
#include "server/await.h"

namespace onebit::server {

Result<uint16_t> listen_at(boost::asio::ip::tcp::acceptor& acceptor, const std::string& host, uint16_t port) {
  using boost::asio::ip::tcp;
  boost::system::error_code error;
  if (const int given = socket_of_manager(); given >= 0) {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    int listens = 0;
    socklen_t flag_size = sizeof listens;
    ::getsockname(given, reinterpret_cast<sockaddr*>(&address), &size);
    ::getsockopt(given, SOL_SOCKET, SO_ACCEPTCONN, &listens, &flag_size);
    if ((address.ss_family != AF_INET && address.ss_family != AF_INET6) || listens == 0)
      return fail("the socket that the service manager gave does not listen for TCP");
    acceptor.assign(address.ss_family == AF_INET ? tcp::v4() : tcp::v6(), given, error);
    if (error) return fail("the socket that the service manager gave: {}", error.message());
    return acceptor.local_endpoint().port();
  }
  tcp::resolver resolver(acceptor.get_executor());
  const auto found = resolver.resolve(host, std::to_string(port), tcp::resolver::passive, error);
  if (error) return fail("{}: this host name cannot be resolved: {}", host, error.message());
  const tcp::endpoint endpoint = found.begin()->endpoint();
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(boost::asio::socket_base::max_listen_connections, error);
  if (error) return fail("{}:{}: cannot listen here: {}", host, port, error.message());
  return acceptor.local_endpoint().port();
}

boost::asio::awaitable<void> tell_watchdog() {
  const auto period = watchdog_period();
  if (period.count() == 0) co_return;
  boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor);
  while (true) {
    notify_manager("WATCHDOG=1");
    timer.expires_after(period / 3);
    co_await timer.async_wait(kAwait);
  }
}

}  // namespace onebit::server
