#include <algorithm>

#include "base/utf8.h"
#include "grammar/json_schema_compiler.h"
#include "grammar/json_string.h"
#include "grammar/regex.h"

namespace onebit::grammar {
namespace {

using Kind = JsonValue::Kind;

constexpr size_t kMostPatterns = 4;  // of names, together: each combination has values of its own

/// The members of a keyword that holds schemas by name.
const std::vector<std::pair<std::string, JsonValue>>& members_of(const JsonValue& schema, const char* name) {
  static const std::vector<std::pair<std::string, JsonValue>> none;
  const auto* value = schema.find(name);
  return value == nullptr ? none : value->members;
}

Status check_object_keywords(const JsonValue& schema) {
  for (const char* name : {"properties", "patternProperties"})
    if (const auto* value = schema.find(name); value != nullptr && !value->is(Kind::kObject))
      return fail("{} must be an object of schemas", name);
  const auto* required = schema.find("required");
  const auto is_string = [](const JsonValue& v) { return v.is(Kind::kString); };
  if (required != nullptr &&
      !(required->is(Kind::kArray) && std::all_of(required->items.begin(), required->items.end(), is_string)))
    return fail("required must be an array of names");
  return {};
}

/// Each of these texts.
Result<Dfa> automaton_of(const std::vector<std::string>& texts, Budget& budget) {
  Nfa nfa;
  const StateId start = nfa.add_state(), end = nfa.add_state();
  for (const auto& text : texts) nfa.empty(nfa.literal(start, text), end);
  return determinise(nfa, start, end, budget);
}

}  // namespace

/// In the order of the schemas, then what is only required.
std::vector<std::string> SchemaCompiler::declared_names(const Facts& facts) {
  std::vector<std::string> names;
  std::set<std::string_view> known;
  for (const auto& part : facts.parts)
    for (const auto& [name, schema] : members_of(*part.schema, "properties"))
      if (known.insert(name).second) names.push_back(name);
  for (const auto& part : facts.parts)
    if (const auto* required = part.schema->find("required"))
      for (const auto& item : required->items)
        if (known.insert(item.text).second) names.push_back(item.text);
  return names;
}

std::set<std::string> SchemaCompiler::required_names(const Facts& facts) {
  std::set<std::string> names;
  for (const auto& part : facts.parts)
    if (const auto* required = part.schema->find("required"))
      for (const auto& item : required->items) names.insert(item.text);
  return names;
}

/// What a property's value must fit; none where there can be no such property.
Result<std::optional<SchemaParts>> SchemaCompiler::schemas_for(const Facts& facts, const std::string& name) {
  SchemaParts parts;
  for (const auto& part : facts.parts) {
    const size_t before = parts.size();
    if (const auto* properties = part.schema->find("properties")) {
      if (!budget_.spend(1 + properties->members.size() / 8))
        return Budget::spent();  // find() looks at one after another
      if (const auto* schema = properties->find(name)) parts.push_back({schema});
    }
    for (const auto& [pattern, schema] : members_of(*part.schema, "patternProperties")) {
      ASSIGN_OR_RETURN(const auto* texts, texts_with(pattern));
      if (texts->matches(name)) parts.push_back({&schema});
    }
    const auto* others = part.schema->find("additionalProperties");
    if (parts.size() == before && others != nullptr) parts.push_back({others});
  }
  ASSIGN_OR_RETURN(const auto names, name_automaton(facts));
  if (names && !names->matches(name)) return std::optional<SchemaParts>();
  for (const auto& part : parts)
    if (part.schema->is(Kind::kBoolean) && !part.schema->boolean) return std::optional<SchemaParts>();
  return std::optional(std::move(parts));
}

/// propertyNames; none where all names may be.
Result<std::optional<Dfa>> SchemaCompiler::name_automaton(const Facts& facts) {
  SchemaParts parts;
  for (const auto& part : facts.parts)
    if (const auto* names = part.schema->find("propertyNames")) parts.push_back({names});
  if (parts.empty()) return std::optional<Dfa>();
  ASSIGN_OR_RETURN(const auto all, expand(parts));
  for (const auto& part : all)
    if (part.schema->is(Kind::kBoolean)) return std::optional<Dfa>(Dfa{});
  ASSIGN_OR_RETURN(const auto of_names, facts_of(all));
  if ((of_names.types & kStringType) == 0 || of_names.nothing) return std::optional<Dfa>(Dfa{});
  for (const auto& part : all)
    if (part.schema->find("anyOf") != nullptr || part.schema->find("oneOf") != nullptr)
      return fail("anyOf and oneOf in propertyNames are not supported");
  ASSIGN_OR_RETURN(auto text, text_automaton(of_names));
  if (of_names.values) {
    std::vector<std::string> texts;
    for (const auto* value : *of_names.values)
      if (value->is(Kind::kString)) texts.push_back(value->text);
    ASSIGN_OR_RETURN(const auto listed, automaton_of(texts, budget_));
    ASSIGN_OR_RETURN(text, intersection(text, listed, budget_));
  }
  return std::optional(std::move(text));
}

/// What may stand beside the declared properties: for each combination of patterns that a name can have, the values.
/// Where a schema declares properties and does not speak of others, answers have none.
Result<std::vector<SchemaCompiler::Additional>> SchemaCompiler::additional(const Facts& facts,
                                                                           const std::vector<std::string>& declared) {
  struct Pattern {
    const JsonValue* owner;
    const Dfa* texts;
    const JsonValue* value;
  };
  const auto says = [&](const char* name) {
    return std::any_of(facts.parts.begin(), facts.parts.end(),
                       [&](const auto& p) { return p.schema->find(name) != nullptr; });
  };
  const bool closed = says("properties") && !says("additionalProperties") && !says("patternProperties");
  if (closed && facts.min_properties <= declared.size()) return std::vector<Additional>();
  std::vector<Pattern> patterns;
  for (const auto& part : facts.parts)
    for (const auto& [pattern, schema] : members_of(*part.schema, "patternProperties")) {
      ASSIGN_OR_RETURN(const auto* texts, texts_with(pattern));
      patterns.push_back({part.schema, texts, &schema});
    }
  if (patterns.size() > kMostPatterns) return fail("more than {} patternProperties are not supported", kMostPatterns);
  ASSIGN_OR_RETURN(const auto names, name_automaton(facts));
  ASSIGN_OR_RETURN(const auto all_texts, to_dfa(any_text(), budget_));
  ASSIGN_OR_RETURN(const auto taken, automaton_of(declared, budget_));

  std::vector<Additional> result;
  for (uint32_t chosen = 0; chosen < 1u << patterns.size(); ++chosen) {
    Additional pair;
    bool possible = true;
    for (const auto& part : facts.parts) {
      bool matched = false;
      for (size_t i = 0; i < patterns.size(); ++i) {
        if (patterns[i].owner != part.schema || (chosen >> i & 1) == 0) continue;
        pair.value.push_back({patterns[i].value});
        matched = true;
      }
      const auto* others = part.schema->find("additionalProperties");
      if (!matched && others != nullptr) pair.value.push_back({others});
    }
    for (const auto& part : pair.value)
      possible = possible && !(part.schema->is(Kind::kBoolean) && !part.schema->boolean);
    if (!possible) continue;
    if (!patterns.empty() || names || !declared.empty()) {
      pair.names = names ? *names : all_texts;
      for (size_t i = 0; i < patterns.size(); ++i) {
        const bool wanted = (chosen >> i & 1) != 0;
        ASSIGN_OR_RETURN(pair.names, wanted ? intersection(*pair.names, *patterns[i].texts, budget_)
                                            : difference(*pair.names, *patterns[i].texts, budget_));
      }
      ASSIGN_OR_RETURN(pair.names, difference(*pair.names, taken, budget_));
      if (pair.names->states.empty()) continue;
    }
    result.push_back(std::move(pair));
  }
  return result;
}

/// `"name": value` between two states.
void SchemaCompiler::add_pair(Nfa& nfa, StateId from, const Additional& pair, StateId to) {
  const StateId named = nfa.add_state(), colon = nfa.literal(named, ":"), value = nfa.add_state();
  if (pair.names)
    append_string(nfa, from, *pair.names, named);
  else
    nfa.call(from, any_string(), named);
  nfa.empty(colon, value);
  nfa.bytes(colon, ' ', ' ', value);
  nfa.call(value, rule_of(pair.value), to);
}

Status SchemaCompiler::build_object(RuleId rule, const Facts& facts) {
  for (const auto& part : facts.parts) RETURN_IF_ERROR(check_object_keywords(*part.schema));
  const auto names = declared_names(facts);
  const auto required = required_names(facts);
  struct Property {
    std::string key;
    bool required;
    SchemaParts value;
  };
  std::vector<Property> properties;
  for (const auto& name : names) {
    ASSIGN_OR_RETURN(auto value, schemas_for(facts, name));
    const bool needed = required.contains(name);
    if (!value && needed) return {};  // no object has it
    if (value) properties.push_back({to_json(name), needed, *std::move(value)});
  }
  ASSIGN_OR_RETURN(const auto others, additional(facts, names));
  const uint64_t least = facts.min_properties, most = facts.max_properties;
  if (least > properties.size() + 1 && !others.empty())
    return fail("minProperties {} is not supported here: it asks for more than one property that is not declared",
                least);

  // State (i, c): before the i-th property, with c so far; c counts only as far as the bounds ask.
  const bool counted = most != UINT64_MAX || least > 0;
  const uint64_t top = most != UINT64_MAX ? std::min(most, uint64_t{100'000}) : std::max<uint64_t>(least, 1);
  const size_t n = properties.size();
  if ((n + 2) * (top + 1) > Budget::kStates || !budget_.spend((n + 2) * (top + 1))) return Budget::spent();
  const RuleId blank = space();
  Nfa nfa = std::move(rules_[rule].nfa);
  const auto grid = [&] {
    std::vector<StateId> row;
    for (uint64_t c = 0; c <= top; ++c) row.push_back(nfa.add_state());
    return row;
  };
  const auto next_count = [&](uint64_t c) { return c < top ? c + 1 : most != UINT64_MAX ? UINT64_MAX : top; };
  /// Where a property may begin after c of them.
  const auto begin_pair = [&](StateId from, uint64_t c) {
    return c == 0 ? from : nfa.after_call(nfa.literal(from, ","), blank);
  };
  auto row = grid();
  nfa.empty(nfa.after_call(nfa.literal(rules_[rule].start, "{"), blank), row[0]);
  for (const auto& property : properties) {
    auto next = grid();
    const RuleId value = rule_of(property.value);
    for (uint64_t c = 0; c <= top; ++c) {
      if (!budget_.spend(property.key.size() + 8) || nfa.size() > 2 * Budget::kStates) return Budget::spent();
      if (!property.required) nfa.empty(row[c], next[c]);
      if (next_count(c) > top) continue;
      const StateId colon = nfa.literal(begin_pair(row[c], c), property.key + ":");
      const StateId before = nfa.add_state();
      nfa.empty(colon, before);
      nfa.bytes(colon, ' ', ' ', before);
      nfa.call(before, value, next[next_count(c)]);
    }
    row = std::move(next);
  }
  // Names that are not declared could be said twice and count once: the first of them must be enough for the least.
  auto last = grid();
  for (const auto& pair : others)
    for (uint64_t c = 0; c <= top; ++c) {
      if (next_count(c) > top || nfa.size() > 2 * Budget::kStates) continue;
      if (!counted || c + 1 >= least) add_pair(nfa, begin_pair(row[c], c), pair, last[next_count(c)]);
      if (c > 0) add_pair(nfa, begin_pair(last[c], c), pair, last[next_count(c)]);
    }
  for (uint64_t c = 0; c <= top; ++c) {
    const bool enough = !counted || c >= least;
    const StateId end_space = c == 0 ? row[0] : nfa.after_call(row[c], blank);
    if (enough) nfa.bytes(end_space, '}', '}', rules_[rule].end);
    if (c > 0) nfa.bytes(nfa.after_call(last[c], blank), '}', '}', rules_[rule].end);
  }
  if (nfa.size() > 2 * Budget::kStates) return Budget::spent();
  rules_[rule].nfa = std::move(nfa);
  return {};
}

Status SchemaCompiler::build_array(RuleId rule, const Facts& facts) {
  size_t longest = 0;
  for (const auto& part : facts.parts) {
    for (const char* name : {"prefixItems", "items"}) {
      const auto* list = part.schema->find(name);
      if (list != nullptr && list->is(Kind::kArray)) longest = std::max(longest, list->items.size());
    }
    const auto* prefix = part.schema->find("prefixItems");
    if (prefix != nullptr && !prefix->is(Kind::kArray)) return fail("prefixItems must be an array of schemas");
  }
  /// Of the item at `index`, those from `longest` on being alike.
  const auto schemas_at = [&](size_t index) {
    SchemaParts parts;
    for (const auto& part : facts.parts) {
      const auto* items = part.schema->find("items");
      const auto* prefix = part.schema->find("prefixItems");
      if (prefix == nullptr && items != nullptr && items->is(Kind::kArray)) {  // as before 2020
        prefix = items;
        items = part.schema->find("additionalItems");
      }
      if (prefix != nullptr && index < prefix->items.size())
        parts.push_back({&prefix->items[index]});
      else if (items != nullptr)
        parts.push_back({items});
    }
    return parts;
  };
  if (facts.unique_items && facts.max_items > 1)
    return fail("uniqueItems is not supported by this server for arrays of more than one item");
  const uint64_t least = facts.min_items, most = facts.max_items;
  if (least > most) return {};
  const uint64_t steps = most != UINT64_MAX ? most : std::max<uint64_t>(least, longest);
  if (steps > Budget::kStates / 4 || !budget_.spend(8 * steps + 8)) return Budget::spent();
  const RuleId blank = space(), rest = rule_of(schemas_at(longest));
  Nfa nfa = std::move(rules_[rule].nfa);
  StateId at = nfa.after_call(nfa.literal(rules_[rule].start, "["), blank);
  const StateId close = nfa.add_state();
  nfa.bytes(close, ']', ']', rules_[rule].end);
  const auto separator = [&](StateId from, uint64_t index) {
    return index == 0 ? from : nfa.after_call(nfa.literal(from, ","), blank);
  };
  for (uint64_t i = 0; i <= steps; ++i) {
    if (i >= least) i == 0 ? nfa.empty(at, close) : nfa.call(at, blank, close);
    if (i == steps) break;
    at = nfa.after_call(separator(at, i), i < longest ? rule_of(schemas_at(i)) : rest);
  }
  if (most == UINT64_MAX) {  // from here on as many as there are
    const StateId loop = nfa.add_state();
    nfa.call(separator(at, steps), rest, loop);
    nfa.call(nfa.after_call(nfa.literal(loop, ","), blank), rest, loop);
    nfa.call(loop, blank, close);
  }
  rules_[rule].nfa = std::move(nfa);
  return {};
}

/// A property tells the objects apart.
Result<bool> SchemaCompiler::excludes_object(const Facts& a, const Facts& b, int depth) {
  for (const auto* facts : {&a, &b})
    for (const auto& part : facts->parts) RETURN_IF_ERROR(check_object_keywords(*part.schema));
  if (a.max_properties < b.min_properties || b.max_properties < a.min_properties) return true;
  for (const auto& name : required_names(b)) {
    ASSIGN_OR_RETURN(const auto in_a, schemas_for(a, name));
    if (!in_a) return true;  // b needs what a cannot have
  }
  for (const auto& name : required_names(a)) {
    ASSIGN_OR_RETURN(const auto in_a, schemas_for(a, name));
    ASSIGN_OR_RETURN(const auto in_b, schemas_for(b, name));
    if (!in_a || !in_b) return true;
    ASSIGN_OR_RETURN(const bool excluded, excludes(normalised(*in_a), normalised(*in_b), depth + 1));
    if (excluded) return true;
  }
  return false;
}

}  // namespace onebit::grammar
