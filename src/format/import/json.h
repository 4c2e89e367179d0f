// JSON from a stranger.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "base/result.h"

namespace onebit {

/// Parses a value nested at most 64 deep in which no object has a key twice. `what` (a path) begins
/// the error.
Result<nlohmann::json> parse_json(std::string_view text, std::string_view what);
/// The same of a value that is an object.
Result<nlohmann::json> parse_json_object(std::string_view text, std::string_view what);

/// Largest JSON file that is read at all; the biggest tokenizer.json in use has 35 MB.
inline constexpr size_t kMaxJsonBytes = size_t{128} << 20;

}  // namespace onebit
