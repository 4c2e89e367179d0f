#include "grammar/program.h"

#include <algorithm>
#include <cstring>

#include "base/utf8.h"

namespace onebit::grammar {
namespace {

/// Rules that can match the empty text.
Result<std::vector<bool>> find_nullable(const Rules& rules, Budget& budget) {
  std::vector<bool> nullable(rules.size(), false);
  const auto reaches_end = [&](const Rules::Rule& rule) {
    std::vector<bool> seen(rule.nfa.size(), false);
    std::vector<StateId> work{rule.start};
    seen[rule.start] = true;
    while (!work.empty()) {
      const StateId s = work.back();
      work.pop_back();
      for (const auto& e : rule.nfa.edges(s)) {
        const bool free = e.kind == Nfa::Kind::kCall ? nullable[e.rule] : e.kind != Nfa::Kind::kBytes;
        if (free && !seen[e.to]) seen[e.to] = true, work.push_back(e.to);
      }
    }
    return static_cast<bool>(seen[rule.end]);
  };
  for (bool changed = true; changed;) {
    changed = false;
    for (RuleId r = 0; r < rules.size(); ++r) {
      if (!budget.spend(1 + (nullable[r] ? 0 : rules[r].nfa.size()))) return Budget::spent();
      if (!nullable[r] && reaches_end(rules[r])) nullable[r] = changed = true;
    }
  }
  return nullable;
}

/// A rule's automaton without the empty text: whoever calls it may skip the call instead.
Result<Dfa> automaton_of(const Rules::Rule& rule, const std::vector<bool>& nullable, Budget& budget) {
  Nfa nfa = rule.nfa;
  for (StateId s = 0; s < nfa.size(); ++s) {
    const auto edges = nfa.edges(s);
    for (const auto& e : edges)
      if (e.kind == Nfa::Kind::kCall && nullable[e.rule]) nfa.empty(s, e.to);
  }
  ASSIGN_OR_RETURN(auto dfa, determinise(nfa, rule.start, rule.end, budget));
  if (!dfa.states[0].final) return dfa;
  // What leads back to the start keeps its end; only the beginning has none.
  const auto is_entered = std::any_of(dfa.states.begin(), dfa.states.end(), [](const auto& s) {
    return std::any_of(s.edges.begin(), s.edges.end(), [](const auto& e) { return e.to == 0; }) ||
           std::any_of(s.calls.begin(), s.calls.end(), [](const auto& c) { return c.to == 0; });
  });
  if (is_entered) {
    const auto copy = static_cast<StateId>(dfa.states.size());
    dfa.states.push_back(dfa.states[0]);
    for (auto& s : dfa.states) {
      for (auto& e : s.edges)
        if (e.to == 0) e.to = copy;
      for (auto& c : s.calls)
        if (c.to == 0) c.to = copy;
    }
  }
  dfa.states[0].final = false;
  return dfa;
}

/// Rules that match some text, and their automata without calls of those that do not.
Status keep_productive(std::vector<Dfa>& automata, Budget& budget) {
  std::vector<bool> productive(automata.size(), false);
  const auto reaches_end = [&](const Dfa& dfa) {
    if (dfa.states.empty()) return false;
    std::vector<bool> seen(dfa.states.size(), false);
    std::vector<StateId> work{0};
    seen[0] = true;
    while (!work.empty()) {
      const auto& s = dfa.states[work.back()];
      work.pop_back();
      if (s.final) return true;
      const auto visit = [&](StateId to) {
        if (!seen[to]) seen[to] = true, work.push_back(to);
      };
      for (const auto& e : s.edges) visit(e.to);
      for (const auto& c : s.calls)
        if (productive[c.rule]) visit(c.to);
    }
    return false;
  };
  for (bool changed = true; changed;) {
    changed = false;
    for (RuleId r = 0; r < automata.size(); ++r) {
      if (!budget.spend(1 + (productive[r] ? 0 : automata[r].states.size()))) return Budget::spent();
      if (!productive[r] && reaches_end(automata[r])) productive[r] = changed = true;
    }
  }
  for (auto& dfa : automata) trim(dfa, [&](RuleId r) { return productive[r]; });
  return {};
}

/// The rule that begins with itself, directly or by others.
Status check_left_recursion(const Rules& rules, const std::vector<Dfa>& automata) {
  enum class Mark : uint8_t { kNew, kOpen, kDone };
  std::vector<Mark> marks(automata.size(), Mark::kNew);
  struct Visit {
    RuleId rule;
    size_t next = 0;
  };
  for (RuleId root = 0; root < automata.size(); ++root) {
    std::vector<Visit> path;
    if (marks[root] == Mark::kNew) path.push_back({root}), marks[root] = Mark::kOpen;
    while (!path.empty()) {
      auto& [rule, next] = path.back();
      const auto& states = automata[rule].states;
      if (states.empty() || next == states[0].calls.size()) {
        marks[rule] = Mark::kDone;
        path.pop_back();
        continue;
      }
      const RuleId called = states[0].calls[next++].rule;
      if (marks[called] == Mark::kOpen)
        return fail("grammar: the rule '{}' begins with itself; left recursion is not supported",
                    printable(rules[called].name));
      if (marks[called] == Mark::kNew) path.push_back({called}), marks[called] = Mark::kOpen;
    }
  }
  return {};
}

/// Bytes that no edge of the rule tells apart share a class.
std::array<uint8_t, 256> classes_of(const Dfa& dfa, uint32_t& count) {
  std::array<bool, 257> cuts{};
  for (const auto& s : dfa.states)
    for (const auto& e : s.edges) cuts[e.low] = cuts[size_t{e.high} + 1] = true;
  std::array<uint8_t, 256> classes{};
  uint32_t at = 0;
  for (size_t b = 0; b < 256; ++b) {
    if (b > 0 && cuts[b]) ++at;
    classes[b] = static_cast<uint8_t>(at);
  }
  count = at + 1;
  return classes;
}

class Packer {
 public:
  explicit Packer(const std::vector<Dfa>& automata) : automata_(automata) {}

  Result<Program> run() {
    StateId first = 0;
    for (const auto& dfa : automata_) {
      p_.first.push_back(first);
      first += static_cast<StateId>(dfa.states.size());
    }
    p_.first.push_back(first);
    if (first > Budget::kStates) return Budget::spent();
    for (RuleId r = 0; r < automata_.size(); ++r) RETURN_IF_ERROR(pack(r));
    p_.states.push_back({0, 0, static_cast<uint32_t>(p_.calls.size())});
    mark_tails();
    p_.root = p_.first[0];
    return std::move(p_);
  }

 private:
  Status pack(RuleId r) {
    const auto& dfa = automata_[r];
    uint32_t count = 0;
    p_.classes.push_back(classes_of(dfa, count));
    p_.leaf.push_back(true);
    const auto& classes = p_.classes.back();
    for (const auto& s : dfa.states) {
      const auto row = static_cast<uint32_t>(p_.next.size());
      if (row + count > Budget::kTableEntries) return Budget::spent();
      p_.next.resize(row + count, Program::kDead);
      for (const auto& e : s.edges)
        for (size_t b = e.low; b <= e.high; ++b) p_.next[row + classes[b]] = p_.first[r] + e.to;
      p_.states.push_back(
          {row, r, static_cast<uint32_t>(p_.calls.size()), s.final, !s.final && s.calls.empty(), s.edges.empty()});
      for (const auto& c : s.calls) p_.calls.push_back({p_.first[c.rule], p_.first[r] + c.to, false});
      if (!s.calls.empty()) p_.leaf.back() = false;
    }
    return {};
  }

  void mark_tails() {
    const auto goes_on = [&](StateId s) {
      const auto& dfa = automata_[p_.states[s].rule];
      const auto& state = dfa.states[s - p_.first[p_.states[s].rule]];
      return !state.edges.empty() || !state.calls.empty();
    };
    for (auto& call : p_.calls) call.tail = p_.states[call.next].final && !goes_on(call.next);
  }

  const std::vector<Dfa>& automata_;
  Program p_;
};

}  // namespace

RuleId Rules::add(std::string name) {
  Rule rule{std::move(name), {}, 0, 0};
  rule.start = rule.nfa.add_state();
  rule.end = rule.nfa.add_state();
  rules_.push_back(std::move(rule));
  return static_cast<RuleId>(rules_.size() - 1);
}

uint64_t Program::bytes() const {
  return states.size() * sizeof(State) + calls.size() * sizeof(Call) + next.size() * sizeof(StateId) +
         classes.size() * 256 + first.size() * sizeof(StateId);
}

std::string Program::content(RuleId rule) const {
  std::string out(reinterpret_cast<const char*>(classes[rule].data()), 256);
  const auto put = [&](uint32_t value) { out.append(reinterpret_cast<const char*>(&value), sizeof value); };
  const uint32_t count = uint32_t{*std::max_element(classes[rule].begin(), classes[rule].end())} + 1;
  for (StateId s = first[rule]; s < first[rule + 1]; ++s) {
    put(states[s].final ? 1 : 0);
    for (uint32_t c = 0; c < count; ++c) {
      const StateId to = next[states[s].row + c];
      put(to == kDead ? kDead : to - first[rule]);
    }
  }
  return out;
}

Result<Program> finish(const Rules& rules, Budget& budget) {
  ASSIGN_OR_RETURN(const auto nullable, find_nullable(rules, budget));
  std::vector<Dfa> automata;
  for (RuleId r = 0; r < rules.size(); ++r) {
    ASSIGN_OR_RETURN(auto dfa, automaton_of(rules[r], nullable, budget));
    automata.push_back(std::move(dfa));
  }
  RETURN_IF_ERROR(keep_productive(automata, budget));
  RETURN_IF_ERROR(check_left_recursion(rules, automata));
  ASSIGN_OR_RETURN(auto program, Packer(automata).run());
  program.may_be_empty = nullable[0];
  if (automata[0].states.empty()) program.root = Program::kDead;  // nothing, but perhaps the empty text
  return program;
}

}  // namespace onebit::grammar
