// A client for one HTTP server, for one thread. A library of its own (onebit_http), for it needs Boost.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>

#include "base/result.h"

namespace onebit {

struct HttpReply {
  int status = 0;
  std::string body;
};

struct HttpPost {
  std::string path;  // after the client's prefix
  std::string content_type = "application/json";
  std::string body;
};

/// What an exchange may come to.
struct HttpBounds {
  uint64_t most_bytes = 64 << 20;  // of the answer's body
  /// Gets the body of an answer of status 200 as it comes, instead of the reply; false ends the exchange.
  std::function<bool(std::string_view part)> sink{};
  std::stop_token stop{};  // asked to, the exchange ends at once, from whatever thread
};

class HttpClient {
 public:
  /// `url`: http://HOST[:PORT][/PREFIX]. `key`: sent as a bearer token, unless empty. `timeout`: of a whole exchange.
  /// Nothing is connected yet.
  static Result<HttpClient> open(const std::string& url, std::string key, std::chrono::milliseconds timeout);
  HttpClient(HttpClient&&) noexcept;
  HttpClient& operator=(HttpClient&&) noexcept;
  ~HttpClient();

  /// Sends a JSON body to PREFIX + `path`; the connection is kept for the next. Errors: no server, no answer in time.
  Result<HttpReply> post(const std::string& path, const std::string& body);
  /// Errors also: a longer answer than allowed, an exchange that was ended.
  Result<HttpReply> post(const HttpPost& post, const HttpBounds& bounds);

  /// Errors as of post.
  Result<HttpReply> get(const std::string& path, const HttpBounds& bounds = {});

  /// What follows the host in the URL, without a slash at its end.
  const std::string& prefix() const;

 private:
  struct Impl;
  explicit HttpClient(std::unique_ptr<Impl> impl);
  template <class Request>
  Result<HttpReply> ask(const Request& request, const HttpBounds& bounds);
  std::unique_ptr<Impl> impl_;
};

}  // namespace onebit
