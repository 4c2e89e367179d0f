#include "server/json_body.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace onebit::server {
namespace {

using nlohmann::json;

constexpr int kDeepest = 64;

/// Ends the parsing once the model's name was met.
class ModelName final : public nlohmann::json_sax<json> {
 public:
  std::string name;

  bool null() override { return scalar(); }
  bool boolean(bool /*value*/) override { return scalar(); }
  bool number_integer(number_integer_t /*value*/) override { return scalar(); }
  bool number_unsigned(number_unsigned_t /*value*/) override { return scalar(); }
  bool number_float(number_float_t /*value*/, const string_t& /*text*/) override { return scalar(); }
  bool binary(binary_t& /*value*/) override { return scalar(); }
  bool string(string_t& value) override {
    if (asked_) name = std::move(value);
    return scalar();
  }
  bool key(string_t& key) override {
    asked_ = depth_ == 1 && key == "model";
    return true;
  }
  bool start_object(std::size_t /*elements*/) override { return open(); }
  bool start_array(std::size_t /*elements*/) override { return open(); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool parse_error(std::size_t /*at*/, const std::string& /*token*/,
                   const nlohmann::detail::exception& /*e*/) override {
    return false;
  }

 private:
  bool scalar() {
    asked_ = false;  // a later one of the same name counts, as it does where the object is kept
    return true;
  }
  bool open() {
    asked_ = false;
    ++depth_;
    return true;
  }
  bool close() {
    --depth_;
    return true;
  }

  int depth_ = 0;
  bool asked_ = false;
};

}  // namespace

bool too_deep(std::string_view body) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < body.size(); ++i) {
    const char c = body[i];
    if (c == '"') in_string = !in_string;
    if (in_string && c == '\\') ++i;
    if (!in_string && (c == '[' || c == '{') && ++depth > kDeepest) return true;
    if (!in_string && (c == ']' || c == '}')) --depth;
  }
  return false;
}

ApiResult<json> parse_body(std::string_view body) {
  if (too_deep(body))
    return tl::unexpected(ApiError{.message = fmt::format("the body has more than {} levels", kDeepest)});
  auto root = json::parse(body, nullptr, false);
  if (root.is_discarded()) return tl::unexpected(ApiError{.message = "the body is not valid JSON"});
  if (!root.is_object()) return tl::unexpected(ApiError{.message = "the body must be a JSON object"});
  return root;
}

std::string dump(const nlohmann::ordered_json& value) {
  return value.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

std::string model_in(std::string_view body) {
  ModelName reader;
  if (!too_deep(body)) json::sax_parse(body, &reader);
  return std::move(reader.name);
}

}  // namespace onebit::server
