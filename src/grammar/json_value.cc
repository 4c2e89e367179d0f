#include "grammar/json_value.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <unordered_map>

namespace onebit::grammar {
namespace {

using Json = nlohmann::json;

/// Builds a value as nlohmann-json reads it.
class Builder final : public nlohmann::json_sax<Json> {
 public:
  JsonValue take() { return std::move(root_); }

  bool null() override { return put({}); }
  bool boolean(bool value) override { return put({.kind = JsonValue::Kind::kBoolean, .boolean = value}); }
  bool number_integer(number_integer_t value) override {
    return number(static_cast<double>(value), fmt::to_string(value));
  }
  bool number_unsigned(number_unsigned_t value) override {
    return number(static_cast<double>(value), fmt::to_string(value));
  }
  bool number_float(number_float_t value, const string_t& text) override { return number(value, text); }
  bool string(string_t& value) override { return put({.kind = JsonValue::Kind::kString, .text = std::move(value)}); }
  bool binary(binary_t&) override { return false; }
  bool start_object(size_t) override { return open(JsonValue::Kind::kObject); }
  bool start_array(size_t) override { return open(JsonValue::Kind::kArray); }
  bool key(string_t& name) override {
    open_.back().name = std::move(name);
    return true;
  }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception&) override { return false; }

 private:
  struct Open {
    JsonValue value;
    std::string name;                               // of the member that comes
    std::unordered_map<std::string, size_t> known;  // members by name
  };

  bool number(double value, std::string text) {
    return std::isfinite(value) && put({.kind = JsonValue::Kind::kNumber, .number = value, .text = std::move(text)});
  }
  bool open(JsonValue::Kind kind) {
    if (open_.size() >= kDeepestJson) return false;
    open_.push_back({{.kind = kind}, {}, {}});
    return true;
  }
  bool close() {
    auto value = std::move(open_.back().value);
    open_.pop_back();
    return put(std::move(value));
  }
  bool put(JsonValue value) {
    if (++values_ > kMostJsonValues) return false;
    if (open_.empty()) {
      root_ = std::move(value);
    } else if (auto& in = open_.back(); in.value.is(JsonValue::Kind::kArray)) {
      in.value.items.push_back(std::move(value));
    } else if (const auto [it, is_new] = in.known.try_emplace(in.name, in.value.members.size()); is_new) {
      in.value.members.emplace_back(std::move(in.name), std::move(value));
    } else {
      in.value.members[it->second].second = std::move(value);
    }
    return true;
  }

  std::vector<Open> open_;
  JsonValue root_;
  size_t values_ = 0;
};

void write(const JsonValue& value, std::string& out) {
  switch (value.kind) {
    case JsonValue::Kind::kNull:
      out += "null";
      break;
    case JsonValue::Kind::kBoolean:
      out += value.boolean ? "true" : "false";
      break;
    case JsonValue::Kind::kNumber:
      out += value.text;
      break;
    case JsonValue::Kind::kString:
      out += to_json(value.text);
      break;
    case JsonValue::Kind::kArray:
      out += '[';
      for (size_t i = 0; i < value.items.size(); ++i) {
        if (i > 0) out += ", ";
        write(value.items[i], out);
      }
      out += ']';
      break;
    case JsonValue::Kind::kObject:
      out += '{';
      for (size_t i = 0; i < value.members.size(); ++i) {
        if (i > 0) out += ", ";
        out += to_json(value.members[i].first) + ": ";
        write(value.members[i].second, out);
      }
      out += '}';
      break;
  }
}

}  // namespace

bool JsonValue::is_integer() const {
  return kind == Kind::kNumber && number == std::floor(number);
}

const JsonValue* JsonValue::find(std::string_view name) const {
  const auto it = std::find_if(members.begin(), members.end(), [&](const auto& m) { return m.first == name; });
  return it == members.end() ? nullptr : &it->second;
}

bool JsonValue::operator==(const JsonValue& other) const {
  if (kind != other.kind) return false;
  switch (kind) {
    case Kind::kNull:
      return true;
    case Kind::kBoolean:
      return boolean == other.boolean;
    case Kind::kNumber:
      return number == other.number;
    case Kind::kString:
      return text == other.text;
    case Kind::kArray:
      return items == other.items;
    case Kind::kObject:
      return members.size() == other.members.size() && std::all_of(members.begin(), members.end(), [&](const auto& m) {
               const auto* same = other.find(m.first);
               return same != nullptr && *same == m.second;
             });
  }
  return false;
}

Result<JsonValue> parse_json(std::string_view text) {
  Builder builder;
  if (!Json::sax_parse(text, &builder))
    return fail("it is not valid JSON, or has more than {} levels or {} values", kDeepestJson, kMostJsonValues);
  return builder.take();
}

std::string to_json(std::string_view text) {
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string to_json(const JsonValue& value) {
  std::string out;
  write(value, out);
  return out;
}

}  // namespace onebit::grammar
