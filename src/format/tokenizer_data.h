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

/// How text is cut into pieces before byte-pair merging. The only kind so far is LLaMA-3's pattern.
enum class PreTokenizer : uint32_t { kLlama3 = 1 };

/// Byte-level BPE, in bytes: the printable stand-ins of tokenizer.json are already undone.
struct TokenizerData {
  struct Merge {
    TokenId left = 0, right = 0, result = 0;  // bytes(result) == bytes(left) + bytes(right)
  };

  PreTokenizer pre_tokenizer = PreTokenizer::kLlama3;
  ChatChoice chat;
  /// A piece that is a token as a whole is taken without merging (tokenizer.json's ignore_merges).
  bool ignore_merges = false;
  TokenId bos = -1;  // -1: none
  /// Tokens that end an answer, ascending.
  std::vector<TokenId> stop_tokens;
  /// Index = token id. Bytes of the token; a special token's are its name, such as <|eot_id|>. An id
  /// with no token (a gap in the source's vocabulary) is empty.
  std::vector<std::string> tokens;
  std::vector<bool> special;  // same size as tokens
  /// In order of rank: the first applicable merge of the lowest index wins.
  std::vector<Merge> merges;
};

/// What every user of the data may rely on: ids in range, all 256 single bytes present, each merge's
/// result the concatenation of its parts, no merge given twice, BOS and stop tokens special or
/// absent. The error is one sentence without the file's name.
Status validate(const TokenizerData& data);

/// The section's bytes (docs/h1b.md, "Tokenizer"). `data` must be valid.
std::string serialize(const TokenizerData& data);
/// Reads and validates. Never reads past `bytes`; allocates at most a small multiple of its size.
Result<TokenizerData> parse_tokenizer_data(std::span<const std::byte> bytes);

}  // namespace onebit
