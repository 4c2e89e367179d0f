// The tokenizer section of an .h1b file: plain data, as small as it can be, checked when it is read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "format/chat_format.h"
#include "format/model_config.h"

namespace onebit {

/// How text is cut into the pieces inside which tokens merge. All but the last begin with a token a byte.
enum class PreTokenizer : uint32_t {
  kLlama3 = 1,         // LLaMA-3's pattern; Falcon3 and Falcon-E have it too
  kGpt2 = 2,           // GPT-2's, which GPT-NeoX took over
  kQwen2 = 3,          // LLaMA-3's with every digit by itself: Qwen2, Qwen2.5, Qwen3
  kSentencePiece = 4,  // not cut: merging begins with characters, those without a token as bytes (LLaMA-2)
};

/// "llama3", …
std::string_view name_of(PreTokenizer kind);

/// Where encoding puts a space that the text does not have, so that a word at its beginning is the token
/// that it is elsewhere. Decoding takes it away again.
enum class SpacePrefix {
  kNone,
  kText,
  kStretch
};  // kText: before a text; kStretch: after each special or added token too

/// Byte-pair encoding, in bytes: the stand-ins of tokenizer.json and SentencePiece's U+2581 are already undone.
struct TokenizerData {
  struct Merge {
    TokenId left = 0, right = 0, result = 0;  // bytes(result) == bytes(left) + bytes(right)
  };

  PreTokenizer pre_tokenizer = PreTokenizer::kLlama3;
  ChatChoice chat;
  /// A piece that is a token as a whole is taken without merging (tokenizer.json's ignore_merges).
  bool ignore_merges = false;
  /// Text becomes Unicode's normalization form C first. Not with kSentencePiece.
  bool nfc = false;
  /// kSentencePiece only, as are the next three.
  SpacePrefix space_prefix = SpacePrefix::kNone;
  /// No space goes before text that begins with one.
  bool prefix_unless_space = false;
  /// Merges beside each other with one result have one rank: the leftmost of them goes first, whatever its parts.
  bool rank_by_result = false;
  /// The token of each byte, for characters without a token; 256 of them. Others may have the same bytes.
  std::vector<TokenId> byte_tokens;

  TokenId bos = -1;  // -1: none
  /// Tokens that end an answer, ascending.
  std::vector<TokenId> stop_tokens;
  /// Index = token id. Bytes of the token; a special token's are its name, such as <|eot_id|>. An id
  /// with no token (a gap in the source's vocabulary) is empty.
  std::vector<std::string> tokens;
  std::vector<bool> special;  // same size as tokens
  /// Tokens that are found in any text, a user's too, before it is cut (Qwen3's <think>, GPT-NeoX's runs of spaces):
  /// in the text as it is, and in what NFC left of it. Ascending, not special.
  std::vector<TokenId> added, added_after_nfc;
  /// In order of rank: the first applicable merge of the lowest index wins.
  std::vector<Merge> merges;
};

/// What every user of the data may rely on: ids in range; a token for each of the 256 bytes; each merge's result the
/// concatenation of its parts, no merge given twice; BOS and stop tokens special or absent; no two special, no two
/// added and no two other tokens with the same bytes. The error is one sentence without the file's name.
Status validate(const TokenizerData& data);

/// The section's bytes (docs/h1b.md, "Tokenizer"). `data` must be valid.
std::string serialize(const TokenizerData& data);
/// Reads and validates. Never reads past `bytes`; allocates at most a small multiple of its size.
Result<TokenizerData> parse_tokenizer_data(std::span<const std::byte> bytes);

}  // namespace onebit
