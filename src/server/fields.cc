#include "server/fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace onebit::server {

const nlohmann::json* Fields::find(const char* name) const {
  const auto it = object_.find(name);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

void Fields::fault(const std::string& field, std::string message, int status, std::string code) {
  if (!error_) error_ = ApiError{status, std::move(message), field, std::move(code)};
}

double Fields::number(const char* name, double fallback, double low, double high) {
  const auto* value = find(name);
  if (value == nullptr) return fallback;
  const double number = value->is_number() ? value->get<double>() : std::nan("");
  if (number >= low && number <= high) return number;
  fault(name, fmt::format("{} must be a number from {} to {}", name, low, high));
  return fallback;
}

int64_t Fields::integer(const char* name, int64_t fallback, int64_t low, int64_t high) {
  const auto* value = find(name);
  if (value == nullptr) return fallback;
  const bool fits = value->is_number_integer() &&
                    !(value->is_number_unsigned() && value->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX));
  if (fits && value->get<int64_t>() >= low && value->get<int64_t>() <= high) return value->get<int64_t>();
  fault(name, fmt::format("{} must be a whole number from {} to {}", name, low, high));
  return fallback;
}

bool Fields::boolean(const char* name, bool fallback) {
  const auto* value = find(name);
  if (value == nullptr) return fallback;
  if (value->is_boolean()) return value->get<bool>();
  fault(name, fmt::format("{} must be true or false", name));
  return fallback;
}

std::string Fields::string(const char* name, std::string fallback) {
  const auto* value = find(name);
  if (value == nullptr) return fallback;
  if (value->is_string()) return value->get<std::string>();
  fault(name, fmt::format("{} must be a string", name));
  return fallback;
}

std::vector<std::string> Fields::strings(const char* name, size_t most) {
  const auto* value = find(name);
  if (value == nullptr) return {};
  std::vector<std::string> result;
  if (value->is_string()) return {value->get<std::string>()};
  if (value->is_array() && value->size() <= most) {
    for (const auto& item : *value)
      if (item.is_string()) result.push_back(item.get<std::string>());
    if (result.size() == value->size()) return result;
  }
  fault(name, fmt::format("{} must be a string or an array of at most {} strings", name, most));
  return {};
}

bool is_token_ids(const nlohmann::json& value) {
  return value.is_array() && !value.empty() &&
         std::all_of(value.begin(), value.end(), [](const auto& v) { return v.is_number_integer(); });
}

std::vector<TokenId> token_ids(const nlohmann::json& value) {
  std::vector<TokenId> ids;
  for (const auto& v : value) {
    const auto id = v.get<int64_t>();  // an unsigned one of 2^63 and more becomes negative
    ids.push_back(id < 0 || id > INT32_MAX ? -1 : static_cast<TokenId>(id));
  }
  return ids;
}

}  // namespace onebit::server
