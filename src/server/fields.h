// Reading a request's JSON object: each field with its type and range, the first fault kept with the field's name.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "format/model_config.h"
#include "server/api_error.h"

namespace onebit::server {

/// A field that is absent or null has its fallback.
class Fields {
 public:
  explicit Fields(const nlohmann::json& object) : object_(object) {}

  /// Null where absent.
  const nlohmann::json* find(const char* name) const;

  double number(const char* name, double fallback, double low, double high);
  int64_t integer(const char* name, int64_t fallback, int64_t low, int64_t high);
  bool boolean(const char* name, bool fallback);
  std::string string(const char* name, std::string fallback);
  /// A string or an array of them, at most `most`.
  std::vector<std::string> strings(const char* name, size_t most);

  /// Keeps the first fault.
  void fault(const std::string& field, std::string message, int status = 400, std::string code = {});
  const ApiError* error() const { return error_ ? &*error_ : nullptr; }

 private:
  const nlohmann::json& object_;
  std::optional<ApiError> error_;
};

/// Whether a prompt is given as token ids: an array of integers, one at least.
bool is_token_ids(const nlohmann::json& value);
/// They, as they are; one out of range becomes -1, which the engine refuses by name.
std::vector<TokenId> token_ids(const nlohmann::json& value);

}  // namespace onebit::server
