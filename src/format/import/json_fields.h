// The fields of a stranger's JSON: taken as expected or refused by name.
#pragma once

#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/result.h"

namespace onebit {

/// The field's value; null counts as absent.
const nlohmann::json* find_field(const nlohmann::json& object, std::string_view key);

/// A value in an error message, in ASCII: a terminal may obey other characters (DEL, U+009B) or be fooled by them.
std::string shown_json(const nlohmann::json& value);

/// The name of a field in an error message: of the file itself ("…/tokenizer.json: model") or of an object in
/// it ("…/tokenizer.json: model.type").
std::string field_path(std::string_view where, std::string_view key);

/// That the value is an object without other keys: one more may change ids in a way that nobody here has heard of.
Status check_keys(const nlohmann::json& object, std::string_view where, std::initializer_list<std::string_view> known);

/// Refuses a field that is there with another value than those that change nothing.
Status check_unset(const nlohmann::json& object, std::string_view where, std::string_view key,
                   std::initializer_list<nlohmann::json> harmless = {});

/// Refuses a field that has not this value.
Status check_value(const nlohmann::json& object, std::string_view where, std::string_view key,
                   const nlohmann::json& expected);

}  // namespace onebit
