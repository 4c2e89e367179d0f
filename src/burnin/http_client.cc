#include "burnin/http_client.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <charconv>

namespace onebit::burnin {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr uint64_t kMostReplyBytes = 64 << 20;

using Request = http::request<http::string_body>;
using Outcome = std::pair<boost::system::error_code, HttpReply>;

}  // namespace

struct HttpClient::Impl {
  std::string host, port, prefix, key, url;
  std::chrono::milliseconds timeout{};
  asio::io_context io{1};
  std::unique_ptr<beast::tcp_stream> stream;  // while connected
  beast::flat_buffer buffer;

  asio::awaitable<boost::system::error_code> connect();
  asio::awaitable<boost::system::error_code> exchange(const Request& request, HttpReply& reply);
  boost::system::error_code run(asio::awaitable<boost::system::error_code> work);
  Request make(const std::string& path, const std::string& body) const;
};

HttpClient::HttpClient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpClient::HttpClient(HttpClient&&) noexcept = default;
HttpClient& HttpClient::operator=(HttpClient&&) noexcept = default;
HttpClient::~HttpClient() = default;

Result<HttpClient> HttpClient::open(const std::string& url, std::string key, std::chrono::milliseconds timeout) {
  constexpr std::string_view kScheme = "http://";
  if (!url.starts_with(kScheme)) return fail("{}: expected http://HOST:PORT (for https, put a proxy before it)", url);
  auto impl = std::make_unique<Impl>();
  const auto rest = url.substr(kScheme.size());
  const auto authority = rest.substr(0, rest.find('/'));
  impl->prefix = rest.substr(authority.size());
  while (impl->prefix.ends_with('/')) impl->prefix.pop_back();
  const size_t bracket = authority.find(']');  // of an IPv6 address
  const size_t colon = authority.find(':', bracket == std::string::npos ? 0 : bracket);
  impl->host = authority.substr(0, colon);
  impl->port = colon == std::string::npos ? "80" : authority.substr(colon + 1);
  if (impl->host.starts_with('[') && bracket != std::string::npos) impl->host = impl->host.substr(1, bracket - 1);
  if (impl->host.empty()) return fail("{}: has no host", url);
  uint32_t port = 0;
  const auto end = std::from_chars(impl->port.data(), impl->port.data() + impl->port.size(), port);
  if (end.ec != std::errc() || end.ptr != impl->port.data() + impl->port.size() || port < 1 || port > 65535)
    return fail("{}: '{}' is no port", url, impl->port);
  if (url.find_first_of("@?# \t\r\n") != std::string::npos)
    return fail("{}: expected http://HOST:PORT/PREFIX, without a user, a query or spaces", url);
  impl->url = url;
  impl->key = std::move(key);
  impl->timeout = timeout;
  return HttpClient(std::move(impl));
}

asio::awaitable<boost::system::error_code> HttpClient::Impl::connect() {
  tcp::resolver resolver(io);
  const auto [error, found] = co_await resolver.async_resolve(host, port, kAwait);
  if (error) co_return error;
  stream = std::make_unique<beast::tcp_stream>(io);
  buffer.clear();
  stream->expires_after(timeout);
  const auto [refused, endpoint] = co_await stream->async_connect(found, kAwait);
  if (!refused) {
    boost::system::error_code ignored;
    stream->socket().set_option(tcp::no_delay(true), ignored);
  }
  co_return refused;
}

asio::awaitable<boost::system::error_code> HttpClient::Impl::exchange(const Request& request, HttpReply& reply) {
  stream->expires_after(timeout);
  const auto [unsent, sent] = co_await http::async_write(*stream, request, kAwait);
  if (unsent) co_return unsent;
  bool keep = false;
  do {  // what comes before the answer itself (100 to 199) is passed over
    http::response_parser<http::string_body> parser;
    parser.body_limit(kMostReplyBytes);
    const auto [error, bytes] = co_await http::async_read(*stream, buffer, parser, kAwait);
    if (error) co_return error;
    reply.status = static_cast<int>(parser.get().result_int());
    keep = parser.get().keep_alive();
    reply.body = std::move(parser.get().body());
  } while (reply.status < 200);
  if (!keep || buffer.size() > 0) stream.reset();  // more than was asked for: it would be taken for the next answer
  co_return boost::system::error_code();
}

boost::system::error_code HttpClient::Impl::run(asio::awaitable<boost::system::error_code> work) {
  boost::system::error_code result = asio::error::operation_aborted;
  asio::co_spawn(io, std::move(work), [&](const std::exception_ptr& thrown, boost::system::error_code error) {
    result = thrown ? make_error_code(boost::system::errc::not_enough_memory) : error;
  });
  io.restart();
  io.run();
  if (result) stream.reset();
  return result;
}

Request HttpClient::Impl::make(const std::string& path, const std::string& body) const {
  Request request(http::verb::post, prefix + path, 11);
  request.set(http::field::host, host.find(':') == std::string::npos ? host + ":" + port : "[" + host + "]:" + port);
  request.set(http::field::content_type, "application/json");
  if (!key.empty()) request.set(http::field::authorization, "Bearer " + key);
  request.body() = body;
  request.prepare_payload();
  return request;
}

Result<HttpReply> HttpClient::post(const std::string& path, const std::string& body) {
  const auto request = impl_->make(path, body);
  HttpReply reply;
  if (impl_->stream) {  // a kept connection may have been closed meanwhile; then a new one is tried
    const auto error = impl_->run(impl_->exchange(request, reply));
    if (!error) return reply;
    if (error == beast::error::timeout) return fail("{}: no answer within {} ms", impl_->url, impl_->timeout.count());
  }
  auto error = impl_->run(impl_->connect());
  if (!error) error = impl_->run(impl_->exchange(request, reply));
  if (!error) return reply;
  if (error == beast::error::timeout) return fail("{}: no answer within {} ms", impl_->url, impl_->timeout.count());
  return fail("{}: {}", impl_->url, error.message());
}

}  // namespace onebit::burnin
