// Byte-pair encoding (Sennrich et al. 2016): on bytes as in GPT-2, after the pre-tokenizer of LLaMA-3, GPT-2 or Qwen2,
// or on characters as in SentencePiece (Kudo and Richardson 2018), as the model's vocabulary was made.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "format/tokenizer_data.h"

namespace onebit {

/// What the name of a special token means inside a text. A user's words are kAsText: nobody can end
/// an answer or begin a system message by typing its marker.
enum class SpecialTokens { kAsText, kParse };

/// Immutable after creation: any number of threads may use one object at a time.
class Tokenizer {
 public:
  /// Fails only where the pattern cannot be compiled; `data` must be valid (format/tokenizer_data.h).
  static Result<Tokenizer> create(TokenizerData data);
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// Token ids of any bytes, valid UTF-8 or not; no BOS is added. decode(encode(text)) is the text, but for what the
  /// vocabulary's normalization does: its NFC where the data says nfc; with SentencePiece U+2581 comes back as a space,
  /// and a space at the beginning is lost where the data says prefix_unless_space. Time is O(n log n) in the longest
  /// piece, whatever the text.
  std::vector<TokenId> encode(std::string_view text, SpecialTokens special) const;
  /// Appends to `ids`, which are what stands before the text.
  void encode(std::string_view text, SpecialTokens special, std::vector<TokenId>& ids) const;

  /// The text of all tokens one after another; ids outside the vocabulary are skipped. Bytes may end
  /// inside a character: StreamDecoder holds such back.
  std::string decode(std::span<const TokenId> ids, bool skip_special) const;
  /// What decode() adds for this token, and whether encode() would put a space before what comes next, which is then
  /// not the text's. `begins` begins as takes_space() of the ids before.
  std::string_view token_text(TokenId id, bool skip_special, bool& begins) const;
  /// Whether encode() puts a space of the vocabulary's own before a text after `before`: SentencePiece only, where
  /// nothing or, as the data says, just a special or added token stands before.
  bool takes_space(std::span<const TokenId> before) const;
  /// Bytes of one token (a special token's name), that space included; empty for an id outside the vocabulary.
  std::string_view token_bytes(TokenId id) const;

  size_t vocabulary_size() const;
  bool is_special(TokenId id) const;
  bool is_stop(TokenId id) const;
  /// The special token of this name.
  std::optional<TokenId> special_token(std::string_view name) const;
  std::optional<TokenId> bos() const;
  ChatLayout chat_layout() const;
  /// Of the layout by name, or as the model file describes it; not for ChatLayout::kNone.
  const ChatFormat& chat_format() const;

 private:
  struct Impl;
  class Encoding;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace onebit
