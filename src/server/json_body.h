// A body's JSON: read without following it down the stack, written whatever bytes its strings hold.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "server/api_error.h"

namespace onebit::server {

/// More arrays and objects within each other than any request needs; what parses and copies JSON recurses.
bool too_deep(std::string_view body);

/// The object that a request's body must be.
ApiResult<nlohmann::json> parse_body(std::string_view body);

/// On one line; bytes that are no UTF-8 are replaced.
std::string dump(const nlohmann::ordered_json& value);

/// The string at the top of the object whose name is "model"; empty where there is none, or no object at all. Keeps
/// nothing else of the body.
std::string model_in(std::string_view body);

}  // namespace onebit::server
