#include "format/import/hf_config.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/utf8.h"
#include "format/import/json.h"

namespace onebit {
namespace {

using nlohmann::json;

/// Reads fields one by one; the first error stays.
class Fields {
 public:
  explicit Fields(const json& object) : object_(object) {}

  uint32_t size(const char* key, std::optional<uint32_t> fallback = std::nullopt) {
    const auto it = find(key);
    if (it == object_.end()) {
      if (!fallback) note(fmt::format("{} is missing", key));
      return fallback.value_or(0);
    }
    if (!it->is_number_unsigned() || it->get<uint64_t>() > std::numeric_limits<uint32_t>::max()) {
      note(fmt::format("{} is {}, expected a whole number from 0", key, printable(it->dump(), 60)));
      return 0;
    }
    return it->get<uint32_t>();
  }

  double number(const char* key) {
    const auto it = find(key);
    if (it == object_.end() || !it->is_number()) {
      note(fmt::format("{} is missing or no number", key));
      return 0;
    }
    return it->get<double>();
  }

  std::string text(const char* key, const char* fallback) {
    const auto it = find(key);
    if (it == object_.end()) return fallback;
    if (it->is_string()) return it->get<std::string>();
    note(fmt::format("{} is {}, expected a string", key, printable(it->dump(), 60)));
    return fallback;
  }

  bool flag(const char* key, bool fallback) {
    const auto it = find(key);
    if (it == object_.end()) return fallback;
    if (it->is_boolean()) return it->get<bool>();
    note(fmt::format("{} is {}, expected true or false", key, printable(it->dump(), 60)));
    return fallback;
  }

  /// A field that must have this value where it is given at all.
  template <class T>
  void require(const char* key, const T& found, const T& expected) {
    if (found != expected) note(fmt::format("{} is {}, this version knows {}", key, shown(found), expected));
  }

  void note(std::string error) {
    if (error_.empty()) error_ = std::move(error);
  }
  const std::string& error() const { return error_; }

 private:
  static std::string shown(const std::string& text) { return printable(text, 60); }
  static bool shown(bool value) { return value; }

  /// A null counts as absent.
  json::const_iterator find(const char* key) const {
    const auto it = object_.find(key);
    return it != object_.end() && it->is_null() ? object_.end() : it;
  }

  const json& object_;
  std::string error_;
};

TernaryStorage read_storage(const json& root, Fields& fields) {
  const auto it = root.find("quantization_config");
  if (it == root.end() || it->is_null()) return TernaryStorage::kMaster;
  if (!it->is_object()) {
    fields.note("quantization_config is no object");
    return TernaryStorage::kMaster;
  }
  Fields q(*it);
  q.require<std::string>("quantization_config.quant_method", q.text("quant_method", "bitnet"), "bitnet");
  const auto linear_class = q.text("linear_class", "bitlinear");  // transformers' defaults
  const auto mode = q.text("quantization_mode", "offline");
  if (linear_class != "autobitlinear" && linear_class != "bitlinear")
    q.note(fmt::format("quantization_config.linear_class is {}, this version knows autobitlinear and bitlinear",
                       printable(linear_class, 60)));
  if (mode != "offline" && mode != "online")
    q.note(fmt::format("quantization_config.quantization_mode is {}, this version knows offline and online",
                       printable(mode, 60)));
  if (!q.error().empty()) fields.note(q.error());
  if (mode == "online") return TernaryStorage::kMaster;
  return linear_class == "autobitlinear" ? TernaryStorage::kPackedMultiply : TernaryStorage::kPackedDivide;
}

/// At the top, or, as transformers writes it since version 5, in rope_parameters.
double read_rope_theta(const json& root, Fields& fields) {
  const auto it = root.find("rope_parameters");
  if (it == root.end() || it->is_null()) return fields.number("rope_theta");
  if (!it->is_object()) {
    fields.note(fmt::format("rope_parameters is {}, expected an object", printable(it->dump(), 60)));
    return 0;
  }
  Fields rope(*it);
  rope.require<std::string>("rope_type", rope.text("rope_type", "default"), "default");
  for (const auto& [key, value] : it->items())
    if (key != "rope_type" && key != "rope_theta" && !value.is_null())
      rope.note(fmt::format("{} is set, this version knows unscaled RoPE only", printable(key)));
  const double theta = rope.number("rope_theta");
  if (root.contains("rope_theta") && fields.number("rope_theta") != theta)
    rope.note(fmt::format("rope_theta is {}, but {} beside it", theta, fields.number("rope_theta")));
  if (!rope.error().empty()) fields.note("rope_parameters." + rope.error());
  return theta;
}

}  // namespace

Result<HfConfig> parse_hf_config(std::string_view text, std::string_view path) {
  ASSIGN_OR_RETURN(const auto root, parse_json_object(text, path));
  Fields f(root);
  HfConfig config;
  auto& m = config.model;
  f.require<std::string>("model_type", f.text("model_type", "(missing)"), "bitnet");
  f.require<std::string>("hidden_act", f.text("hidden_act", "relu2"), "relu2");
  f.require("attention_bias", f.flag("attention_bias", false), false);
  if (root.contains("rope_scaling") && !root["rope_scaling"].is_null())
    f.note("rope_scaling is set, this version knows unscaled RoPE only");
  m.hidden = f.size("hidden_size");
  m.layers = f.size("num_hidden_layers");
  m.heads = f.size("num_attention_heads");
  m.kv_heads = f.size("num_key_value_heads", m.heads);
  m.head_dim = f.size("head_dim", m.heads == 0 ? 0 : m.hidden / m.heads);
  m.ffn = f.size("intermediate_size");
  m.vocabulary = f.size("vocab_size");
  m.context = f.size("max_position_embeddings");
  m.rms_epsilon = static_cast<float>(f.number("rms_norm_eps"));
  m.rope_theta = read_rope_theta(root, f);
  m.tied_head = f.flag("tie_word_embeddings", true);
  config.storage = read_storage(root, f);
  if (!f.error().empty()) return fail("{}: {}", path, f.error());
  if (auto status = validate(m); !status) return fail_in(path, status.error());
  return config;
}

}  // namespace onebit
