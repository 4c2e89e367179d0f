#include "grammar/grammar.h"

#include <algorithm>
#include <map>

#include "base/utf8.h"
#include "grammar/gbnf.h"
#include "grammar/json_schema.h"
#include "grammar/regex.h"
#include "grammar/stacks.h"
#include "grammar/tools.h"

namespace onebit::grammar {
namespace {

constexpr size_t kLongestSource = 512 << 10;

Result<Rules> regex_rules(std::string_view source, Budget& budget) {
  Rules rules;
  auto& rule = rules[rules.add("root")];
  ASSIGN_OR_RETURN(const auto expression, parse_regex(source));
  ASSIGN_OR_RETURN(const StateId end, append(rule.nfa, rule.start, expression, budget));
  rule.nfa.empty(end, rule.end);
  return rules;
}

Result<Rules> choice_rules(std::string_view source, Budget& budget) {
  const auto list = parse_json(source);
  if (!list) return fail_in("choice", list.error());
  Rules rules;
  auto& rule = rules[rules.add("root")];
  for (const auto& item : list->items) {
    if (!item.is(JsonValue::Kind::kString)) return fail("choice: must be an array of strings");
    if (!budget.spend(1 + item.text.size()) || rule.nfa.size() > Budget::kStates) return Budget::spent();
    rule.nfa.empty(rule.nfa.literal(rule.start, item.text), rule.end);
  }
  if (list->items.empty()) return fail("choice: must be an array of at least one string");
  return rules;
}

Result<Rules> schema_rules(std::string_view source, Budget& budget) {
  auto schema = parse_json(source);
  if (!schema) return fail_in("the schema", schema.error());
  Rules rules;
  const auto first = add_schema(rules, *schema, budget);
  if (!first) return fail_in("the schema", first.error());
  return rules;
}

Result<Rules> rules_of(Language language, std::string_view source, Budget& budget) {
  switch (language) {
    case Language::kGbnf:
      return parse_gbnf(source, budget);
    case Language::kRegex:
      return regex_rules(source, budget);
    case Language::kJsonSchema:
      return schema_rules(source, budget);
    case Language::kChoice:
      return choice_rules(source, budget);
    case Language::kTools: {
      const auto tools = parse_json(source);
      if (!tools) return fail_in("tools", tools.error());
      return tool_rules(*tools, budget);
    }
  }
  return fail("unknown language");
}

}  // namespace

Grammar::Grammar(Program program, TokenMasks& masks)
    : program_(std::move(program)), masks_(masks), kinds_(program_.states.size(), Kinds::kNone) {
  for (RuleId r = 0; r + 1 < program_.first.size(); ++r) numbers_.push_back(masks.number_of(program_, r));
}

/// Of each state of a leaf rule with several that take long, its kind; and of kinds of which several are not known yet,
/// the shapes.
void Grammar::prepare_shapes(const std::vector<StateId>& slow, std::chrono::steady_clock::time_point end) {
  constexpr size_t kSeveral = 4;
  for (size_t i = 0, next; i < slow.size(); i = next) {
    const RuleId rule = program_.states[slow[i]].rule;
    for (next = i; next < slow.size() && program_.states[slow[next]].rule == rule;) ++next;
    if (!program_.leaf[rule] || next - i < kSeveral) continue;
    if (std::chrono::steady_clock::now() > end) return;
    const Kinds kinds(program_, rule);
    std::map<uint32_t, size_t> unknown;
    for (size_t k = i; k < next; ++k) {
      const uint32_t kind = kinds.of_states()[slow[k] - program_.first[rule]];
      if (kind == Kinds::kNone) break;
      kinds_[slow[k]] = kind;
      if (!masks_.knows(numbers_[rule], program_, slow[k])) ++unknown[kind];
    }
    for (const auto& [kind, states] : unknown)
      if (states >= kSeveral && std::chrono::steady_clock::now() < end)
        masks_.prepare_shapes(numbers_[rule], kinds, kind);
  }
}

void Grammar::prepare_masks(std::chrono::milliseconds most) {
  constexpr uint32_t kMany = 8;  // bytes: what allows fewer is quick
  const auto end = std::chrono::steady_clock::now() + most;
  std::vector<StateId> slow;
  std::vector<uint32_t> bytes(program_.states.size(), 0);
  for (StateId s = 0; s + 1 < program_.states.size(); ++s) {
    for (uint32_t b = 0; b < 256; ++b) bytes[s] += program_.step(s, static_cast<uint8_t>(b)) != Program::kDead;
    if (bytes[s] >= kMany) slow.push_back(s);
  }
  prepare_shapes(slow, end);
  std::sort(slow.begin(), slow.end(),
            [&](StateId a, StateId b) { return bytes[a] != bytes[b] ? bytes[a] > bytes[b] : a < b; });
  Stacks stacks(program_);
  for (const StateId state : slow) {
    if (std::chrono::steady_clock::now() > end) return;
    (void)masks_.find(numbers_[program_.states[state].rule], program_, state, kinds_[state], stacks);
  }
}

Result<Program> compile(Language language, std::string_view source) {
  if (source.size() > kLongestSource)
    return fail("the grammar has {} bytes, this server takes {}", source.size(), kLongestSource);
  Budget budget;
  ASSIGN_OR_RETURN(const auto rules, rules_of(language, source, budget));
  auto program = finish(rules, budget);
  if (program && program->root == Program::kDead && !program->may_be_empty)
    return language == Language::kJsonSchema ? fail("the schema: no value fits it")
                                             : fail("the grammar matches no text at all");
  return program;
}

}  // namespace onebit::grammar
