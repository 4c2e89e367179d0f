#include "server/api_error.h"

#include <nlohmann/json.hpp>

namespace onebit::server {

std::string ApiError::type() const {
  if (status == 401) return "authentication_error";
  if (status == 404) return "not_found_error";
  if (status == 429) return "rate_limit_error";
  if (status == 503) return "service_unavailable_error";
  return status >= 500 ? "server_error" : "invalid_request_error";
}

std::string ApiError::json() const {
  nlohmann::ordered_json error{{"message", message}, {"type", type()}, {"param", nullptr}, {"code", nullptr}};
  if (!param.empty()) error["param"] = param;
  if (!code.empty()) error["code"] = code;
  using Dump = nlohmann::ordered_json;
  return Dump{{"error", error}}.dump(-1, ' ', false, Dump::error_handler_t::replace);
}

}  // namespace onebit::server
