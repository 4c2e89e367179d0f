// Tokens by what they look like to a rule's states: a counted string of 40 characters has 40 states, each with a mask
// of its own, but none of them tells "river" from "mount". Their masks are walks through few shapes instead of all
// tokens.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "grammar/program.h"
#include "grammar/vocabulary.h"

namespace onebit::grammar {

/// A vocabulary's trie in which nodes that no state of one kind tells apart are one: its preorder, where `byte` stands
/// for all bytes of a step.
struct Shapes {
  std::vector<Vocabulary::Node> nodes;        // one more at the end
  std::vector<TokenId> tokens;                // by node
  std::vector<uint32_t> shape_of;             // each of the vocabulary's nodes; kNone: no state allows it
  std::vector<uint32_t> origins, origins_of;  // the vocabulary's nodes by shape; and where each shape's begin

  static constexpr uint32_t kNone = UINT32_MAX;
  uint64_t bytes() const {
    return sizeof *this + nodes.capacity() * sizeof(Vocabulary::Node) + tokens.capacity() * sizeof(TokenId) +
           (shape_of.capacity() + origins.capacity() + origins_of.capacity()) * 4;
  }
};

/// The kinds of a leaf rule's states. States of one kind tell bytes apart alike, as far as they take them, and what
/// they lead to by the same byte is of one kind, too.
class Kinds {
 public:
  /// `program` must outlive it.
  Kinds(const Program& program, RuleId rule);

  static constexpr uint32_t kNone = UINT32_MAX;
  /// The number of each state's kind, from 0; kNone for all where the rule is too large.
  const std::vector<uint32_t>& of_states() const { return kind_; }
  /// The shapes for states of a kind. None where they would be no fewer than half of the vocabulary's nodes.
  Shapes shapes(const Vocabulary& vocabulary, uint32_t kind) const;

 private:
  static constexpr size_t kLargest = 1 << 20;  // states by classes
  static constexpr int kMostPasses = 16;
  /// Bytes that no state of a kind tells apart are a block; `to`: the kind that it leads to, kNone: nowhere.
  struct Blocks {
    std::array<uint8_t, 256> block{};
    std::vector<uint32_t> to;
  };
  bool unite();
  void divide(const std::array<uint8_t, 256>& class_of);

  std::vector<std::span<const StateId>> rows_;  // of the program
  StateId first_ = 0;
  size_t classes_ = 0;
  uint32_t count_ = 0;
  std::vector<uint32_t> kind_;
  std::vector<Blocks> blocks_;  // by kind
};

}  // namespace onebit::grammar
