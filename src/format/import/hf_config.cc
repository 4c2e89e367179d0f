#include "format/import/hf_config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>

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

  double number(const char* key, std::optional<double> fallback = std::nullopt) {
    const auto it = find(key);
    if (it == object_.end() && fallback) return *fallback;
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
  static double shown(double value) { return value; }

  /// A null counts as absent.
  json::const_iterator find(const char* key) const {
    const auto it = object_.find(key);
    return it != object_.end() && it->is_null() ? object_.end() : it;
  }

  const json& object_;
  std::string error_;
};

TernaryStorage read_storage(const json& root, Fields& fields, TernaryStorage otherwise, bool& projection_norms) {
  const auto it = root.find("quantization_config");
  if (it == root.end() || it->is_null()) return otherwise;
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
  projection_norms = q.flag("use_rms_norm", false);
  if (!q.error().empty()) fields.note(q.error());
  if (mode == "online") return TernaryStorage::kMaster;
  return linear_class == "autobitlinear" ? TernaryStorage::kPackedMultiply : TernaryStorage::kPackedDivide;
}

/// How a folder of this model_type is read whose `architectures` names this class of model, or none.
struct Family {
  const char* model_type;
  std::array<const char*, 2> model_classes;
  NormChoice norms;
  SubNormNames sub_norm_names;
  const char* activation;  // where config.json names none
  TernaryStorage storage;  // where it has no quantization_config
  bool tied_head;          // where it does not tell
};

constexpr std::array kFamilies{
    Family{"bitnet",
           {"BitNetForCausalLM", "BitnetForCausalLM"},
           {.sub = true},
           SubNormNames::kBitnet2B,
           "relu2",
           TernaryStorage::kMaster,
           true},
    Family{"llama",
           {"LlamaForCausalLM", "LlamaModel"},
           {},
           SubNormNames::kBitnet2B,
           "silu",
           TernaryStorage::kUnpacked,
           false},
    Family{"llama",
           {"BitnetForCausalLM", ""},
           {.sub = true},
           SubNormNames::kBitnet3B,
           "silu",
           TernaryStorage::kMaster,
           true},
    Family{"qwen3",
           {"Qwen3ForCausalLM", "Qwen3Model"},
           {.heads = true},
           SubNormNames::kBitnet2B,
           "silu",
           TernaryStorage::kUnpacked,
           false},
};

/// Null, with a note, where none is known.
const Family* find_family(const json& root, Fields& f) {
  const auto model_type = f.text("model_type", "(missing)");
  const auto it = root.find("architectures");
  const bool named = it != root.end() && it->is_array() && !it->empty() && (*it)[0].is_string();
  const auto model_class = named ? (*it)[0].get<std::string>() : std::string();
  bool known_type = false;
  for (const auto& family : kFamilies) {
    if (model_type != family.model_type) continue;
    known_type = true;
    const auto& classes = family.model_classes;
    if (!named || std::find(classes.begin(), classes.end(), model_class) != classes.end()) return &family;
  }
  f.note(known_type
             ? fmt::format("architectures names {}, which this version does not know for model_type {}",
                           printable(model_class, 60), printable(model_type, 60))
             : fmt::format("model_type is {}, this version knows bitnet, llama and qwen3", printable(model_type, 60)));
  return nullptr;
}

/// The parts of rope_scaling, or of what transformers calls rope_parameters since version 5.
RopeScaling read_rope_scaling(Fields& rope, uint32_t context) {
  RopeScaling s;
  const auto type = rope.text("rope_type", rope.text("type", "default").c_str());
  const auto known = std::array<std::pair<const char*, RopeScaling::Kind>, 4>{{{"default", RopeScaling::Kind::kNone},
                                                                               {"linear", RopeScaling::Kind::kLinear},
                                                                               {"llama3", RopeScaling::Kind::kLlama3},
                                                                               {"yarn", RopeScaling::Kind::kYarn}}};
  const auto it = std::find_if(known.begin(), known.end(), [&](const auto& k) { return type == k.first; });
  if (it == known.end()) {
    rope.note(fmt::format("rope_type is {}, this version knows default, linear, llama3 and yarn", printable(type, 60)));
    return s;
  }
  s.kind = it->second;
  if (s.kind == RopeScaling::Kind::kNone) return s;
  s.factor = rope.number("factor");
  s.original_context = rope.size("original_max_position_embeddings", context);
  if (s.kind == RopeScaling::Kind::kLlama3) {
    s.low_frequency = rope.number("low_freq_factor");
    s.high_frequency = rope.number("high_freq_factor");
  }
  if (s.kind == RopeScaling::Kind::kYarn) {
    s.beta_fast = rope.number("beta_fast", 32);
    s.beta_slow = rope.number("beta_slow", 1);
    s.attention_factor = rope.number("attention_factor", 0);
  }
  const bool sound = s.factor >= 1 && s.factor <= 1e6 && s.original_context >= 1 && s.low_frequency > 0 &&
                     s.high_frequency > s.low_frequency && s.beta_slow > 0 && s.beta_fast > s.beta_slow &&
                     s.attention_factor >= 0 && s.attention_factor <= 1e3;
  if (!sound) rope.note("its numbers are out of range or order");
  return s;
}

/// A field of the scaling that nobody here has heard of may change every angle.
void check_rope_keys(const json& object, RopeScaling::Kind kind, Fields& rope) {
  constexpr std::array<std::string_view, 10> kKnown{"rope_type",
                                                    "type",
                                                    "rope_theta",
                                                    "factor",
                                                    "original_max_position_embeddings",
                                                    "low_freq_factor",
                                                    "high_freq_factor",
                                                    "beta_fast",
                                                    "beta_slow",
                                                    "attention_factor"};
  const auto known = std::span(kKnown).first(kind == RopeScaling::Kind::kNone ? 3 : kKnown.size());
  for (const auto& [key, value] : object.items())
    if (std::find(known.begin(), known.end(), key) == known.end() && !value.is_null())
      rope.note(fmt::format("{} is set, which this version does not know here", printable(key)));
}

/// theta stands at the top, or, as transformers writes it since version 5, with the scaling in rope_parameters.
void read_rope(const json& root, Fields& fields, HfConfig& config) {
  const bool together = root.contains("rope_parameters") && !root["rope_parameters"].is_null();
  const char* key = together ? "rope_parameters" : "rope_scaling";
  if (together && root.contains("rope_scaling") && !root["rope_scaling"].is_null())
    return fields.note("rope_scaling is set beside rope_parameters");
  if (!together) config.model.rope_theta = fields.number("rope_theta");
  const auto it = root.find(key);
  if (it == root.end() || it->is_null()) return;
  if (!it->is_object()) return fields.note(fmt::format("{} is {}, expected an object", key, printable(it->dump(), 60)));
  Fields rope(*it);
  config.rope = read_rope_scaling(rope, config.model.context);
  check_rope_keys(*it, config.rope.kind, rope);
  if (together) {
    config.model.rope_theta = rope.number("rope_theta");
    if (root.contains("rope_theta") && fields.number("rope_theta") != config.model.rope_theta)
      rope.note(
          fmt::format("rope_theta is {}, but {} beside it", config.model.rope_theta, fields.number("rope_theta")));
  }
  if (!rope.error().empty()) fields.note(fmt::format("{}.{}", key, rope.error()));
}

Activation read_activation(Fields& f, const char* fallback) {
  const auto name = f.text("hidden_act", fallback);
  if (name == "relu2") return Activation::kSquaredRelu;
  if (name != "silu") f.note(fmt::format("hidden_act is {}, this version knows relu2 and silu", printable(name, 60)));
  return Activation::kSilu;
}

}  // namespace

Result<HfConfig> parse_hf_config(std::string_view text, std::string_view path) {
  ASSIGN_OR_RETURN(const auto root, parse_json_object(text, path));
  Fields f(root);
  HfConfig config;
  auto& m = config.model;
  const auto* family = find_family(root, f);
  if (family == nullptr) return fail("{}: {}", path, f.error());
  m.norms = family->norms;
  config.sub_norm_names = family->sub_norm_names;
  m.activation = read_activation(f, family->activation);
  f.require("attention_bias", f.flag("attention_bias", false), false);
  f.require("mlp_bias", f.flag("mlp_bias", false), false);
  for (const char* key : {"partial_rotary_factor", "logits_scaling", "logit_scale", "residual_multiplier",
                          "embedding_multiplier", "attention_multiplier"})
    f.require(key, f.number(key, 1.0), 1.0);  // of models that scale what these do not
  f.require("use_sliding_window", f.flag("use_sliding_window", false), false);
  m.hidden = f.size("hidden_size");
  m.layers = f.size("num_hidden_layers");
  m.heads = f.size("num_attention_heads");
  m.kv_heads = f.size("num_key_value_heads", m.heads);
  m.head_dim = f.size("head_dim", m.heads == 0 ? 0 : m.hidden / m.heads);
  m.ffn = f.size("intermediate_size");
  m.vocabulary = f.size("vocab_size");
  m.context = f.size("max_position_embeddings");
  m.rms_epsilon = static_cast<float>(f.number("rms_norm_eps"));
  read_rope(root, f, config);
  m.tied_head = f.flag("tie_word_embeddings", family->tied_head);
  config.storage = read_storage(root, f, family->storage, config.needs_projection_norms);
  if (!f.error().empty()) return fail("{}: {}", path, f.error());
  if (auto status = validate(m); !status) return fail_in(path, status.error());
  return config;
}

}  // namespace onebit
