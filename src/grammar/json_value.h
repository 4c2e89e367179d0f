// JSON with its members in the order in which they were written, and its numbers as they were.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace onebit::grammar {

struct JsonValue {
  enum class Kind { kNull, kBoolean, kNumber, kString, kArray, kObject };

  Kind kind = Kind::kNull;
  bool boolean = false;
  double number = 0;
  std::string text{};                                        // a string's; a number as it was written
  std::vector<JsonValue> items{};                            // an array's
  std::vector<std::pair<std::string, JsonValue>> members{};  // an object's; no name twice

  bool is(Kind k) const { return kind == k; }
  /// A number without a fraction, as JSON Schema means integers.
  bool is_integer() const;
  /// Null where this is no object or has no such member.
  const JsonValue* find(std::string_view name) const;
  /// By value: 1 equals 1.0, members in any order.
  bool operator==(const JsonValue& other) const;
};

/// At most so many levels.
constexpr int kDeepestJson = 128;
/// And so many values: each takes some hundred bytes, of which a body of megabytes could have millions.
constexpr size_t kMostJsonValues = 300'000;
/// Errors: not JSON, too deep, too many values. Of a name that stands twice in an object the last counts.
Result<JsonValue> parse_json(std::string_view text);
/// Compact.
std::string to_json(const JsonValue& value);
/// A string in quotes.
std::string to_json(std::string_view text);

}  // namespace onebit::grammar
