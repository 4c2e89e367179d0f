#include "format/import/json_fields.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/utf8.h"

namespace onebit {

using nlohmann::json;

const json* find_field(const json& object, std::string_view key) {
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

std::string shown_json(const json& value) {
  constexpr size_t kLimit = 80;
  std::string text = value.dump(-1, ' ', true);
  return text.size() <= kLimit ? text : text.substr(0, kLimit) + "…";
}

std::string field_path(std::string_view where, std::string_view key) {
  return fmt::format("{}{}{}", where, where.ends_with(".json") ? ": " : ".", key);
}

Status check_keys(const json& object, std::string_view where, std::initializer_list<std::string_view> known) {
  if (!object.is_object()) return fail("{}: found {}, expected an object", where, shown_json(object));
  for (const auto& [key, value] : object.items())
    if (std::find(known.begin(), known.end(), key) == known.end())
      return fail("{}: this version does not know this field", field_path(where, printable(key)));
  return {};
}

Status check_unset(const json& object, std::string_view where, std::string_view key,
                   std::initializer_list<json> harmless) {
  const json* value = find_field(object, key);
  if (value == nullptr || std::find(harmless.begin(), harmless.end(), *value) != harmless.end()) return {};
  return fail("{}: found {}, which this version does not support", field_path(where, key), shown_json(*value));
}

Status check_value(const json& object, std::string_view where, std::string_view key, const json& expected) {
  const json* value = find_field(object, key);
  if (value != nullptr && *value == expected) return {};
  return fail("{}: found {}, this version supports {}", field_path(where, key),
              value == nullptr ? "nothing" : shown_json(*value), shown_json(expected));
}

}  // namespace onebit
