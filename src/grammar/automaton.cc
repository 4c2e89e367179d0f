#include "grammar/automaton.h"

#include <algorithm>
#include <bitset>
#include <map>
#include <unordered_map>

namespace onebit::grammar {
namespace {

using StateSet = std::vector<StateId>;  // ascending

struct StateSetHash {
  size_t operator()(const StateSet& set) const {
    uint64_t h = 0x9E3779B97F4A7C15u;
    for (const StateId id : set) h = (h ^ id) * 0xBF58476D1CE4E5B9u, h ^= h >> 29;
    return static_cast<size_t>(h);
  }
};

/// Bytes at which a set of ranges changes.
class Cuts {
 public:
  void add(uint8_t low, uint8_t high) {
    at_.set(low);
    at_.set(size_t{high} + 1);
  }
  /// Calls `with(low, high)` for each stretch between two cuts.
  template <class F>
  void for_each(F with) const {
    size_t low = 257;
    for (size_t b = 0; b <= 256; ++b) {
      if (!at_.test(b)) continue;
      if (low < b) with(static_cast<uint8_t>(low), static_cast<uint8_t>(b - 1));
      low = b;
    }
  }

 private:
  std::bitset<257> at_;
};

class Determiniser {
 public:
  Determiniser(const Nfa& nfa, StateId end, Budget& budget)
      : nfa_(nfa), end_(end), budget_(budget), seen_(nfa.size(), 0) {}

  Result<Dfa> run(StateId start) {
    StateSet first{start};
    if (!close(first, true)) return Budget::spent();
    id_of(std::move(first));
    for (StateId id = 0; id < sets_.size(); ++id) {
      const StateSet set = *sets_[id];
      if (!expand(id, set) || dfa_.states.size() > Budget::kStates) return Budget::spent();
    }
    return std::move(dfa_);
  }

 private:
  /// Adds what is reached by nothing; at the text's beginning also through kBegin.
  bool close(StateSet& set, bool at_begin, bool at_end = false) {
    ++stamp_;
    for (const StateId id : set) seen_[id] = stamp_;
    for (size_t i = 0; i < set.size(); ++i) {
      const auto& edges = nfa_.edges(set[i]);
      if (!budget_.spend(1 + edges.size())) return false;
      for (const auto& edge : edges) {
        const bool free = edge.kind == Nfa::Kind::kEmpty || (edge.kind == Nfa::Kind::kBegin && at_begin) ||
                          (edge.kind == Nfa::Kind::kEnd && at_end);
        if (!free || seen_[edge.to] == stamp_) continue;
        seen_[edge.to] = stamp_;
        set.push_back(edge.to);
      }
    }
    std::sort(set.begin(), set.end());
    return true;
  }

  StateId id_of(StateSet set) {
    const auto [it, is_new] = ids_.try_emplace(std::move(set), static_cast<StateId>(sets_.size()));
    if (is_new) {
      sets_.push_back(&it->first);
      dfa_.states.emplace_back();
    }
    return it->second;
  }

  bool is_final(const StateSet& set, bool at_begin) {
    if (std::binary_search(set.begin(), set.end(), end_)) return true;
    const auto asserts = [&](StateId id) {
      const auto& edges = nfa_.edges(id);
      return std::any_of(edges.begin(), edges.end(), [](const auto& e) { return e.kind == Nfa::Kind::kEnd; });
    };
    if (std::none_of(set.begin(), set.end(), asserts)) return false;
    StateSet closed = set;
    return close(closed, at_begin, true) && std::binary_search(closed.begin(), closed.end(), end_);
  }

  bool expand(StateId id, const StateSet& set) {
    dfa_.states[id].final = is_final(set, id == 0);
    Cuts cuts;
    std::vector<Nfa::Edge> bytes;
    std::map<RuleId, StateSet> calls;
    for (const StateId s : set)
      for (const auto& edge : nfa_.edges(s)) {
        if (edge.kind == Nfa::Kind::kCall) calls[edge.rule].push_back(edge.to);
        if (edge.kind != Nfa::Kind::kBytes) continue;
        bytes.push_back(edge);
        cuts.add(edge.low, edge.high);
      }
    std::vector<Dfa::Edge> edges;
    bool enough = true;
    cuts.for_each([&](uint8_t low, uint8_t high) {
      StateSet to;
      enough = enough && budget_.spend(1 + bytes.size() / 4);
      for (const auto& edge : bytes)
        if (edge.low <= low && high <= edge.high) to.push_back(edge.to);
      if (to.empty() || !enough) return;
      const StateId next = target(std::move(to), enough);
      if (!edges.empty() && edges.back().to == next && edges.back().high + 1 == low)
        edges.back().high = high;
      else
        edges.push_back({low, high, next});
    });
    for (auto& [rule, to] : calls) {
      if (!enough) break;
      const StateId next = target(std::move(to), enough);
      dfa_.states[id].calls.push_back({rule, next});
    }
    dfa_.states[id].edges = std::move(edges);
    return enough;
  }

  StateId target(StateSet to, bool& enough) {
    std::sort(to.begin(), to.end());
    to.erase(std::unique(to.begin(), to.end()), to.end());
    enough = close(to, false) && budget_.spend(8 + to.size());
    return id_of(std::move(to));
  }

  const Nfa& nfa_;
  const StateId end_;
  Budget& budget_;
  std::vector<uint32_t> seen_;
  uint32_t stamp_ = 0;
  std::unordered_map<StateSet, StateId, StateSetHash> ids_;
  std::vector<const StateSet*> sets_;
  Dfa dfa_;
};

/// Where a byte leads; kNone: nowhere.
constexpr StateId kNone = UINT32_MAX;
StateId step(const Dfa& dfa, StateId state, uint8_t byte) {
  if (state == kNone) return kNone;
  for (const auto& edge : dfa.states[state].edges)
    if (edge.low <= byte && byte <= edge.high) return edge.to;
  return kNone;
}

/// Both at once. Where `b` leads nowhere the pair goes on only for a difference.
Result<Dfa> product(const Dfa& a, const Dfa& b, bool without_b, Budget& budget) {
  Dfa result;
  if (a.states.empty()) return result;
  std::map<std::pair<StateId, StateId>, StateId> ids;
  std::vector<std::pair<StateId, StateId>> pairs;
  const auto id_of = [&](StateId x, StateId y) {
    const auto [it, is_new] = ids.try_emplace({x, y}, static_cast<StateId>(pairs.size()));
    if (is_new) pairs.push_back({x, y});
    return it->second;
  };
  id_of(0, b.states.empty() ? kNone : 0);
  for (StateId id = 0; id < pairs.size(); ++id) {
    const auto [x, y] = pairs[id];
    Dfa::State state;
    const bool in_b = y != kNone && b.states[y].final;
    state.final = a.states[x].final && in_b != without_b;
    Cuts cuts;
    for (const auto& e : a.states[x].edges) cuts.add(e.low, e.high);
    if (y != kNone)
      for (const auto& e : b.states[y].edges) cuts.add(e.low, e.high);
    bool enough = pairs.size() <= Budget::kStates;
    cuts.for_each([&](uint8_t low, uint8_t high) {
      enough = enough && budget.spend(4);
      const StateId to_a = step(a, x, low), to_b = step(b, y, low);
      if (!enough || to_a == kNone || (to_b == kNone && !without_b)) return;
      state.edges.push_back({low, high, id_of(to_a, to_b)});
    });
    if (!enough) return Budget::spent();
    result.states.push_back(std::move(state));
  }
  trim(result, [](RuleId) { return true; });
  return result;
}

}  // namespace

StateId Nfa::literal(StateId from, std::string_view text) {
  for (const char c : text) {
    const auto to = add_state();
    bytes(from, static_cast<uint8_t>(c), static_cast<uint8_t>(c), to);
    from = to;
  }
  return from;
}

bool Dfa::matches(std::string_view text) const {
  StateId state = states.empty() ? kNone : 0;
  for (const char c : text) state = step(*this, state, static_cast<uint8_t>(c));
  return state != kNone && states[state].final;
}

Result<Dfa> determinise(const Nfa& nfa, StateId start, StateId end, Budget& budget) {
  return Determiniser(nfa, end, budget).run(start);
}

void trim(Dfa& dfa, const std::function<bool(RuleId)>& productive) {
  const size_t n = dfa.states.size();
  std::vector<std::vector<StateId>> from(n);
  std::vector<StateId> work;
  std::vector<bool> useful(n, false);
  for (StateId s = 0; s < n; ++s) {
    auto& state = dfa.states[s];
    std::erase_if(state.calls, [&](const auto& call) { return !productive(call.rule); });
    for (const auto& edge : state.edges) from[edge.to].push_back(s);
    for (const auto& call : state.calls) from[call.to].push_back(s);
    if (!state.final) continue;
    useful[s] = true;
    work.push_back(s);
  }
  while (!work.empty()) {
    const StateId s = work.back();
    work.pop_back();
    for (const StateId before : from[s])
      if (!useful[before]) useful[before] = true, work.push_back(before);
  }
  if (n == 0 || !useful[0]) return dfa.states.clear();
  // What is reached from the start over useful states keeps its order.
  std::vector<StateId> new_id(n, kNone), order{0};
  new_id[0] = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    auto& state = dfa.states[order[i]];
    std::erase_if(state.edges, [&](const auto& edge) { return !useful[edge.to]; });
    std::erase_if(state.calls, [&](const auto& call) { return !useful[call.to]; });
    const auto reach = [&](StateId& to) {
      if (new_id[to] == kNone) new_id[to] = static_cast<StateId>(order.size()), order.push_back(to);
      to = new_id[to];
    };
    for (auto& edge : state.edges) reach(edge.to);
    for (auto& call : state.calls) reach(call.to);
  }
  std::vector<Dfa::State> kept;
  kept.reserve(order.size());
  for (const StateId s : order) kept.push_back(std::move(dfa.states[s]));
  dfa.states = std::move(kept);
}

Result<Dfa> intersection(const Dfa& a, const Dfa& b, Budget& budget) {
  return product(a, b, false, budget);
}

Result<Dfa> difference(const Dfa& a, const Dfa& b, Budget& budget) {
  return product(a, b, true, budget);
}

void embed(Nfa& nfa, StateId from, const Dfa& dfa, StateId to) {
  if (dfa.states.empty()) return;
  std::vector<StateId> ids;
  ids.reserve(dfa.states.size());
  for (size_t i = 0; i < dfa.states.size(); ++i) ids.push_back(nfa.add_state());
  nfa.empty(from, ids[0]);
  for (size_t i = 0; i < dfa.states.size(); ++i) {
    for (const auto& edge : dfa.states[i].edges) nfa.bytes(ids[i], edge.low, edge.high, ids[edge.to]);
    for (const auto& call : dfa.states[i].calls) nfa.call(ids[i], call.rule, ids[call.to]);
    if (dfa.states[i].final) nfa.empty(ids[i], to);
  }
}

}  // namespace onebit::grammar
