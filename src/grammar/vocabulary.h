// A tokenizer's tokens as a trie of their bytes, so that tokens which begin alike are looked at together.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace onebit::grammar {

/// A bit for each token.
using TokenMask = std::vector<uint64_t>;
inline bool allows(const TokenMask& mask, TokenId id) {
  return (mask[static_cast<size_t>(id) / 64] >> (static_cast<size_t>(id) % 64) & 1) != 0;
}
inline void allow(TokenMask& mask, TokenId id) {
  mask[static_cast<size_t>(id) / 64] |= uint64_t{1} << (static_cast<size_t>(id) % 64);
}
inline void forbid(TokenMask& mask, TokenId id) {
  mask[static_cast<size_t>(id) / 64] &= ~(uint64_t{1} << (static_cast<size_t>(id) % 64));
}

/// Immutable; refers to the tokenizer, which must outlive it.
class Vocabulary {
 public:
  explicit Vocabulary(const Tokenizer& tokenizer);

  /// In preorder; the first is the root, which has no byte.
  struct Node {
    uint32_t end;    // of its subtree: the next node that is not below it
    uint32_t first;  // in tokens(), of those that end here; theirs end where the next node's begin
    uint16_t depth;  // bytes from the root
    uint8_t byte;    // the last of them
  };
  const std::vector<Node>& nodes() const { return nodes_; }  // one more at the end
  const std::vector<TokenId>& tokens() const { return tokens_; }
  uint32_t deepest() const { return deepest_; }

  /// Of all ids, special ones too.
  size_t size() const { return size_; }
  size_t mask_words() const { return (size_ + 63) / 64; }
  /// Tokens that end an answer.
  const std::vector<TokenId>& end_tokens() const { return end_tokens_; }
  bool is_end(TokenId id) const { return tokenizer_.is_stop(id); }
  bool is_special(TokenId id) const { return tokenizer_.is_special(id); }
  std::string_view bytes(TokenId id) const { return tokenizer_.token_bytes(id); }

 private:
  const Tokenizer& tokenizer_;
  size_t size_;
  std::vector<Node> nodes_;
  std::vector<TokenId> tokens_, end_tokens_;
  uint32_t deepest_ = 0;
};

}  // namespace onebit::grammar
