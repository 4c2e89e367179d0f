// Automata over bytes whose edges may also call a rule: non-deterministic while they are put together, deterministic
// from then on.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "grammar/budget.h"

namespace onebit::grammar {

using RuleId = uint32_t;
using StateId = uint32_t;

/// States and edges; where it starts and ends its user knows.
class Nfa {
 public:
  enum class Kind : uint8_t {
    kBytes,  // one byte from low to high
    kEmpty,  // nothing
    kCall,   // whatever the rule matches
    kBegin,  // nothing, at the beginning of the text only
    kEnd     // nothing, at its end only
  };
  struct Edge {
    Kind kind;
    uint8_t low, high;
    RuleId rule;
    StateId to;
  };

  StateId add_state() {
    states_.emplace_back();
    return static_cast<StateId>(states_.size() - 1);
  }
  void bytes(StateId from, uint8_t low, uint8_t high, StateId to) {
    states_[from].push_back({Kind::kBytes, low, high, 0, to});
  }
  void empty(StateId from, StateId to) { states_[from].push_back({Kind::kEmpty, 0, 0, 0, to}); }
  void call(StateId from, RuleId rule, StateId to) { states_[from].push_back({Kind::kCall, 0, 0, rule, to}); }
  void assertion(StateId from, Kind kind, StateId to) { states_[from].push_back({kind, 0, 0, 0, to}); }

  /// The state after these bytes.
  StateId literal(StateId from, std::string_view text);
  /// The state after a call.
  StateId after_call(StateId from, RuleId rule) {
    const auto to = add_state();
    call(from, rule, to);
    return to;
  }

  const std::vector<Edge>& edges(StateId state) const { return states_[state]; }
  size_t size() const { return states_.size(); }

 private:
  std::vector<std::vector<Edge>> states_;
};

/// Deterministic in its bytes and in its calls. Starts in state 0; without states it matches nothing.
struct Dfa {
  struct Edge {
    uint8_t low, high;
    StateId to;
    bool operator==(const Edge&) const = default;
  };
  struct Call {
    RuleId rule;
    StateId to;
  };
  struct State {
    std::vector<Edge> edges;  // ascending, disjoint
    std::vector<Call> calls;  // ascending by rule
    bool final = false;
  };
  std::vector<State> states;

  /// Whether it matches the whole text; for automata without calls.
  bool matches(std::string_view text) const;
};

/// The subset construction, from `start` to any path to `end`.
Result<Dfa> determinise(const Nfa& nfa, StateId start, StateId end, Budget& budget);
/// Without states from which no end is reached, counting calls only of rules for which `productive` is true.
void trim(Dfa& dfa, const std::function<bool(RuleId)>& productive);

/// Of automata without calls.
Result<Dfa> intersection(const Dfa& a, const Dfa& b, Budget& budget);
/// What `a` matches and `b` does not.
Result<Dfa> difference(const Dfa& a, const Dfa& b, Budget& budget);

/// Copies it between two states.
void embed(Nfa& nfa, StateId from, const Dfa& dfa, StateId to);

}  // namespace onebit::grammar
