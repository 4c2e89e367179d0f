// A client for one HTTP server, for one thread.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "base/result.h"

namespace onebit::burnin {

struct HttpReply {
  int status = 0;
  std::string body;
};

class HttpClient {
 public:
  /// `url`: http://HOST[:PORT][/PREFIX]. `key`: sent as a bearer token, unless empty. Nothing is connected yet.
  static Result<HttpClient> open(const std::string& url, std::string key, std::chrono::milliseconds timeout);
  HttpClient(HttpClient&&) noexcept;
  HttpClient& operator=(HttpClient&&) noexcept;
  ~HttpClient();

  /// Sends a JSON body to PREFIX + `path`; the connection is kept for the next. Errors: no server, no answer in time.
  Result<HttpReply> post(const std::string& path, const std::string& body);

 private:
  struct Impl;
  explicit HttpClient(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace onebit::burnin
