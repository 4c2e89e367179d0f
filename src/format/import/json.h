// JSON from a stranger.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "base/result.h"

namespace onebit {

/// Parses an object nested at most 64 deep in which no object has a key twice. `what` (a path) begins
/// the error.
Result<nlohmann::json> parse_json_object(std::string_view text, std::string_view what);

/// Largest JSON file that is read at all; the biggest tokenizer.json in use has 35 MB.
inline constexpr size_t kMaxJsonBytes = size_t{128} << 20;

}  // namespace onebit
