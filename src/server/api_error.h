// Refusals in OpenAI's shape: {"error": {"message", "type", "param", "code"}}.
#pragma once

#include <string>
#include <tl/expected.hpp>

namespace onebit::server {

struct ApiError {
  int status = 400;
  std::string message;
  std::string param{};  // the field at fault, where it is one
  std::string code{};   // a word for programs
  int retry_after = 0;  // seconds; 0: not said

  /// "invalid_request_error", "authentication_error", … by status.
  std::string type() const;
  std::string json() const;
};

/// What a coroutine says: g++ 12 destroys aggregates made inside a co_await expression twice (GCC bug 98401), so there
/// errors and responses are made by functions.
inline ApiError api_error(int status, std::string code, std::string message, int retry_after = 0) {
  return {.status = status, .message = std::move(message), .code = std::move(code), .retry_after = retry_after};
}

template <class T>
using ApiResult = tl::expected<T, ApiError>;

/// How a protocol writes a refusal's body.
using ErrorForm = std::string (*)(const ApiError& error);

}  // namespace onebit::server
