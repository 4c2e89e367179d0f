#include "server/listen.h"

namespace onebit::server {

Result<uint16_t> listen_at(boost::asio::ip::tcp::acceptor& acceptor, const std::string& host, uint16_t port) {
  using boost::asio::ip::tcp;
  boost::system::error_code error;
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

}  // namespace onebit::server
