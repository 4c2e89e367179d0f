// A finished grammar as tables: one deterministic automaton a rule, walked with stacks (grammar/stacks.h).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "grammar/automaton.h"

namespace onebit::grammar {

/// Rules before they are finished; the first is the root.
class Rules {
 public:
  struct Rule {
    std::string name;
    Nfa nfa;
    StateId start, end;
  };

  /// One whose states are still to be added between start and end.
  RuleId add(std::string name);
  Rule& operator[](RuleId id) { return rules_[id]; }
  const Rule& operator[](RuleId id) const { return rules_[id]; }
  size_t size() const { return rules_.size(); }

 private:
  std::vector<Rule> rules_;
};

/// States are numbered over all rules. Every one of them reaches an end, so that no text that was matched so far is a
/// dead end.
struct Program {
  static constexpr StateId kDead = UINT32_MAX;

  struct Call {
    StateId start;  // of the rule that is called
    StateId next;   // where it returns to
    bool tail;      // nothing follows there but the end
  };
  struct State {
    uint32_t row;    // of `next`
    uint32_t rule;   // of `classes`
    uint32_t calls;  // its first; the next state's is the end
    bool final = false;
    bool plain = false;   // neither final nor calls anything
    bool silent = false;  // takes no byte itself
  };

  std::vector<State> states;  // one more at the end
  std::vector<Call> calls;
  std::vector<StateId> next;                      // by state and class of byte
  std::vector<std::array<uint8_t, 256>> classes;  // of each rule: bytes that it does not tell apart
  std::vector<StateId> first;                     // of each rule: its states, as far as the next rule's
  std::vector<bool> leaf;                         // of each rule: it calls nothing
  StateId root = 0;                               // where the root begins
  bool may_be_empty = false;                      // the empty text matches

  StateId step(StateId state, uint8_t byte) const {
    const State& s = states[state];
    return next[s.row + classes[s.rule][byte]];
  }
  /// Memory.
  uint64_t bytes() const;
  /// What a leaf rule does, whatever grammar it is of: equal where it matches the same by the same states.
  std::string content(RuleId rule) const;
};

/// Errors: left recursion, too large.
Result<Program> finish(const Rules& rules, Budget& budget);

}  // namespace onebit::grammar
