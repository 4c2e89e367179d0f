// Regular expressions as ECMA-262 writes them (JSON Schema's), over code points, but for what no finite automaton does.
#pragma once

#include <string_view>

#include "grammar/expression.h"

namespace onebit::grammar {

/// Errors name the construct: back references, look-around, word boundaries, \p{…}, flags; what is malformed.
Result<Expression> parse_regex(std::string_view pattern);
/// Texts in which the pattern is found somewhere, as JSON Schema means `pattern`.
Expression found_in(Expression pattern);
/// Any text.
Expression any_text();

}  // namespace onebit::grammar
