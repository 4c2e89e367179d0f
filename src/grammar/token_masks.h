// Which tokens a state allows, as far as that does not depend on the stack; computed when it is asked for, and kept.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "grammar/program.h"
#include "grammar/shapes.h"
#include "grammar/vocabulary.h"

namespace onebit::grammar {

class Stacks;

/// Of one state, by the bytes that it takes itself (the rules it calls are states of their own).
struct StateTokens {
  std::vector<TokenId> few;  // allowed, whatever the stack; in place of `many`
  TokenMask many;            // empty where there are few
  // Trie nodes before which the rule may end: whether their tokens are allowed depends on the stack. By their bytes:
  // those of byte b are from depend_of[b] to depend_of[b + 1]; both empty where there are none.
  std::vector<uint32_t> depend, depend_of;

  uint64_t bytes() const {
    return sizeof *this + few.capacity() * sizeof(TokenId) + many.capacity() * 8 +
           (depend.capacity() + depend_of.capacity()) * 4;
  }
};

/// For all grammars over one vocabulary; any thread may call it. The least recently used go where memory ends.
class TokenMasks {
 public:
  /// `vocabulary` must outlive it.
  TokenMasks(const Vocabulary& vocabulary, uint64_t most_bytes) : vocabulary_(vocabulary), most_bytes_(most_bytes) {}

  const Vocabulary& vocabulary() const { return vocabulary_; }
  /// A number for a rule's automaton: the same for rules of any grammars that match the same by the same states.
  uint64_t number_of(const Program& program, RuleId rule);
  /// `stacks`: of the program, for scratch; `owner`: the number of the state's rule; `kind`: the state's, which has
  /// shapes perhaps, or Kinds::kNone.
  std::shared_ptr<const StateTokens> find(uint64_t owner, const Program& program, StateId state, uint32_t kind,
                                          Stacks& stacks);
  bool knows(uint64_t owner, const Program& program, StateId state) const;
  /// Has masks of states of this kind computed by their shapes. Takes some milliseconds.
  void prepare_shapes(uint64_t owner, const Kinds& kinds, uint32_t kind);

  uint64_t bytes() const;

 private:
  struct Key {
    uint64_t owner;
    StateId state;  // within the rule
    bool operator==(const Key&) const = default;
  };
  struct KeyHash {
    size_t operator()(const Key& key) const { return (key.owner * 0x9E3779B97F4A7C15u) ^ key.state; }
  };
  struct Entry {
    Key key;
    std::shared_ptr<const StateTokens> tokens;
  };
  struct KeptShapes {
    Key key;  // its state is a kind
    std::shared_ptr<const Shapes> shapes;
  };
  static constexpr uint64_t kMostShapeBytes = 32 << 20;
  std::shared_ptr<const Shapes> shapes_of(const Key& key);

  const Vocabulary& vocabulary_;
  const uint64_t most_bytes_;
  mutable std::mutex mutex_;
  std::list<Entry> entries_;  // the most recently used first
  std::unordered_map<Key, std::list<Entry>::iterator, KeyHash> by_key_;
  std::list<KeptShapes> shapes_;  // few; the most recently used first
  uint64_t shape_bytes_ = 0;
  std::unordered_map<std::string, uint64_t> numbers_;  // of leaf rules, by their content
  uint64_t bytes_ = 0, number_bytes_ = 0, next_number_ = 0;
};

/// Those of the tokens that depend on the stack which may come where the rule goes on with the set `after`, into
/// `mask`.
void allow_dependent(const Vocabulary& vocabulary, const StateTokens& tokens, uint32_t after, Stacks& stacks,
                     TokenMask& mask);

}  // namespace onebit::grammar
