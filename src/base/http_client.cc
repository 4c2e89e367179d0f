#include "base/http_client.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <charconv>

namespace onebit {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

using WireRequest = http::request<http::string_body>;

}  // namespace

struct HttpClient::Impl {
  std::string host, port, prefix, key, url;
  std::chrono::milliseconds timeout{};
  asio::io_context io{1};
  std::unique_ptr<beast::tcp_stream> stream;  // while connected
  beast::flat_buffer buffer;
  std::stop_token stop;  // of the post under way
  uint64_t posts = 0;    // so that a stop that comes late does not end the next

  asio::awaitable<boost::system::error_code> connect();
  asio::awaitable<boost::system::error_code> exchange(const WireRequest& request, const HttpBounds& bounds,
                                                      HttpReply& reply);
  boost::system::error_code run(asio::awaitable<boost::system::error_code> work);
  WireRequest begin(http::verb verb, const std::string& path) const;
  WireRequest make(const HttpPost& post) const;
  tl::unexpected<Error> explain(boost::system::error_code error, const HttpBounds& bounds) const;
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
  if (stop.stop_requested()) co_return asio::error::operation_aborted;
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

asio::awaitable<boost::system::error_code> HttpClient::Impl::exchange(const WireRequest& request,
                                                                      const HttpBounds& bounds, HttpReply& reply) {
  if (stop.stop_requested()) co_return asio::error::operation_aborted;
  stream->expires_after(timeout);
  const auto [unsent, sent] = co_await http::async_write(*stream, request, kAwait);
  if (unsent) co_return unsent;
  bool keep = false;
  do {  // what comes before the answer itself (100 to 199) is passed over
    http::response_parser<http::string_body> parser;
    parser.body_limit(bounds.most_bytes);
    const auto [bad, header] = co_await http::async_read_header(*stream, buffer, parser, kAwait);
    if (bad) co_return bad;
    reply.status = static_cast<int>(parser.get().result_int());
    const bool streamed = bounds.sink && reply.status == 200;
    while (!parser.is_done()) {
      const auto [error, bytes] = co_await http::async_read_some(*stream, buffer, parser, kAwait);
      if (error) co_return error;
      auto& body = parser.get().body();
      if (streamed && !body.empty() && !bounds.sink(body)) co_return asio::error::operation_aborted;
      if (streamed) body.clear();
    }
    keep = parser.get().keep_alive();
    if (streamed && !parser.get().body().empty() && !bounds.sink(parser.get().body()))
      co_return asio::error::operation_aborted;
    reply.body = streamed ? std::string() : std::move(parser.get().body());
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

WireRequest HttpClient::Impl::begin(http::verb verb, const std::string& path) const {
  WireRequest request(verb, prefix + path, 11);
  request.set(http::field::host, host.find(':') == std::string::npos ? host + ":" + port : "[" + host + "]:" + port);
  if (!key.empty()) request.set(http::field::authorization, "Bearer " + key);
  return request;
}

WireRequest HttpClient::Impl::make(const HttpPost& post) const {
  auto request = begin(http::verb::post, post.path);
  request.set(http::field::content_type, post.content_type);
  request.body() = post.body;
  request.prepare_payload();
  return request;
}

tl::unexpected<Error> HttpClient::Impl::explain(boost::system::error_code error, const HttpBounds& bounds) const {
  if (bounds.stop.stop_requested()) return fail("{}: ended before the answer", url);
  if (error == beast::error::timeout) return fail("{}: no answer within {} ms", url, timeout.count());
  if (error == http::error::body_limit) return fail("{}: the answer has more than {} bytes", url, bounds.most_bytes);
  return fail("{}: {}", url, error.message());
}

const std::string& HttpClient::prefix() const {
  return impl_->prefix;
}

Result<HttpReply> HttpClient::post(const std::string& path, const std::string& body) {
  return post({.path = path, .body = body}, {});
}

Result<HttpReply> HttpClient::post(const HttpPost& post, const HttpBounds& bounds) {
  return ask(impl_->make(post), bounds);
}

Result<HttpReply> HttpClient::get(const std::string& path, const HttpBounds& bounds) {
  return ask(impl_->begin(http::verb::get, path), bounds);
}

template <class Request>
Result<HttpReply> HttpClient::ask(const Request& request, const HttpBounds& bounds) {
  auto& impl = *impl_;
  HttpReply reply;
  bool told = false;  // the sink: a second try would tell it all again
  HttpBounds used = bounds;
  if (bounds.sink) used.sink = [&](std::string_view part) { return told = true, bounds.sink(part); };
  impl.stop = bounds.stop;
  const std::stop_callback on_stop(bounds.stop, [&impl, number = ++impl.posts] {
    asio::post(impl.io, [&impl, number] {
      if (impl.stream && impl.posts == number) impl.stream->close();
    });
  });
  if (impl.stream && !bounds.stop.stop_requested()) {
    // A kept connection may have been closed meanwhile; then a new one is tried.
    const auto error = impl.run(impl.exchange(request, used, reply));
    if (!error) return reply;
    if (error == beast::error::timeout || error == http::error::body_limit || told || bounds.stop.stop_requested())
      return impl.explain(error, bounds);
  }
  if (bounds.stop.stop_requested()) return fail("{}: ended before the answer", impl.url);
  auto error = impl.run(impl.connect());
  if (!error) error = impl.run(impl.exchange(request, used, reply));
  if (!error) return reply;
  return impl.explain(error, bounds);
}

}  // namespace onebit
