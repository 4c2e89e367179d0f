// One client's connection: requests in, answers and streams of events out.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/string_body.hpp>
#include <chrono>
#include <functional>
#include <string>

#include "server/api_error.h"

namespace onebit::server {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;

using HttpRequest = http::request<http::string_body>;

struct HttpResponse {
  int status = 200;
  std::string body;
  std::string type = "application/json";
  int retry_after = 0;  // seconds
  std::string allow{};  // methods, where the one that was used is none of them
};

/// See api_error().
inline HttpResponse json_response(std::string body, int status = 200, int retry_after = 0) {
  return {.status = status, .body = std::move(body), .retry_after = retry_after};
}

struct ConnectionLimits {
  uint64_t body_bytes = 8 << 20;
  uint32_t header_bytes = 16 << 10;
  std::chrono::seconds header{10};  // for a request's header, from its first byte or the connection's beginning
  std::chrono::seconds idle{75};    // from an answer to the next request's first byte
  std::chrono::seconds body{30};    // for a request's body
  std::chrono::seconds write{30};   // for what the client has to take at once
};

class Connection {
 public:
  /// `form_of`: how refusals of requests for a path are written.
  Connection(beast::tcp_stream stream, const ConnectionLimits& limits, ErrorForm (*form_of)(std::string_view path))
      : stream_(std::move(stream)), limits_(limits), form_of_(form_of), buffer_(kBuffer + limits.header_bytes) {}

  /// The next request's header; false where the client is gone or spoke no HTTP (which it was told).
  asio::awaitable<bool> read_header();
  /// Method, path and headers after read_header(); the body after read_body().
  const HttpRequest& request() const { return request_; }
  /// `room` hears how many bytes there are of it as they come, and says whether there may be so many. False where the
  /// body did not come, was too long or has no room (which the client was told).
  asio::awaitable<bool> read_body(std::function<bool(uint64_t bytes)> room);
  /// The value of a header; empty where it is absent.
  std::string_view header(std::string_view name) const;
  /// The request's path without its query.
  std::string_view path() const;

  /// The value of a field of the query, as it stands there; empty where it is absent.
  std::string_view query(std::string_view name) const;

  HttpResponse error_response(const ApiError& error) const {
    return json_response(error_form_(error), error.status, error.retry_after);
  }

  /// Headers that every answer of this connection has.
  void add_header(std::string name, std::string value) { extra_.emplace_back(std::move(name), std::move(value)); }
  asio::awaitable<bool> respond(HttpResponse response);
  asio::awaitable<void> answer(HttpResponse response) { co_await respond(std::move(response)); }
  asio::awaitable<void> refuse(const ApiError& error);
  /// Who asks, as a number: 0 where no key is needed, or where all share what is remembered of prompts.
  void set_tenant(uint32_t tenant) { tenant_ = tenant; }
  uint32_t tenant() const { return tenant_; }
  /// How the last request ended, for the log: the status that was sent, or what set_status() says came of it.
  int status() const { return status_; }
  void set_status(int status) { status_ = status; }
  /// The request has no answer, or half of one: nothing can follow on this connection.
  void client_gone() {
    status_ = 499;  // as proxies call it
    keep_alive_ = false;
  }

  /// A stream of events; false once the client is gone or takes nothing for too long.
  asio::awaitable<bool> begin_stream(const char* type = "text/event-stream");
  asio::awaitable<bool> write(const std::string& events);
  asio::awaitable<bool> end_stream();

  /// The stream, which is a WebSocket's from now on: no request follows. Must outlive whoever has it.
  beast::tcp_stream& upgrade() {
    keep_alive_ = false;
    status_ = 101;
    stream_.expires_never();
    return stream_;
  }
  /// The client has sent more than its request.
  bool has_more() const { return buffer_.size() > 0; }

  /// Calls `gone` if the client closes its side before this is destroyed, also where it sent more than its request.
  class Watch {
   public:
    Watch(Connection& connection, std::function<void()> gone);
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;
    ~Watch();

   private:
    struct State;
    static void wait(const std::shared_ptr<State>& state);
    std::shared_ptr<State> state_;
  };

  /// The next request may come on the same connection.
  bool keep_alive() const { return keep_alive_; }
  void forbid_keep_alive() { keep_alive_ = false; }
  /// Ends it. A client that still sends hears the answer first: closed at once, the connection would be reset.
  asio::awaitable<void> finish();
  void close();

 private:
  /// Bytes beside a header that wait to be understood: chunks' sizes with their extensions, trailers, a body's pieces.
  static constexpr size_t kBuffer = 64 << 10;
  class Parser;
  /// After each write: whether it failed.
  bool lost(boost::system::error_code error);
  const char* two_meanings() const;
  asio::awaitable<bool> wait_for_more();
  asio::awaitable<void> refuse_and_close(int status, std::string message);

  beast::tcp_stream stream_;
  ConnectionLimits limits_;
  ErrorForm (*form_of_)(std::string_view path);
  beast::flat_buffer buffer_;
  std::shared_ptr<Parser> parser_;
  HttpRequest request_;
  std::vector<std::pair<std::string, std::string>> extra_;
  static std::string plain_error(const ApiError& error) { return error.json(); }
  ErrorForm error_form_ = plain_error;
  bool keep_alive_ = true;
  bool chunked_ = true;
  bool unread_ = false;  // of the request, its body
  bool first_ = true;
  int status_ = 0;
  uint32_t tenant_ = 0;
};

}  // namespace onebit::server
