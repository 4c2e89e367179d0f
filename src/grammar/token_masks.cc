#include "grammar/token_masks.h"

#include <algorithm>

#include "grammar/stacks.h"

namespace onebit::grammar {
namespace {

/// Of contents of leaf rules; more rules than fit have numbers of their own.
constexpr uint64_t kMostNumberBytes = 8 << 20;
constexpr size_t kLongestContent = 64 << 10;

/// Walks the trie from a frame with an open parent. While the walk stays in one plain state it is a table's; else a
/// set's.
class Walk {
 public:
  Walk(const Vocabulary& vocabulary, const Program& program, Stacks& stacks)
      : vocabulary_(vocabulary), program_(program), stacks_(stacks), at_(vocabulary.deepest() + 1) {}

  StateTokens run(StateId state) {
    mask_.assign(vocabulary_.mask_words(), 0);
    at_[0] = {state, true};
    const auto& nodes = vocabulary_.nodes();
    for (uint32_t n = 1, end = nodes[0].end; n < end;) {
      const auto& node = nodes[n];
      if (step(node, n)) {
        for (uint32_t t = node.first; t < nodes[n + 1].first; ++t, ++count_) allow(mask_, vocabulary_.tokens()[t]);
        if (at_[node.depth].state != kStop) {
          ++n;
          continue;
        }
      }
      n = node.end;
    }
    return take();
  }

 private:
  static constexpr uint32_t kStop = UINT32_MAX;  // nothing below this node
  struct At {
    uint32_t state;  // or set
    bool plain;
  };

  /// Whether a token may end at this node.
  bool step(const Vocabulary::Node& node, uint32_t n) {
    const At before = at_[node.depth - 1];
    if (before.plain) {
      const StateId to = program_.step(before.state, node.byte);
      if (to == Program::kDead) return false;
      if (program_.states[to].plain) {
        at_[node.depth] = {to, true};
        return true;
      }
    }
    SetId set = before.plain ? stacks_.step(Frame{before.state, Stacks::kOpen}, node.byte)
                             : stacks_.step(SetId{before.state}, node.byte);
    if (set == Stacks::kNothing) return false;
    const bool open = stacks_.has(set, Stacks::kOpenState);
    if (open && node.end > n + 1) depend_.push_back(n);
    if (open && stacks_.frames(set).size() == 1) set = kStop;
    at_[node.depth] = {set, false};
    return true;
  }

  /// The nodes below those where the rule may end, by byte.
  void sort_dependent(StateTokens& result) const {
    if (depend_.empty()) return;
    const auto& nodes = vocabulary_.nodes();
    const auto for_each = [&](auto with) {
      for (const uint32_t top : depend_)
        for (uint32_t n = top + 1; n < nodes[top].end; n = nodes[n].end) with(n);
    };
    result.depend_of.assign(257, 0);
    for_each([&](uint32_t n) { ++result.depend_of[nodes[n].byte + 1u]; });
    for (size_t b = 0; b < 256; ++b) result.depend_of[b + 1] += result.depend_of[b];
    result.depend.resize(result.depend_of.back());
    auto next = result.depend_of;
    for_each([&](uint32_t n) { result.depend[next[nodes[n].byte]++] = n; });
  }

  StateTokens take() {
    StateTokens result;
    sort_dependent(result);
    if (count_ * 32 > mask_.size() * 64) {
      result.many = std::move(mask_);
      return result;
    }
    for (size_t w = 0; w < mask_.size(); ++w)
      for (uint64_t bits = mask_[w]; bits != 0; bits &= bits - 1)
        result.few.push_back(static_cast<TokenId>(64 * w + static_cast<size_t>(__builtin_ctzll(bits))));
    return result;
  }

  const Vocabulary& vocabulary_;
  const Program& program_;
  Stacks& stacks_;
  std::vector<At> at_;  // by depth
  TokenMask mask_;
  size_t count_ = 0;
  std::vector<uint32_t> depend_;
};

}  // namespace

uint64_t TokenMasks::number_of(const Program& program, RuleId rule) {
  std::string content;
  if (program.leaf[rule] && program.first[rule + 1] > program.first[rule]) content = program.content(rule);
  const std::lock_guard lock(mutex_);
  if (content.empty() || content.size() > kLongestContent) return next_number_++;
  const auto it = numbers_.find(content);
  if (it != numbers_.end()) return it->second;
  if (number_bytes_ + content.size() > kMostNumberBytes) return next_number_++;
  number_bytes_ += content.size();
  return numbers_[std::move(content)] = next_number_++;
}

std::shared_ptr<const StateTokens> TokenMasks::find(uint64_t owner, const Program& program, StateId state,
                                                    Stacks& stacks) {
  const Key key{owner, state - program.first[program.states[state].rule]};
  {
    const std::lock_guard lock(mutex_);
    if (const auto it = by_key_.find(key); it != by_key_.end()) {
      entries_.splice(entries_.begin(), entries_, it->second);
      return it->second->tokens;
    }
  }
  stacks.charge(vocabulary_.nodes().size() / 16);
  const auto mark = stacks.mark();
  auto tokens = std::make_shared<const StateTokens>(Walk(vocabulary_, program, stacks).run(state));
  stacks.forget(mark);
  if (stacks.overflowed()) return tokens;  // the walk was cut short
  const std::lock_guard lock(mutex_);
  if (by_key_.contains(key)) return tokens;  // another thread was quicker
  entries_.push_front({key, tokens});
  by_key_[key] = entries_.begin();
  bytes_ += tokens->bytes();
  while (bytes_ > most_bytes_ && entries_.size() > 1) {
    bytes_ -= entries_.back().tokens->bytes();
    by_key_.erase(entries_.back().key);
    entries_.pop_back();
  }
  return tokens;
}

uint64_t TokenMasks::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_ + number_bytes_;
}

void allow_dependent(const Vocabulary& vocabulary, const StateTokens& tokens, uint32_t after, Stacks& stacks,
                     TokenMask& mask) {
  if (tokens.depend.empty()) return;
  const auto& nodes = vocabulary.nodes();
  const auto allow_at = [&](uint32_t n) {
    for (uint32_t t = nodes[n].first; t < nodes[n + 1].first; ++t) allow(mask, vocabulary.tokens()[t]);
  };
  std::vector<SetId> at(vocabulary.deepest() + 1);  // by depth
  for (size_t b = 0; b < 256; ++b) {
    if (tokens.depend_of[b] == tokens.depend_of[b + 1]) continue;
    const SetId first = stacks.step(SetId{after}, static_cast<uint8_t>(b));
    if (first == Stacks::kNothing) continue;
    for (uint32_t i = tokens.depend_of[b]; i < tokens.depend_of[b + 1] && !stacks.overflowed(); ++i) {
      const uint32_t top = tokens.depend[i];
      allow_at(top);
      at[nodes[top].depth] = first;
      for (uint32_t n = top + 1; n < nodes[top].end;) {
        const SetId set = stacks.step(at[nodes[n].depth - 1u], nodes[n].byte);
        if (set == Stacks::kNothing) {
          n = nodes[n].end;
          continue;
        }
        allow_at(n);
        at[nodes[n].depth] = set;
        ++n;
      }
    }
  }
}

}  // namespace onebit::grammar
