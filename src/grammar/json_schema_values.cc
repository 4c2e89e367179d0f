#include <algorithm>
#include <cmath>

#include "base/utf8.h"
#include "grammar/json_schema_compiler.h"
#include "grammar/json_string.h"
#include "grammar/regex.h"

namespace onebit::grammar {
namespace {

using Kind = JsonValue::Kind;

struct TypeName {
  std::string_view name;
  uint32_t types;
};
constexpr TypeName kTypes[] = {{"null", kNullType},    {"boolean", kBooleanType}, {"integer", kIntegerType},
                               {"number", kNumbers},   {"string", kStringType},   {"array", kArrayType},
                               {"object", kObjectType}};

Result<uint32_t> type_by_name(const JsonValue& name) {
  for (const auto& type : kTypes)
    if (name.is(Kind::kString) && type.name == name.text) return type.types;
  return fail("type must be null, boolean, integer, number, string, array, object or an array of these");
}

uint32_t type_of(const JsonValue& value) {
  switch (value.kind) {
    case Kind::kNull:
      return kNullType;
    case Kind::kBoolean:
      return kBooleanType;
    case Kind::kNumber:
      return value.is_integer() ? kIntegerType : kNumberType;
    case Kind::kString:
      return kStringType;
    case Kind::kArray:
      return kArrayType;
    case Kind::kObject:
      return kObjectType;
  }
  return 0;
}

/// Types that a schema without `type` speaks of: answers have these.
uint32_t types_meant(const JsonValue& schema) {
  constexpr TypeName kMeans[] = {{"properties", kObjectType},
                                 {"required", kObjectType},
                                 {"additionalProperties", kObjectType},
                                 {"patternProperties", kObjectType},
                                 {"propertyNames", kObjectType},
                                 {"minProperties", kObjectType},
                                 {"maxProperties", kObjectType},
                                 {"items", kArrayType},
                                 {"prefixItems", kArrayType},
                                 {"minItems", kArrayType},
                                 {"maxItems", kArrayType},
                                 {"uniqueItems", kArrayType},
                                 {"minimum", kNumbers},
                                 {"maximum", kNumbers},
                                 {"exclusiveMinimum", kNumbers},
                                 {"exclusiveMaximum", kNumbers},
                                 {"multipleOf", kNumbers},
                                 {"minLength", kStringType},
                                 {"maxLength", kStringType},
                                 {"pattern", kStringType},
                                 {"format", kStringType}};
  uint32_t types = 0;
  for (const auto& [name, means] : kMeans)
    if (schema.find(name) != nullptr) types |= means;
  return types;
}

Result<uint64_t> count(const JsonValue& value, std::string_view name) {
  if (!value.is_integer() || value.number < 0) return fail("{} must be a whole number from 0", name);
  return value.number > 1e9 ? 1'000'000'000 : static_cast<uint64_t>(value.number);
}

}  // namespace

Status SchemaCompiler::read_types(const JsonValue& schema, Facts& facts) {
  const auto* type = schema.find("type");
  if (type == nullptr) return {};
  uint32_t types = 0;
  if (type->is(Kind::kArray)) {
    for (const auto& item : type->items) {
      ASSIGN_OR_RETURN(const uint32_t one, type_by_name(item));
      types |= one;
    }
  } else {
    ASSIGN_OR_RETURN(types, type_by_name(*type));
  }
  facts.types &= types;
  return {};
}

Status SchemaCompiler::read_numbers(const JsonValue& schema, Facts& facts) {
  auto& n = facts.number;
  for (const char* name : {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})
    if (const auto* value = schema.find(name); value != nullptr && !value->is(Kind::kNumber))
      return fail("{} must be a number", name);
  const auto raise = [&](const char* name, bool exclusive) {
    const auto* value = schema.find(name);
    if (value == nullptr || (n.minimum && *n.minimum > value->number)) return;
    n.exclusive_minimum = exclusive || (n.exclusive_minimum && n.minimum == value->number);
    n.minimum = value->number;
  };
  const auto lower = [&](const char* name, bool exclusive) {
    const auto* value = schema.find(name);
    if (value == nullptr || (n.maximum && *n.maximum < value->number)) return;
    n.exclusive_maximum = exclusive || (n.exclusive_maximum && n.maximum == value->number);
    n.maximum = value->number;
  };
  raise("minimum", false);
  raise("exclusiveMinimum", true);
  lower("maximum", false);
  lower("exclusiveMaximum", true);
  if (const auto* multiple = schema.find("multipleOf")) {
    if (!(multiple->number > 0)) return fail("multipleOf must be greater than 0");
    if (!n.multiple_of || std::fmod(multiple->number, *n.multiple_of) == 0)
      n.multiple_of = multiple->number;
    else if (std::fmod(*n.multiple_of, multiple->number) != 0)
      return fail("multipleOf {} beside multipleOf {} is not supported", multiple->number, *n.multiple_of);
  }
  return {};
}

Status SchemaCompiler::read_values(const JsonValue& schema, Facts& facts) {
  std::vector<const JsonValue*> values;
  const auto keep = [&] {
    if (!facts.values) facts.values = values;
    std::erase_if(*facts.values, [&](const JsonValue* known) {
      return std::none_of(values.begin(), values.end(), [&](const auto* v) { return *v == *known; });
    });
  };
  if (const auto* value = schema.find("const")) {
    values = {value};
    keep();
  }
  if (const auto* list = schema.find("enum")) {
    if (!list->is(Kind::kArray) || list->items.empty()) return fail("enum must be an array of at least one value");
    values.clear();
    for (const auto& item : list->items) values.push_back(&item);
    if (!budget_.spend(values.size() * (facts.values ? facts.values->size() : 1))) return Budget::spent();
    keep();
  }
  return {};
}

Status SchemaCompiler::read_counts(const JsonValue& schema, Facts& facts) {
  const auto read = [&](const char* name, uint64_t& bound, bool is_least) -> Status {
    const auto* value = schema.find(name);
    if (value == nullptr) return {};
    ASSIGN_OR_RETURN(const uint64_t n, count(*value, name));
    bound = is_least ? std::max(bound, n) : std::min(bound, n);
    return {};
  };
  RETURN_IF_ERROR(read("minLength", facts.min_length, true));
  RETURN_IF_ERROR(read("maxLength", facts.max_length, false));
  RETURN_IF_ERROR(read("minItems", facts.min_items, true));
  RETURN_IF_ERROR(read("maxItems", facts.max_items, false));
  RETURN_IF_ERROR(read("minProperties", facts.min_properties, true));
  RETURN_IF_ERROR(read("maxProperties", facts.max_properties, false));
  for (const auto& [name, list] : {std::pair{"pattern", &facts.patterns}, std::pair{"format", &facts.formats}}) {
    const auto* value = schema.find(name);
    if (value == nullptr) continue;
    if (!value->is(Kind::kString)) return fail("{} must be a string", name);
    list->push_back(value->text);
  }
  if (const auto* unique = schema.find("uniqueItems")) {
    if (!unique->is(Kind::kBoolean)) return fail("uniqueItems must be true or false");
    facts.unique_items = facts.unique_items || unique->boolean;
  }
  return {};
}

Result<Facts> SchemaCompiler::facts_of(const SchemaParts& parts) {
  Facts facts;
  facts.parts = parts;
  uint32_t meant = 0;
  bool typed = false;
  for (const auto& part : parts) {
    const auto& schema = *part.schema;
    RETURN_IF_ERROR(read_types(schema, facts));
    RETURN_IF_ERROR(read_numbers(schema, facts));
    RETURN_IF_ERROR(read_values(schema, facts));
    RETURN_IF_ERROR(read_counts(schema, facts));
    typed = typed || schema.find("type") != nullptr;
    meant |= types_meant(schema);
  }
  facts.generated = facts.types;
  if (!typed && !facts.values && meant != 0) facts.generated &= meant;
  facts.nothing = facts.types == 0 || facts.min_length > facts.max_length;
  return facts;
}

Result<const Dfa*> SchemaCompiler::texts_with(const std::string& pattern) {
  if (const auto it = found_.find(pattern); it != found_.end()) return &it->second;
  auto parsed = parse_regex(pattern);
  if (!parsed) return fail_in("pattern", parsed.error());
  ASSIGN_OR_RETURN(auto dfa, to_dfa(found_in(*std::move(parsed)), budget_));
  return &(found_[pattern] = std::move(dfa));
}

/// Of JSON Schema itself, whether this server knows it or not.
bool is_standard_format(std::string_view name) {
  constexpr auto kFormats =
      std::to_array<std::string_view>({"date-time", "date", "time", "duration", "email", "idn-email", "hostname",
                                       "idn-hostname", "ipv4", "ipv6", "uri", "uri-reference", "iri", "iri-reference",
                                       "uuid", "uri-template", "json-pointer", "relative-json-pointer", "regex"});
  return std::find(kFormats.begin(), kFormats.end(), name) != kFormats.end();
}

/// Texts that have the length, the patterns and the formats, in UTF-8.
Result<Dfa> SchemaCompiler::text_automaton(const Facts& facts) {
  std::optional<Dfa> result;
  const auto narrow = [&](const Dfa& dfa) -> Status {
    if (!result) {
      result = dfa;
      return {};
    }
    ASSIGN_OR_RETURN(result, intersection(*result, dfa, budget_));
    return {};
  };
  for (const auto& format : facts.formats) {
    const auto regex = format_regex(format);
    if (!regex && !is_standard_format(format)) continue;  // an annotation, to every validator
    if (!regex)
      return fail("the format '{}' is not supported: this server knows {}", printable(format), format_names());
    ASSIGN_OR_RETURN(auto expression, parse_regex(*regex));
    ASSIGN_OR_RETURN(const auto dfa, to_dfa(expression, budget_));
    RETURN_IF_ERROR(narrow(dfa));
  }
  for (const auto& pattern : facts.patterns) {
    ASSIGN_OR_RETURN(const auto* dfa, texts_with(pattern));
    RETURN_IF_ERROR(narrow(*dfa));
  }
  if (facts.min_length > 0 || facts.max_length != UINT64_MAX || !result) {
    const auto most = facts.max_length == UINT64_MAX ? Expression::kUnlimited : static_cast<uint32_t>(facts.max_length);
    const auto length =
        Expression::repeat(Expression::of_class(complement({})), static_cast<uint32_t>(facts.min_length), most);
    ASSIGN_OR_RETURN(const auto dfa, to_dfa(length, budget_));
    RETURN_IF_ERROR(narrow(dfa));
  }
  return *std::move(result);
}

/// Whether a value of an enum fits the rest.
Result<bool> SchemaCompiler::allowed(const JsonValue& value, const Facts& facts) {
  const uint32_t type = type_of(value);
  if ((facts.types & type) == 0) return false;
  if (value.is(Kind::kNumber)) {
    auto bounds = facts.number;
    bounds.integer = false;
    return bounds.allow(value.number);
  }
  if (value.is(Kind::kString) && !facts.any_text()) {
    ASSIGN_OR_RETURN(const auto text, text_automaton(facts));
    return text.matches(value.text);
  }
  uint32_t meant = 0;
  for (const auto& part : facts.parts) meant |= types_meant(*part.schema);
  if (type >= kArrayType && (meant & type) != 0)
    return fail("enum or const of arrays or objects beside keywords about these is not supported");
  return true;
}

/// Whether no answer that is made for `a` fits `b`; false where that is not certain.
Result<bool> SchemaCompiler::excludes(const SchemaParts& a, const SchemaParts& b, int depth) {
  constexpr int kDeepest = 4;
  if (depth > kDeepest) return false;
  ASSIGN_OR_RETURN(const auto all_a, expand(a));
  ASSIGN_OR_RETURN(const auto all_b, expand(b));
  for (const auto* all : {&all_a, &all_b})
    for (const auto& part : *all)
      if (part.schema->is(Kind::kBoolean)) return true;  // false: nothing fits it
  ASSIGN_OR_RETURN(auto facts_a, facts_of(all_a));
  for (const auto& part : all_a)  // a branch may have another type than the rest is about
    if (part.schema->find("anyOf") != nullptr || part.schema->find("oneOf") != nullptr)
      facts_a.generated = facts_a.types;
  ASSIGN_OR_RETURN(const auto facts_b, facts_of(all_b));
  if (facts_a.values) {
    for (const auto* value : *facts_a.values) {
      const bool outside = facts_b.values && std::none_of(facts_b.values->begin(), facts_b.values->end(),
                                                          [&](const auto* v) { return *v == *value; });
      if (outside) continue;
      if (type_of(*value) >= kArrayType && (facts_b.types & type_of(*value)) != 0) return false;
      ASSIGN_OR_RETURN(const bool fits, allowed(*value, facts_b));
      if (fits) return false;
    }
    return true;
  }
  for (uint32_t type = 1; type <= kObjectType; type *= 2) {
    if ((facts_a.generated & facts_b.types & type) == 0) continue;
    ASSIGN_OR_RETURN(const bool excluded, excludes_type(facts_a, facts_b, static_cast<JsonType>(type), depth));
    if (!excluded) return false;
  }
  return true;
}

Result<bool> SchemaCompiler::excludes_type(const Facts& a, const Facts& b, JsonType type, int depth) {
  if (b.values && std::none_of(b.values->begin(), b.values->end(), [&](const auto* v) {
        return (type_of(*v) & (type == kNumberType ? kNumbers : type)) != 0;
      }))
    return true;
  if ((type & kNumbers) != 0) {
    const auto below = [](const NumberBounds& low, const NumberBounds& high) {
      return low.maximum && high.minimum &&
             (*low.maximum < *high.minimum ||
              (*low.maximum == *high.minimum && (low.exclusive_maximum || high.exclusive_minimum)));
    };
    return below(a.number, b.number) || below(b.number, a.number);
  }
  if (type == kStringType && !(a.any_text() || b.any_text())) {
    ASSIGN_OR_RETURN(const auto text_a, text_automaton(a));
    ASSIGN_OR_RETURN(const auto text_b, text_automaton(b));
    ASSIGN_OR_RETURN(const auto both, intersection(text_a, text_b, budget_));
    return both.states.empty();
  }
  if (type == kArrayType) return a.max_items < b.min_items || b.max_items < a.min_items;
  return type == kObjectType ? excludes_object(a, b, depth) : Result<bool>(false);
}

}  // namespace onebit::grammar
