#include "server/structure.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/utf8.h"
#include "grammar/json_value.h"

namespace onebit::server {
namespace {

using grammar::JsonValue;
using grammar::Language;

constexpr std::string_view kAnyObject = R"({"type": "object"})";

/// Fields that hold a source themselves.
struct Named {
  const char* name;
  Language language;
};
constexpr Named kFields[] = {
    {"grammar", Language::kGbnf},           {"guided_grammar", Language::kGbnf},   {"regex", Language::kRegex},
    {"guided_regex", Language::kRegex},     {"choice", Language::kChoice},         {"guided_choice", Language::kChoice},
    {"json_schema", Language::kJsonSchema}, {"guided_json", Language::kJsonSchema}};
constexpr Named kInner[] = {{"grammar", Language::kGbnf},
                            {"regex", Language::kRegex},
                            {"choice", Language::kChoice},
                            {"json", Language::kJsonSchema}};

class Reader {
 public:
  Reader(Fields& fields, const JsonValue& root) : fields_(fields), root_(root) {}

  std::optional<Structure> run() {
    for (const auto& [name, language] : kFields)
      if (const auto* value = present(root_, name)) add(name, language, *value);
    if (const auto* outer = present(root_, "structured_outputs")) read_structured_outputs(*outer);
    if (const auto* format = present(root_, "response_format")) read_format(*format);
    return std::move(found_);
  }

 private:
  static const JsonValue* present(const JsonValue& object, std::string_view name) {
    const auto* value = object.find(name);
    return value == nullptr || value->is(JsonValue::Kind::kNull) ? nullptr : value;
  }

  void add(const std::string& field, Language language, const JsonValue& value) {
    const bool is_text = language == Language::kGbnf || language == Language::kRegex;
    if (is_text && !value.is(JsonValue::Kind::kString)) return fields_.fault(field, field + " must be a string");
    // vLLM's clients may send a schema as text.
    const bool as_text = is_text || (language == Language::kJsonSchema && value.is(JsonValue::Kind::kString));
    add(field, language, as_text ? value.text : to_json(value));
  }
  void add(const std::string& field, Language language, std::string source) {
    if (found_) return fields_.fault(field, fmt::format("{} and {} cannot both be given", found_->field, field));
    found_ = Structure{language, std::move(source), field};
  }

  void read_structured_outputs(const JsonValue& outer) {
    for (const auto& [name, language] : kInner)
      if (const auto* value = present(outer, name)) add(fmt::format("structured_outputs.{}", name), language, *value);
    if (const auto* any = present(outer, "json_object"); any != nullptr && any->boolean)
      add("structured_outputs.json_object", Language::kJsonSchema, std::string(kAnyObject));
    for (const auto& [name, value] : outer.members) {
      const bool known =
          name == "json" || name == "json_object" || name == "regex" || name == "choice" || name == "grammar";
      if (!known && !value.is(JsonValue::Kind::kNull))
        fields_.fault("structured_outputs",
                      fmt::format("structured_outputs.{} is not supported by this server", printable(name)), 400,
                      "unsupported_parameter");
    }
  }

  void read_format(const JsonValue& format) {
    const auto* type = format.find("type");
    const std::string_view name = type == nullptr ? std::string_view() : std::string_view(type->text);
    const auto* schema = present(format, "schema");
    if (name == "text") return;
    if (name == "json_object") {
      if (schema != nullptr) return add("response_format", Language::kJsonSchema, *schema);
      return add("response_format", Language::kJsonSchema, std::string(kAnyObject));
    }
    if (name != "json_schema")
      return fields_.fault("response_format", "response_format: the type must be text, json_object or json_schema", 400,
                           "unsupported_parameter");
    const auto* wrapped = present(format, "json_schema");
    if (wrapped != nullptr) schema = present(*wrapped, "schema");
    if (schema == nullptr)
      return fields_.fault("response_format", "response_format.json_schema must be an object with a schema");
    add("response_format", Language::kJsonSchema, *schema);
  }

  Fields& fields_;
  const JsonValue& root_;
  std::optional<Structure> found_;
};

}  // namespace

std::optional<Structure> read_structure(Fields& fields, std::string_view body) {
  bool asked = fields.find("response_format") != nullptr || fields.find("structured_outputs") != nullptr;
  for (const auto& [name, language] : kFields) asked = asked || fields.find(name) != nullptr;
  if (!asked) return std::nullopt;
  const auto root = grammar::parse_json(body);
  if (!root) {
    fields.fault("", fmt::format("the body: {}", root.error().message));
    return std::nullopt;
  }
  return Reader(fields, *root).run();
}

std::shared_ptr<const grammar::Grammar> compile_structure(Fields& fields, const Structure& structure,
                                                          grammar::GrammarCache* grammars) {
  if (grammars == nullptr) {
    fields.fault(structure.field, fmt::format("{} is not supported by this server", structure.field), 400,
                 "unsupported_parameter");
    return nullptr;
  }
  if (!grammars->has_room()) {
    fields.fault(structure.field, "the grammars of other requests take all the memory there is for them", 503, "busy");
    return nullptr;
  }
  auto compiled = grammars->get(structure.language, structure.source);
  if (compiled) return *std::move(compiled);
  fields.fault(structure.field, fmt::format("{}: {}", structure.field, compiled.error().message), 400,
               "invalid_grammar");
  return nullptr;
}

}  // namespace onebit::server
