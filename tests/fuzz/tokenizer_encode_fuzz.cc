// Any text is encoded to ids that decode to it, as a whole and as a stream, and to no special token unless
// special tokens were asked for. Taken as one piece, it is merged as the slow definition does it. The same of a
// vocabulary of SentencePiece's, whose spaces come back as they should.
#include <cstdlib>

#include "base/utf8.h"
#include "format/sentencepiece.h"
#include "tests/support/merge_by_definition.h"
#include "tokenizer/bpe.h"
#include "tokenizer/chat_layout.h"
#include "tokenizer/stream_decoder.h"

namespace onebit {
namespace {

TokenId add_token(TokenizerData& data, std::string token, bool special) {
  data.tokens.push_back(std::move(token));
  data.special.push_back(special);
  return static_cast<TokenId>(data.tokens.size() - 1);
}

/// The 256 bytes, some merges of those that texts are made of, and the markers of LLaMA-3's chat layout.
TokenizerData make_data() {
  TokenizerData data;
  for (int byte = 0; byte < 256; ++byte) add_token(data, std::string(1, static_cast<char>(byte)), false);
  TokenId doubled[] = {' ', 'a', '\n', '!', 0x80};
  for (int round = 0; round < 3; ++round) {
    for (TokenId& token : doubled) {
      const TokenId twice = add_token(data, data.tokens[token] + data.tokens[token], false);
      data.merges.push_back({token, token, twice});
      token = twice;
    }
  }
  data.merges.push_back({'a', 'b', add_token(data, "ab", false)});
  data.merges.push_back({'b', 'a', add_token(data, "ba", false)});
  for (const auto* name : {"<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|", "a"})
    add_token(data, name, true);
  data.bos = static_cast<TokenId>(data.tokens.size()) - 6;
  data.chat.layout = ChatLayout::kLlama3;
  if (!validate(data)) std::abort();
  return data;
}

/// Of SentencePiece: some characters, the bytes, merges with and without spaces, an added token.
TokenizerData make_sentencepiece_data() {
  std::vector<SentencePiece> pieces = {
      {"<unk>", 0, PieceType::kUnknown}, {"</s>", 0, PieceType::kControl}, {"[A]", 0, PieceType::kUserDefined}};
  for (int byte = 0; byte < 256; ++byte) pieces.push_back({fmt::format("<0x{:02X}>", byte), 0, PieceType::kByte});
  for (const auto* text :
       {"\u2581", "a", "b", "\u2581a", "\u2581\u2581", "aa", "ab", "\u00e9", "a\u00e9", "aaaa", "\n"})
    pieces.push_back({text, -static_cast<float>(pieces.size()), PieceType::kNormal});
  auto data = tokenizer_from_pieces(pieces, static_cast<uint32_t>(pieces.size()), SpacePrefix::kStretch);
  if (!data || !validate(*data)) std::abort();
  return *std::move(data);
}

Tokenizer make_tokenizer(const TokenizerData& data) {
  auto tokenizer = Tokenizer::create(data);
  if (!tokenizer) std::abort();
  return *std::move(tokenizer);
}

void check(bool holds) {
  if (!holds) std::abort();
}

void check_stream(const Tokenizer& tokenizer, const std::vector<TokenId>& ids, const std::string& text) {
  StreamDecoder decoder(tokenizer, false);
  std::string whole;
  for (const TokenId id : ids) {
    const std::string part = decoder.push(id);
    check(utf8_valid(part));
    whole += part;
  }
  check(whole + decoder.finish() == utf8_replace_invalid(text));
}

void check_merges(const TokenizerData& data, std::string_view text) {
  static const BytePairEncoder encoder(data);
  static const test::MergeByDefinition merge_by_definition(data);
  constexpr size_t kLongest = 300;  // the definition takes square time
  const auto whole = text.substr(0, kLongest), piece = whole.substr(0, BytePairEncoder::kShortPiece);
  std::vector<TokenId> long_ids, short_ids;
  encoder.merge_long(whole, long_ids);
  encoder.merge_short(piece, short_ids);
  check(long_ids == merge_by_definition(whole));
  check(short_ids == merge_by_definition(piece));
}

}  // namespace
}  // namespace onebit

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace onebit;
  static const TokenizerData data = make_data();
  static const Tokenizer tokenizer = make_tokenizer(data);
  const std::string text(reinterpret_cast<const char*>(bytes), size);
  check_merges(data, text);
  const auto plain = tokenizer.encode(text, SpecialTokens::kAsText);
  for (const TokenId id : plain) check(!tokenizer.is_special(id));
  check(tokenizer.decode(plain, false) == text);
  check_stream(tokenizer, plain, text);
  const auto parsed = tokenizer.encode(text, SpecialTokens::kParse);
  check(tokenizer.decode(parsed, false) == text);
  check_stream(tokenizer, parsed, text);
  const ChatMessage message{"user", text};
  const auto chat = encode_chat(tokenizer, {&message, 1}, true);
  check(chat.has_value());
  int special = 0;
  for (const TokenId id : *chat) special += tokenizer.is_special(id) ? 1 : 0;
  check(special == 6);
  static const TokenizerData sentencepiece_data = make_sentencepiece_data();
  static const Tokenizer sentencepiece = make_tokenizer(sentencepiece_data);
  for (const auto mode : {SpecialTokens::kAsText, SpecialTokens::kParse}) {
    const auto ids = sentencepiece.encode(text, mode);
    check(sentencepiece.decode(ids, false) == piece_bytes(text));
    check_stream(sentencepiece, ids, piece_bytes(text));
  }
  return 0;
}
