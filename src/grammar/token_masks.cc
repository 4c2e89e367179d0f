#include "grammar/token_masks.h"

#include <algorithm>

#include "grammar/stacks.h"

namespace onebit::grammar {
namespace {

/// Of contents of leaf rules; more rules than fit have numbers of their own.
constexpr uint64_t kMostNumberBytes = 8 << 20;
constexpr size_t kLongestContent = 64 << 10;

/// Walks the trie, or a state's shapes of it, from a frame with an open parent. While the walk stays in one plain state
/// it is a table's; else a set's.
class Walk {
 public:
  Walk(const Vocabulary& vocabulary, const Shapes* shapes, const Program& program, Stacks& stacks)
      : vocabulary_(vocabulary),
        shapes_(shapes),
        nodes_(shapes != nullptr ? shapes->nodes : vocabulary.nodes()),
        tokens_(shapes != nullptr ? shapes->tokens : vocabulary.tokens()),
        program_(program),
        stacks_(stacks),
        at_(vocabulary.deepest() + 1),
        before_(nodes_.size(), kNotSeen) {}

  StateTokens run(StateId state) {
    mask_.assign(vocabulary_.mask_words(), 0);
    at_[0] = {state, true};
    const uint32_t end = nodes_[0].end;
    for (uint32_t n = 1; n < end;) {
      const auto& node = nodes_[n];
      before_[n] = count_;
      if (step(node, n)) {
        for (uint32_t t = node.first; t < nodes_[n + 1].first; ++t, ++count_) allow(mask_, tokens_[t]);
        if (at_[node.depth].state != kStop) {
          ++n;
          continue;
        }
      }
      n = node.end;
    }
    before_[end] = count_;
    return take();
  }

 private:
  static constexpr uint32_t kStop = UINT32_MAX;  // nothing below this node
  static constexpr uint32_t kNotSeen = UINT32_MAX;
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
    if (open) ends_.push_back(n);
    if (open && stacks_.frames(set).size() == 1) set = kStop;
    at_[node.depth] = {set, false};
    return true;
  }

  /// Whether all tokens below one of the vocabulary's nodes are allowed, whatever the stack.
  bool allows_all_below(uint32_t origin) const {
    const uint32_t n = shapes_ != nullptr ? shapes_->shape_of[origin] : origin;
    if (n == Shapes::kNone || before_[n] == kNotSeen) return false;
    const uint32_t end = nodes_[n].end;
    return before_[end] - before_[n] == nodes_[end].first - nodes_[n].first;
  }

  /// What follows where the rule may end, as far as it depends on the stack: nodes of the vocabulary, by their byte.
  void sort_dependent(StateTokens& result) const {
    const auto& nodes = vocabulary_.nodes();
    std::vector<uint32_t> found;
    const auto look_below = [&](uint32_t top) {
      for (uint32_t n = top + 1; n < nodes[top].end; n = nodes[n].end)
        if (!allows_all_below(n)) found.push_back(n);
    };
    for (const uint32_t n : ends_) {
      if (shapes_ == nullptr)
        look_below(n);
      else
        std::for_each(shapes_->origins.begin() + shapes_->origins_of[n],
                      shapes_->origins.begin() + shapes_->origins_of[n + 1], look_below);
    }
    if (found.empty()) return;
    result.depend_of.assign(257, 0);
    for (const uint32_t n : found) ++result.depend_of[nodes[n].byte + 1u];
    for (size_t b = 0; b < 256; ++b) result.depend_of[b + 1] += result.depend_of[b];
    result.depend.resize(found.size());
    auto next = result.depend_of;
    for (const uint32_t n : found) result.depend[next[nodes[n].byte]++] = n;
  }

  StateTokens take() {
    StateTokens result;
    sort_dependent(result);
    if (size_t{count_} * 32 > mask_.size() * 64) {
      result.many = std::move(mask_);
      return result;
    }
    for (size_t w = 0; w < mask_.size(); ++w)
      for (uint64_t bits = mask_[w]; bits != 0; bits &= bits - 1)
        result.few.push_back(static_cast<TokenId>(64 * w + static_cast<size_t>(__builtin_ctzll(bits))));
    return result;
  }

  const Vocabulary& vocabulary_;
  const Shapes* shapes_;
  const std::vector<Vocabulary::Node>& nodes_;
  const std::vector<TokenId>& tokens_;
  const Program& program_;
  Stacks& stacks_;
  std::vector<At> at_;  // by depth
  TokenMask mask_;
  uint32_t count_ = 0;            // of allowed tokens
  std::vector<uint32_t> before_;  // of them before each node that was looked at
  std::vector<uint32_t> ends_;    // nodes after which the rule may end
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

bool TokenMasks::knows(uint64_t owner, const Program& program, StateId state) const {
  const std::lock_guard lock(mutex_);
  return by_key_.contains({owner, state - program.first[program.states[state].rule]});
}

void TokenMasks::prepare_shapes(uint64_t owner, const Kinds& kinds, uint32_t kind) {
  const Key key{owner, kind};
  if (shapes_of(key) != nullptr) return;
  const auto shapes = std::make_shared<const Shapes>(kinds.shapes(vocabulary_, kind));
  if (shapes->nodes.empty()) return;
  const std::lock_guard lock(mutex_);
  shapes_.push_front({key, shapes});
  shape_bytes_ += shapes->bytes();
  for (; shape_bytes_ > kMostShapeBytes && shapes_.size() > 1; shapes_.pop_back())
    shape_bytes_ -= shapes_.back().shapes->bytes();
}

std::shared_ptr<const Shapes> TokenMasks::shapes_of(const Key& key) {
  const std::lock_guard lock(mutex_);
  const auto it = std::find_if(shapes_.begin(), shapes_.end(), [&](const auto& s) { return s.key == key; });
  if (it == shapes_.end()) return nullptr;
  shapes_.splice(shapes_.begin(), shapes_, it);
  return it->shapes;
}

std::shared_ptr<const StateTokens> TokenMasks::find(uint64_t owner, const Program& program, StateId state,
                                                    uint32_t kind, Stacks& stacks) {
  const Key key{owner, state - program.first[program.states[state].rule]};
  {
    const std::lock_guard lock(mutex_);
    if (const auto it = by_key_.find(key); it != by_key_.end()) {
      entries_.splice(entries_.begin(), entries_, it->second);
      return it->second->tokens;
    }
  }
  const auto shapes = kind == Kinds::kNone ? nullptr : shapes_of({owner, kind});
  stacks.charge((shapes != nullptr ? shapes->nodes : vocabulary_.nodes()).size() / 16);
  const auto mark = stacks.mark();
  auto tokens = std::make_shared<const StateTokens>(Walk(vocabulary_, shapes.get(), program, stacks).run(state));
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
  return bytes_ + shape_bytes_ + number_bytes_;
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
