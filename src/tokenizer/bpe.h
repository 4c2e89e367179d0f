// Pieces -> token ids by merging pairs of neighbours.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

#include "format/tokenizer_data.h"

namespace onebit {

/// Begins with one token a byte (SentencePiece: a character, or its bytes where it is no token) and applies, while
/// there is one, the merge of the lowest rank, the leftmost among equals (as Hugging Face's tokenizers does).
/// Immutable: any number of threads.
class BytePairEncoder {
 public:
  /// `data` must be valid and must outlive the encoder.
  explicit BytePairEncoder(const TokenizerData& data);

  /// Appends the ids of one piece. With ignore_merges, a piece that is an ordinary token as a whole is
  /// that token; a special token's name never is.
  void encode(std::string_view piece, std::vector<TokenId>& ids) const;

  /// Longest piece for merge_short().
  static constexpr size_t kShortPiece = 64;
  /// The two ways to merge, which give the same ids. Quadratic, but quicker on a word:
  void merge_short(std::string_view piece, std::vector<TokenId>& ids) const;
  /// O(n log n). Ranks and places share 64 bits, so a piece above 4 GiB is merged in parts of that size, whatever they
  /// cut.
  void merge_long(std::string_view piece, std::vector<TokenId>& ids) const;

 private:
  static constexpr uint32_t kNoRank = std::numeric_limits<uint32_t>::max();
  struct Merge {
    uint32_t rank = kNoRank;  // kNoRank: the two do not merge
    TokenId result = 0;
  };
  struct PairSlot {
    TokenId left = 0;
    TokenId right = 0;
    Merge merge;  // kNoRank: the slot is free
  };

  void index_pairs();
  /// Of those by bytes that ignore_merges or SentencePiece's first step look up.
  void index_tokens();
  uint64_t hash(uint64_t key) const;
  Merge find(TokenId left, TokenId right) const;
  TokenId find_token(std::string_view piece) const;
  /// With words_: where the word ends that begins `piece`; no merge reaches past it.
  size_t word_end(std::string_view piece) const;
  /// The tokens that merging begins with; `out` has room for one a byte. How many there are.
  size_t begin(std::string_view piece, TokenId* out) const;
  size_t begin_with_characters(std::string_view piece, TokenId* out) const;
  void merge_part(std::string_view part, std::vector<TokenId>& ids) const;

  const TokenizerData& data_;
  const bool characters_;  // SentencePiece
  bool words_ = false;     // SentencePiece, and no token has a space after anything but a space
  std::array<TokenId, 256> byte_tokens_{};
  // Open addressing with linear probing, at most half full.
  uint64_t seed_ = 0;
  std::vector<PairSlot> pairs_;
  std::vector<TokenId> tokens_;  // by the hash of their bytes; -1: free. Empty where nothing looks tokens up
};

}  // namespace onebit
