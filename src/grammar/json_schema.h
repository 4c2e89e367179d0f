// JSON Schema to rules: what a schema says of a value becomes a rule that matches the value's text.
#pragma once

#include <string_view>

#include "grammar/json_value.h"
#include "grammar/program.h"

namespace onebit::grammar {

/// Adds rules for values of a schema, which must outlive nothing: it is read at once. Returns their first; errors name
/// the keyword that is not supported or cannot be.
Result<RuleId> add_schema(Rules& rules, const JsonValue& schema, Budget& budget);

}  // namespace onebit::grammar
