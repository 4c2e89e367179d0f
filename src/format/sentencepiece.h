// SentencePiece vocabularies, as tokenizer.model and GGUF ("llama") hold them: pieces with scores -> TokenizerData.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "format/tokenizer_data.h"

namespace onebit {

/// The numbers are those of sentencepiece_model.proto and of tokenizer.ggml.token_type.
enum class PieceType : int64_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

struct SentencePiece {
  std::string text;  // U+2581 for a space; <0x41> for a byte
  float score = 0;
  PieceType type = PieceType::kNormal;
};

/// Tokens, their kinds and merges of a BPE vocabulary with byte fallback; chat, BOS and stop tokens are for the caller
/// to add, and validate() for it to call. `vocabulary` is the model's: ids between the pieces and it stay empty.
/// `space_prefix` says whether a space goes before a text (add_dummy_prefix).
///
/// SentencePiece merges the neighbours whose concatenation is the piece with the highest score. So each way to cut a
/// normal piece in two normal ones is a merge, in order of score. That is exact where no two pieces have one score and
/// every character of a piece is a piece, as the trainer makes them. Unknown and control pieces become special tokens,
/// user-defined ones added tokens, unused ones no token.
Result<TokenizerData> tokenizer_from_pieces(std::span<const SentencePiece> pieces, uint32_t vocabulary,
                                            SpacePrefix space_prefix);

/// The byte of a piece such as <0x0A>.
std::optional<uint8_t> byte_of_piece(std::string_view text);
/// With spaces for U+2581.
std::string piece_bytes(std::string_view text);

}  // namespace onebit
