#include "grammar/json_schema.h"

#include <algorithm>
#include <array>

#include "base/utf8.h"
#include "grammar/json_schema_compiler.h"
#include "grammar/json_string.h"

namespace onebit::grammar {
namespace {

constexpr size_t kMostRules = 50'000, kMostParts = 256;

/// What says nothing about a value.
constexpr auto kAnnotations = std::to_array<std::string_view>(
    {"$schema", "$id", "$comment", "$anchor", "$defs", "definitions", "title", "description", "default", "deprecated",
     "examples", "contentEncoding", "contentMediaType", "example", "readOnly", "writeOnly",
     "discriminator",  // OpenAPI's: the schemas beside it say as much
     "nullable"});     // OpenAPI's: what fits without null fits with it
constexpr auto kKeywords = std::to_array<std::string_view>({"$ref",
                                                            "allOf",
                                                            "anyOf",
                                                            "oneOf",
                                                            "type",
                                                            "enum",
                                                            "const",
                                                            "properties",
                                                            "required",
                                                            "items",
                                                            "additionalProperties",
                                                            "patternProperties",
                                                            "propertyNames",
                                                            "minProperties",
                                                            "maxProperties",
                                                            "prefixItems",
                                                            "additionalItems",
                                                            "minItems",
                                                            "maxItems",
                                                            "uniqueItems",
                                                            "minimum",
                                                            "maximum",
                                                            "exclusiveMinimum",
                                                            "exclusiveMaximum",
                                                            "multipleOf",
                                                            "minLength",
                                                            "maxLength",
                                                            "pattern",
                                                            "format"});

bool is_annotation(std::string_view name) {
  return name.starts_with("x-") || std::find(kAnnotations.begin(), kAnnotations.end(), name) != kAnnotations.end();
}

/// ~1 is /, ~0 is ~, %XX a byte.
std::string unescape(std::string_view token) {
  auto out = percent_decoded(token);
  for (const auto& [from, to] : {std::pair{"~1", "/"}, std::pair{"~0", "~"}})
    for (size_t at = 0; (at = out.find(from, at)) != std::string::npos; ++at) out.replace(at, 2, to);
  return out;
}

}  // namespace

SchemaParts normalised(SchemaParts parts) {
  std::sort(parts.begin(), parts.end());
  parts.erase(std::unique(parts.begin(), parts.end()), parts.end());
  return parts;
}

Result<RuleId> add_schema(Rules& rules, const JsonValue& schema, Budget& budget) {
  return SchemaCompiler(rules, schema, budget).run();
}

Result<RuleId> SchemaCompiler::run() {
  const RuleId first = rule_of({{&root_}});
  while (!pending_.empty()) {
    const auto [rule, parts] = std::move(pending_.front());
    pending_.pop_front();
    RETURN_IF_ERROR(build(rule, parts));
    if (rules_.size() > kMostRules || rules_[rule].nfa.size() > 2 * Budget::kStates) return Budget::spent();
  }
  return first;
}

/// Known, or built later.
RuleId SchemaCompiler::rule_of(SchemaParts parts) {
  parts = normalised(std::move(parts));
  const auto [it, is_new] = by_parts_.try_emplace(parts, static_cast<RuleId>(rules_.size()));
  if (is_new) {
    rules_.add("schema");
    pending_.emplace_back(it->second, std::move(parts));
  }
  return it->second;
}

Status SchemaCompiler::check_keywords(const JsonValue& schema) {
  if (!checked_.insert(&schema).second || schema.is(JsonValue::Kind::kBoolean)) return {};
  if (!schema.is(JsonValue::Kind::kObject)) return fail("a schema must be an object, true or false");
  for (const auto& [name, value] : schema.members) {
    if (is_annotation(name) || std::find(kKeywords.begin(), kKeywords.end(), name) != kKeywords.end()) continue;
    return fail("the keyword '{}' is not supported by this server", printable(name));
  }
  return {};
}

Result<const JsonValue*> SchemaCompiler::resolve(const std::string& reference) {
  std::string_view pointer = reference;
  if (const auto* id = root_.find("$id"); id != nullptr && id->is(JsonValue::Kind::kString) && !id->text.empty())
    if (pointer.starts_with(id->text)) pointer.remove_prefix(id->text.size());
  const auto unknown = [&] { return fail("$ref '{}' is not a place in this schema", printable(reference, 80)); };
  if (pointer.empty() || pointer.front() != '#') return unknown();
  pointer.remove_prefix(1);
  const JsonValue* at = &root_;
  while (!pointer.empty()) {
    if (pointer.front() != '/') return unknown();
    pointer.remove_prefix(1);
    const size_t end = std::min(pointer.find('/'), pointer.size());
    const auto token = unescape(pointer.substr(0, end));
    pointer.remove_prefix(end);
    if (at->is(JsonValue::Kind::kArray)) {
      const bool digits =
          !token.empty() && token.size() < 7 && token.find_first_not_of("0123456789") == std::string::npos;
      const size_t index = digits ? std::stoul(token) : SIZE_MAX;
      at = index < at->items.size() ? &at->items[index] : nullptr;
    } else {
      at = at->find(token);
    }
    if (at == nullptr) return unknown();
  }
  return at;
}

/// What a part refers to goes to `work`.
Status SchemaCompiler::expand_one(const SchemaPart& part, std::vector<SchemaPart>& work) {
  if (const auto* reference = part.schema->find("$ref")) {
    if (!reference->is(JsonValue::Kind::kString)) return fail("$ref must be a string");
    ASSIGN_OR_RETURN(const auto* target, resolve(reference->text));
    work.push_back({target});
  }
  if (const auto* all = part.schema->find("allOf")) {
    if (!all->is(JsonValue::Kind::kArray) || all->items.empty()) return fail("allOf must be an array of schemas");
    for (const auto& schema : all->items) work.push_back({&schema});
  }
  return {};
}

/// All that hold together by $ref and allOf; a `false` among them stays.
Result<SchemaParts> SchemaCompiler::expand(const SchemaParts& parts) {
  std::set<SchemaPart> all;
  std::vector<SchemaPart> work(parts.begin(), parts.end());
  while (!work.empty()) {
    const auto part = work.back();
    work.pop_back();
    RETURN_IF_ERROR(check_keywords(*part.schema));
    if (part.schema->is(JsonValue::Kind::kBoolean) && part.schema->boolean) continue;
    if (!all.insert(part).second) continue;
    if (all.size() > kMostParts || !budget_.spend(16)) return Budget::spent();
    RETURN_IF_ERROR(expand_one(part, work));
  }
  // A part whose branch was chosen takes the place of the same part before.
  SchemaParts result;
  for (const auto& part : all) {
    const auto further = [&](const SchemaPart& other) {
      return other.schema == part.schema && !(other == part) && other.any_of_done >= part.any_of_done &&
             other.one_of_done >= part.one_of_done;
    };
    if (std::none_of(all.begin(), all.end(), further)) result.push_back(part);
  }
  return result;
}

/// oneOf is anyOf where no value fits two of its branches.
Status SchemaCompiler::check_exclusive(const SchemaParts& parts, const JsonValue& branches) {
  for (size_t i = 0; i < branches.items.size(); ++i)
    for (size_t j = 0; j < branches.items.size(); ++j) {
      if (i == j) continue;
      auto a = parts;
      a.push_back({&branches.items[i]});
      ASSIGN_OR_RETURN(const bool exclusive, excludes(normalised(std::move(a)), {{&branches.items[j]}}, 0));
      if (!exclusive)
        return fail(
            "oneOf is not supported where a value could fit two of its schemas (here the {}. and the {}.): use anyOf, "
            "or a required property with different constants",
            i + 1, j + 1);
    }
  return {};
}

/// Whether the parts have such alternatives: then each is a rule of its own.
Result<bool> SchemaCompiler::alternatives(RuleId rule, const SchemaParts& parts, const char* name,
                                          bool SchemaPart::* done) {
  for (size_t i = 0; i < parts.size(); ++i) {
    const auto* branches = parts[i].schema->find(name);
    if (branches == nullptr || parts[i].*done) continue;
    if (!branches->is(JsonValue::Kind::kArray) || branches->items.empty())
      return fail("{} must be an array of schemas", name);
    auto rest = parts;
    rest[i].*done = true;
    if (std::string_view(name) == "oneOf") RETURN_IF_ERROR(check_exclusive(rest, *branches));
    for (const auto& branch : branches->items) {
      auto chosen = rest;
      chosen.push_back({&branch});
      if (!budget_.spend(chosen.size())) return Budget::spent();
      const RuleId called = rule_of(std::move(chosen));
      rules_[rule].nfa.call(rules_[rule].start, called, rules_[rule].end);
    }
    return true;
  }
  return false;
}

Status SchemaCompiler::build(RuleId rule, const SchemaParts& parts) {
  ASSIGN_OR_RETURN(const auto all, expand(parts));
  for (const auto& part : all)
    if (part.schema->is(JsonValue::Kind::kBoolean)) return {};  // false: nothing
  ASSIGN_OR_RETURN(const bool any, alternatives(rule, all, "anyOf", &SchemaPart::any_of_done));
  if (any) return {};
  ASSIGN_OR_RETURN(const bool one, alternatives(rule, all, "oneOf", &SchemaPart::one_of_done));
  if (one) return {};
  ASSIGN_OR_RETURN(const auto facts, facts_of(all));
  return facts.nothing ? Status() : build_value(rule, facts);
}

/// A value of each type that there can be.
Status SchemaCompiler::build_value(RuleId rule, const Facts& facts) {
  const StateId start = rules_[rule].start, end = rules_[rule].end;
  const auto literal = [&](std::string_view text) {
    auto& nfa = rules_[rule].nfa;
    nfa.empty(nfa.literal(start, text), end);
  };
  if (facts.values) {
    for (const auto* value : *facts.values) {
      ASSIGN_OR_RETURN(const bool fits, allowed(*value, facts));
      const auto text = to_json(*value);
      if (!budget_.spend(text.size())) return Budget::spent();
      if (fits) literal(text);
    }
    return {};
  }
  const uint32_t types = facts.generated;
  if ((types & kNullType) != 0) literal("null");
  if ((types & kBooleanType) != 0) {
    literal("true");
    literal("false");
  }
  if ((types & kNumbers) != 0) {
    auto bounds = facts.number;
    bounds.integer = (types & kNumberType) == 0;
    ASSIGN_OR_RETURN(const auto number, number_automaton(bounds, budget_));
    embed(rules_[rule].nfa, start, number, end);
  }
  if ((types & kStringType) != 0) {
    if (facts.any_text()) {
      const RuleId string = any_string();
      rules_[rule].nfa.call(start, string, end);
    } else {
      ASSIGN_OR_RETURN(const auto text, text_automaton(facts));
      append_string(rules_[rule].nfa, start, text, end);
    }
  }
  if ((types & kArrayType) != 0) RETURN_IF_ERROR(build_array(rule, facts));
  if ((types & kObjectType) != 0) RETURN_IF_ERROR(build_object(rule, facts));
  return {};
}

RuleId SchemaCompiler::any_string() {
  if (!any_string_) {
    any_string_ = rules_.add("string");
    auto& rule = rules_[*any_string_];
    (void)append_any_string(rule.nfa, rule.start, rule.end, budget_);  // where the budget ends, the next step says it
  }
  return *any_string_;
}

/// Nothing, a space, or a new line with an indent: enough for a tidy answer, and no way to go on forever.
RuleId SchemaCompiler::space() {
  if (space_) return *space_;
  constexpr int kDeepestIndent = 20;
  space_ = rules_.add("space");
  auto& rule = rules_[*space_];
  rule.nfa.empty(rule.start, rule.end);
  rule.nfa.bytes(rule.start, ' ', ' ', rule.end);
  StateId at = rule.nfa.literal(rule.start, "\n");
  for (int i = 0; i < kDeepestIndent; ++i) {
    rule.nfa.empty(at, rule.end);
    const StateId next = rule.nfa.add_state();
    rule.nfa.bytes(at, ' ', ' ', next);
    rule.nfa.bytes(at, '\t', '\t', next);
    at = next;
  }
  rule.nfa.empty(at, rule.end);
  return *space_;
}

}  // namespace onebit::grammar
