#include "server/connection.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/chunk_encode.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/write.hpp>

namespace onebit::server {
namespace {

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

std::string_view view(beast::string_view text) {
  return {text.data(), text.size()};
}

}  // namespace

class Connection::Parser : public http::request_parser<http::string_body> {};

asio::awaitable<bool> Connection::read_header() {
  parser_ = std::make_shared<Parser>();
  parser_->header_limit(limits_.header_bytes);
  parser_->body_limit(limits_.body_bytes);
  request_ = {};
  extra_.clear();
  stream_.expires_after(limits_.idle);
  const auto [error, bytes] = co_await http::async_read_header(stream_, buffer_, *parser_, kAwait);
  if (!error) {
    request_ = parser_->get();
    keep_alive_ = request_.keep_alive();
    chunked_ = request_.version() >= 11;
    co_return true;
  }
  if (error == http::error::header_limit)
    co_await refuse_and_close(431, fmt::format("the header is longer than {} bytes", limits_.header_bytes));
  else if (error == http::error::body_limit)
    co_await refuse_and_close(413, fmt::format("the body is longer than {} bytes", limits_.body_bytes));
  else if (error.category() == make_error_code(http::error::bad_method).category() &&
           error != http::error::end_of_stream && error != http::error::partial_message)
    co_await refuse_and_close(400, "this is not HTTP: " + error.message());
  co_return false;
}

asio::awaitable<bool> Connection::read_body() {
  stream_.expires_after(limits_.body);
  if (beast::iequals(request_[http::field::expect], "100-continue")) {
    http::response<http::empty_body> go_on(http::status::continue_, request_.version());
    const auto [error, bytes] = co_await http::async_write(stream_, go_on, kAwait);
    if (error) co_return false;
  }
  const auto [error, bytes] = co_await http::async_read(stream_, buffer_, *parser_, kAwait);
  if (!error) {
    request_ = parser_->release();
    stream_.expires_never();
    co_return true;
  }
  if (error == http::error::body_limit)
    co_await refuse_and_close(413, fmt::format("the body is longer than {} bytes", limits_.body_bytes));
  else if (error == beast::error::timeout)
    close();
  else
    co_await refuse_and_close(400, "the body is incomplete");
  co_return false;
}

bool Connection::has_body() const {
  return request_.chunked() ||
         (request_.find(http::field::content_length) != request_.end() && request_[http::field::content_length] != "0");
}

std::string_view Connection::header(std::string_view name) const {
  return view(request_[beast::string_view(name.data(), name.size())]);
}

std::string_view Connection::path() const {
  const auto target = view(request_.target());
  return target.substr(0, target.find('?'));
}

asio::awaitable<bool> Connection::respond(HttpResponse response) {
  http::response<http::string_body> message;
  message.version(11);
  message.result(static_cast<unsigned>(response.status));
  message.set(http::field::content_type, response.type);
  for (const auto& [name, value] : extra_) message.set(name, value);
  if (response.retry_after > 0) message.set(http::field::retry_after, std::to_string(response.retry_after));
  message.keep_alive(keep_alive_);
  const bool head = request_.method() == http::verb::head;
  message.content_length(response.body.size());
  if (!head) message.body() = std::move(response.body);
  stream_.expires_after(limits_.write);
  const auto [error, bytes] = co_await http::async_write(stream_, message, kAwait);
  co_return !error;
}

asio::awaitable<bool> Connection::refuse(const ApiError& error) {
  co_return co_await respond(json_response(error.json(), error.status, error.retry_after));
}

asio::awaitable<bool> Connection::refuse_and_close(int status, std::string message) {
  keep_alive_ = false;
  co_await refuse(api_error(status, "", std::move(message)));
  co_return false;
}

asio::awaitable<bool> Connection::begin_stream() {
  http::response<http::empty_body> message(http::status::ok, 11);
  message.set(http::field::content_type, "text/event-stream");
  message.set(http::field::cache_control, "no-cache");
  for (const auto& [name, value] : extra_) message.set(name, value);
  keep_alive_ = keep_alive_ && chunked_;
  message.keep_alive(keep_alive_);
  message.chunked(chunked_);
  http::response_serializer<http::empty_body> serializer(message);
  stream_.expires_after(limits_.write);
  const auto [error, bytes] = co_await http::async_write_header(stream_, serializer, kAwait);
  co_return !error;
}

asio::awaitable<bool> Connection::write(const std::string& events) {
  if (events.empty()) co_return true;  // an empty chunk would end the stream
  stream_.expires_after(limits_.write);
  boost::system::error_code error;
  if (chunked_)
    std::tie(error, std::ignore) = co_await asio::async_write(stream_, http::make_chunk(asio::buffer(events)), kAwait);
  else
    std::tie(error, std::ignore) = co_await asio::async_write(stream_, asio::buffer(events), kAwait);
  stream_.expires_never();
  co_return !error;
}

asio::awaitable<bool> Connection::end_stream() {
  if (!chunked_) co_return true;
  stream_.expires_after(limits_.write);
  const auto [error, bytes] = co_await asio::async_write(stream_, http::make_chunk_last(), kAwait);
  co_return !error;
}

Connection::Watch::Watch(Connection& connection, std::function<void()> gone) {
  auto& socket = connection.stream_.socket();
  const int handle = socket.native_handle();
  socket.async_wait(asio::ip::tcp::socket::wait_read,
                    asio::bind_cancellation_slot(stop_.slot(), [handle, watching = watching_, gone = std::move(gone)](
                                                                   boost::system::error_code error) {
                      if (error || !*watching) return;  // stopped
                      char byte = 0;
                      const auto n = ::recv(handle, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
                      if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) gone();
                    }));
}

Connection::Watch::~Watch() {
  *watching_ = false;  // for a handler that is on its way already
  stop_.emit(asio::cancellation_type::all);
}

void Connection::close() {
  boost::system::error_code ignored;
  stream_.socket().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  stream_.close();
}

}  // namespace onebit::server
