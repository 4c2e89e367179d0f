// Calls of tools in an answer: how they are written, and the rules for them.
#pragma once

#include <string_view>

#include "grammar/json_value.h"
#include "grammar/program.h"

namespace onebit::grammar {

/// A call is kCallBegin, the tool's name as JSON writes it, kCallMiddle, the arguments, kCallEnd; between two calls is
/// a line end.
constexpr std::string_view kCallMarker = "<tool_call>";
constexpr std::string_view kCallBegin = "<tool_call>\n{\"name\": ";
constexpr std::string_view kCallMiddle = ", \"arguments\": ";
constexpr std::string_view kCallEnd = "}\n</tool_call>";
constexpr uint32_t kMostCalls = 16;

/// `source`: {"tools": [{"name": …, "parameters": schema}, …], "text": whether words may come before calls or in their
/// place, "schema": instead of words, a value that fits it, "parallel": whether there may be several}. Errors: as of
/// schemas, with the tool's name before them.
Result<Rules> tool_rules(const JsonValue& source, Budget& budget);

}  // namespace onebit::grammar
