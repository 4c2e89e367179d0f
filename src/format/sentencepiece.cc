#include "format/sentencepiece.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "base/utf8.h"

namespace onebit {
namespace {

constexpr std::string_view kSpace = "\xe2\x96\x81";  // U+2581
constexpr size_t kMaxPieceBytes = 4096;  // a piece has a cut a character; the trainer's limit is 16 characters

/// All ways to cut the token in two others.
void add_cuts(TokenId id, const std::unordered_map<std::string_view, TokenId>& ids, TokenizerData& data) {
  const std::string_view token = data.tokens[id];
  for (size_t at = utf8_front(token).length; at < token.size();) {
    const auto left = ids.find(token.substr(0, at)), right = ids.find(token.substr(at));
    if (left != ids.end() && right != ids.end()) data.merges.push_back({left->second, right->second, id});
    const size_t length = utf8_front(token.substr(at)).length;
    if (length == 0) return;
    at += length;
  }
}

}  // namespace

std::optional<uint8_t> byte_of_piece(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return std::nullopt;
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  const size_t high = kDigits.find(text[3]), low = kDigits.find(text[4]);
  if (high == std::string_view::npos || low == std::string_view::npos) return std::nullopt;
  return static_cast<uint8_t>(16 * high + low);
}

std::string piece_bytes(std::string_view text) {
  std::string bytes;
  for (size_t at = text.find(kSpace); at != std::string_view::npos; at = text.find(kSpace)) {
    bytes.append(text.substr(0, at)) += ' ';
    text.remove_prefix(at + kSpace.size());
  }
  return bytes.append(text);
}

Result<TokenizerData> tokenizer_from_pieces(std::span<const SentencePiece> pieces, uint32_t vocabulary,
                                            SpacePrefix space_prefix) {
  if (pieces.size() > vocabulary) return fail("{} pieces, but the model has rows for {}", pieces.size(), vocabulary);
  TokenizerData data;
  data.pre_tokenizer = PreTokenizer::kSentencePiece;
  data.space_prefix = space_prefix;
  data.rank_by_result = true;
  data.tokens.resize(vocabulary);
  data.special.resize(vocabulary);
  std::vector<TokenId> byte_tokens(256, -1);
  std::vector<TokenId> normal;
  for (size_t i = 0; i < pieces.size(); ++i) {
    const auto& piece = pieces[i];
    const auto id = static_cast<TokenId>(i);
    if (piece.type == PieceType::kUnused) continue;
    if (piece.text.empty()) return fail("piece {}: is empty", id);
    if (!std::isfinite(piece.score)) return fail("piece {}: its score is no number", id);
    switch (piece.type) {
      case PieceType::kUnknown:
      case PieceType::kControl:
        data.tokens[id] = piece.text;
        data.special[id] = true;
        break;
      case PieceType::kByte: {
        const auto byte = byte_of_piece(piece.text);
        if (!byte) return fail("piece {}: '{}' is no byte such as <0x0A>", id, printable(piece.text));
        if (byte_tokens[*byte] >= 0) return fail("pieces {} and {}: both are {}", byte_tokens[*byte], id, piece.text);
        byte_tokens[*byte] = id;
        data.tokens[id].assign(1, static_cast<char>(*byte));
        break;
      }
      case PieceType::kNormal:
      case PieceType::kUserDefined:
        if (piece.text.size() > kMaxPieceBytes) return fail("piece {}: has more than {} bytes", id, kMaxPieceBytes);
        data.tokens[id] = piece_bytes(piece.text);
        (piece.type == PieceType::kNormal ? normal : data.added).push_back(id);
        break;
      default:
        return fail("piece {}: '{}' has type {}, expected 1 to 6", id, printable(piece.text),
                    static_cast<int64_t>(piece.type));
    }
  }
  const auto missing = std::find(byte_tokens.begin(), byte_tokens.end(), -1);
  if (missing != byte_tokens.end())
    return fail("pieces: none for the byte {:#04x}; this version needs byte fallback", missing - byte_tokens.begin());
  data.byte_tokens = std::move(byte_tokens);

  std::unordered_map<std::string_view, TokenId> ids;
  for (const TokenId id : normal) ids.emplace(data.tokens[id], id);
  std::sort(normal.begin(), normal.end(), [&](TokenId a, TokenId b) {
    return pieces[a].score != pieces[b].score ? pieces[a].score > pieces[b].score : a < b;
  });
  for (const TokenId id : normal) add_cuts(id, ids, data);
  return data;
}

}  // namespace onebit
