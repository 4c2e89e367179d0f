#include "grammar/tools.h"

#include "base/utf8.h"
#include "grammar/json_schema.h"

namespace onebit::grammar {
namespace {

/// What is called has named arguments, also where nothing is said of them.
JsonValue any_object() {
  return {.kind = JsonValue::Kind::kObject,
          .members = {{"type", JsonValue{.kind = JsonValue::Kind::kString, .text = "object"}}}};
}

bool says_nothing(const JsonValue* schema) {
  if (schema == nullptr || schema->is(JsonValue::Kind::kNull)) return true;
  return schema->is(JsonValue::Kind::kObject) ? schema->members.empty()
                                              : schema->is(JsonValue::Kind::kBoolean) && schema->boolean;
}

bool is_true(const JsonValue* value) {
  return value != nullptr && value->boolean;
}

/// How much of the marker is matched after one more byte (Knuth, Morris, Pratt).
size_t matched_after(size_t matched, uint8_t byte) {
  std::string seen(kCallMarker.substr(0, matched));
  seen += static_cast<char>(byte);
  while (!kCallMarker.starts_with(seen)) seen.erase(0, 1);
  return seen.size();
}

/// Any bytes without the marker; each place may be the end. Returns the state after the marker.
StateId append_text(Nfa& nfa, StateId from, StateId end) {
  std::vector<StateId> states;
  for (size_t i = 0; i <= kCallMarker.size(); ++i) states.push_back(nfa.add_state());
  nfa.empty(from, states[0]);
  for (size_t i = 0; i < kCallMarker.size(); ++i) {
    nfa.empty(states[i], end);
    for (size_t b = 0; b < 256; ++b) {
      const auto byte = static_cast<uint8_t>(b);
      nfa.bytes(states[i], byte, byte, states[matched_after(i, byte)]);
    }
  }
  return states.back();
}

}  // namespace

Result<Rules> tool_rules(const JsonValue& source, Budget& budget) {
  Rules rules;
  const RuleId root = rules.add("root"), call = rules.add("call");  // a call without its marker
  const auto* tools = source.find("tools");
  if (tools == nullptr || tools->items.empty()) return fail("there is no tool that could be called");
  for (const auto& tool : tools->items) {
    const auto* name = tool.find("name");
    if (name == nullptr || !name->is(JsonValue::Kind::kString)) return fail("a tool needs a name");
    const auto* parameters = tool.find("parameters");
    const auto arguments = add_schema(rules, says_nothing(parameters) ? any_object() : *parameters, budget);
    if (!arguments) return fail_in(fmt::format("the parameters of '{}'", printable(name->text)), arguments.error());
    auto& rule = rules[call];
    const auto begin =
        std::string(kCallBegin.substr(kCallMarker.size())) + to_json(name->text) + std::string(kCallMiddle);
    if (!budget.spend(begin.size())) return Budget::spent();
    const StateId end = rule.nfa.after_call(rule.nfa.literal(rule.start, begin), *arguments);
    rule.nfa.empty(rule.nfa.literal(end, kCallEnd), rule.end);
  }
  if (const auto* schema = source.find("schema")) {
    const auto value = add_schema(rules, *schema, budget);
    if (!value) return fail_in("the schema", value.error());
    rules[root].nfa.call(rules[root].start, *value, rules[root].end);
  }
  auto& rule = rules[root];
  StateId at = is_true(source.find("text")) ? append_text(rule.nfa, rule.start, rule.end)
                                            : rule.nfa.literal(rule.start, kCallMarker);
  for (uint32_t i = 0; i < (is_true(source.find("parallel")) ? kMostCalls : 1); ++i) {
    if (i > 0) at = rule.nfa.literal(at, "\n" + std::string(kCallMarker));
    at = rule.nfa.after_call(at, call);
    rule.nfa.empty(at, rule.end);
  }
  return rules;
}

}  // namespace onebit::grammar
