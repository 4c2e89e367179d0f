// Errors as values. A bad file or request is an answer, not a crash: functions that can fail return
// Result<T>; exceptions never cross a library boundary.
#pragma once

#include <fmt/format.h>

#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace onebit {

/// What failed, on what, and what to do, in one sentence that can be shown to a user as it is.
struct Error {
  std::string message;
};

template <class T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

/// `return fail("{}: tensor {}: …", path, name);` from any function that returns a Result.
template <class... Args>
[[nodiscard]] tl::unexpected<Error> fail(fmt::format_string<Args...> format, Args&&... args) {
  return tl::unexpected<Error>(Error{fmt::format(format, std::forward<Args>(args)...)});
}

/// Passes on an error from below with the place it was met put before it: "context: message".
[[nodiscard]] inline tl::unexpected<Error> fail_in(std::string_view context, const Error& error) {
  return tl::unexpected<Error>(Error{fmt::format("{}: {}", context, error.message)});
}

}  // namespace onebit

#define ONEBIT_CONCAT_(a, b) a##b
#define ONEBIT_CONCAT(a, b) ONEBIT_CONCAT_(a, b)

/// Leaves the function with the error of `expression`, a Status or Result, where it has one.
#define RETURN_IF_ERROR(expression)                                                                                \
  do {                                                                                                             \
    if (auto status_ = (expression); !status_) return tl::unexpected<::onebit::Error>(std::move(status_).error()); \
  } while (false)

/// `ASSIGN_OR_RETURN(auto file, MappedFile::open(path));`
#define ASSIGN_OR_RETURN(declaration, expression) \
  ASSIGN_OR_RETURN_(ONEBIT_CONCAT(result_, __LINE__), declaration, expression)
#define ASSIGN_OR_RETURN_(temporary, declaration, expression)                           \
  auto temporary = (expression);                                                        \
  if (!temporary) return tl::unexpected<::onebit::Error>(std::move(temporary).error()); \
  declaration = *std::move(temporary)
