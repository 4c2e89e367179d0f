#include "server/connection.h"

#include <fmt/format.h>
#include <poll.h>

#include <array>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/chunk_encode.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/write.hpp>

#include "server/await.h"

namespace onebit::server {
namespace {

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
  error_form_ = plain_error;
  status_ = 0;
  unread_ = true;
  if (!std::exchange(first_, false) && buffer_.size() == 0 && !co_await wait_for_more()) co_return false;
  stream_.expires_after(limits_.header);
  const auto [error, bytes] = co_await http::async_read_header(stream_, buffer_, *parser_, kAwait);
  request_ = parser_->get();  // as far as it came
  error_form_ = form_of_(path());
  if (!error) {
    unread_ = !parser_->is_done();
    keep_alive_ = request_.keep_alive();
    chunked_ = request_.version() >= 11;
    const auto fault = two_meanings();
    if (!fault) co_return true;
    unread_ = true;
    co_await refuse_and_close(400, fault);
    co_return false;
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

/// What another reader on the way could understand in another way, and so see another request's beginning than we do.
const char* Connection::two_meanings() const {
  if (request_.count(http::field::host) > 1) return "there is more than one Host";
  if (request_.count(http::field::transfer_encoding) > 0 && !parser_->chunked())
    return "of transfer codings only chunked is known";
  return nullptr;
}

/// Between two requests nobody is slow yet: that counts from the first byte.
asio::awaitable<bool> Connection::wait_for_more() {
  stream_.expires_after(limits_.idle);
  const auto [error, bytes] = co_await stream_.async_read_some(buffer_.prepare(4096), kAwait);
  buffer_.commit(bytes);
  co_return !error;
}

asio::awaitable<bool> Connection::read_body(std::function<bool(uint64_t)> room) {
  stream_.expires_after(limits_.body);
  if (beast::iequals(request_[http::field::expect], "100-continue")) {
    http::response<http::empty_body> go_on(http::status::continue_, request_.version());
    const auto [error, bytes] = co_await http::async_write(stream_, go_on, kAwait);
    if (error) co_return false;
  }
  boost::system::error_code error;
  while (!parser_->is_done() && !error) {
    std::tie(error, std::ignore) = co_await http::async_read_some(stream_, buffer_, *parser_, kAwait);
    if (!error && !room(parser_->get().body().size())) {
      co_await refuse(api_error(503, "busy", "the requests under way fill the memory for requests", 1));
      co_return false;
    }
  }
  if (!error) {
    request_ = parser_->release();
    unread_ = false;
    stream_.expires_never();
    co_return true;
  }
  if (error == http::error::body_limit)
    co_await refuse_and_close(413, fmt::format("the body is longer than {} bytes", limits_.body_bytes));
  else if (error == http::error::buffer_overflow)
    co_await refuse_and_close(400, "the body has more around it than in it");
  else if (error == beast::error::timeout)
    status_ = 408;  // too late to say it: the connection is closed
  else
    co_await refuse_and_close(400, "the body is incomplete");
  co_return false;
}

std::string_view Connection::header(std::string_view name) const {
  return view(request_[beast::string_view(name.data(), name.size())]);
}

std::string_view Connection::path() const {
  const auto target = view(request_.target());
  return target.substr(0, target.find('?'));
}

std::string_view Connection::query(std::string_view name) const {
  auto rest = view(request_.target());
  rest.remove_prefix(std::min(rest.size(), rest.find('?')));
  while (!rest.empty()) {
    rest.remove_prefix(1);  // ? or &
    const auto field = rest.substr(0, rest.find('&'));
    if (field.starts_with(name) && field.substr(name.size()).starts_with('=')) return field.substr(name.size() + 1);
    rest.remove_prefix(field.size());
  }
  return {};
}

bool Connection::lost(boost::system::error_code error) {
  if (error) keep_alive_ = false;  // what else it sent is not worth an answer, and writing again would only wait
  return bool{error};
}

asio::awaitable<bool> Connection::respond(HttpResponse response) {
  http::response<http::string_body> message;
  message.version(11);
  message.result(static_cast<unsigned>(response.status));
  message.set(http::field::content_type, response.type);
  for (const auto& [name, value] : extra_) message.set(name, value);
  if (!response.allow.empty()) message.set(http::field::allow, response.allow);
  if (response.retry_after > 0) message.set(http::field::retry_after, std::to_string(response.retry_after));
  status_ = response.status;
  keep_alive_ = keep_alive_ && !unread_;  // where it ends and the next request begins is not known
  message.keep_alive(keep_alive_);
  const bool head = request_.method() == http::verb::head;
  if (response.status != 304) message.content_length(response.body.size());  // a 304's would be the whole file's
  if (!head) message.body() = std::move(response.body);
  stream_.expires_after(limits_.write);
  const auto [error, bytes] = co_await http::async_write(stream_, message, kAwait);
  co_return !lost(error);
}

asio::awaitable<void> Connection::refuse(const ApiError& error) {
  co_await respond(error_response(error));
}

asio::awaitable<void> Connection::refuse_and_close(int status, std::string message) {
  keep_alive_ = false;
  co_await refuse(api_error(status, "", std::move(message)));
}

asio::awaitable<bool> Connection::begin_stream(const char* type) {
  http::response<http::empty_body> message(http::status::ok, 11);
  message.set(http::field::content_type, type);
  message.set(http::field::cache_control, "no-cache");
  for (const auto& [name, value] : extra_) message.set(name, value);
  status_ = 200;
  keep_alive_ = keep_alive_ && chunked_;
  message.keep_alive(keep_alive_);
  message.chunked(chunked_);
  http::response_serializer<http::empty_body> serializer(message);
  stream_.expires_after(limits_.write);
  const auto [error, bytes] = co_await http::async_write_header(stream_, serializer, kAwait);
  co_return !lost(error);
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
  co_return !lost(error);
}

asio::awaitable<bool> Connection::end_stream() {
  if (!chunked_) co_return true;
  stream_.expires_after(limits_.write);
  const auto [error, bytes] = co_await asio::async_write(stream_, http::make_chunk_last(), kAwait);
  co_return !lost(error);
}

struct Connection::Watch::State {
  State(asio::ip::tcp::socket& s, std::function<void()> g)
      : handle(s.native_handle()), socket(s), timer(s.get_executor()), gone(std::move(g)) {}
  const int handle;
  asio::ip::tcp::socket& socket;  // while watching
  asio::steady_timer timer;
  std::function<void()> gone;
  asio::cancellation_signal stop;
  bool watching = true;
};

Connection::Watch::Watch(Connection& connection, std::function<void()> gone)
    : state_(std::make_shared<State>(connection.stream_.socket(), std::move(gone))) {
  wait(state_);
}

void Connection::Watch::wait(const std::shared_ptr<State>& state) {
  const auto look = [state](boost::system::error_code error) {
    if (error || !state->watching) return;  // stopped
    pollfd closed{state->handle, POLLRDHUP, 0};
    if (::poll(&closed, 1, 0) > 0) return state->gone();
    // It sent more: that stays where it is, and so the socket stays readable. Looked at again after a while.
    state->timer.expires_after(std::chrono::milliseconds(50));
    state->timer.async_wait([state](boost::system::error_code) {
      if (state->watching) wait(state);
    });
  };
  state->socket.async_wait(asio::ip::tcp::socket::wait_read, asio::bind_cancellation_slot(state->stop.slot(), look));
}

Connection::Watch::~Watch() {
  state_->watching = false;                         // for a handler that is on its way already
  state_->stop.emit(asio::cancellation_type::all);  // a timer under way ends soon, and finds nobody watching
}

asio::awaitable<void> Connection::finish() {
  boost::system::error_code error;
  stream_.socket().shutdown(asio::ip::tcp::socket::shutdown_send, error);
  constexpr size_t kMost = 1 << 20;
  std::array<char, 4096> rest;
  pollfd more{stream_.socket().native_handle(), POLLIN, 0};  // a further request, say
  const bool unread = unread_ || (!error && ::poll(&more, 1, 0) > 0);
  stream_.expires_after(std::chrono::seconds(2));
  for (size_t read = 0, bytes = 0; unread && !error && read < kMost; read += bytes)
    std::tie(error, bytes) = co_await stream_.async_read_some(asio::buffer(rest), kAwait);
  stream_.close();
}

void Connection::close() {
  stream_.close();
}

}  // namespace onebit::server
