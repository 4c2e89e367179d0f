// A small tokenizer, and texts that are hard on tokenizers.
#pragma once

#include <rapidcheck.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "base/utf8.h"
#include "format/tokenizer_data.h"

namespace onebit::test {

inline TokenId id_of(const TokenizerData& data, std::string_view token) {
  const auto at = std::find(data.tokens.begin(), data.tokens.end(), token);
  return at == data.tokens.end() ? -1 : static_cast<TokenId>(at - data.tokens.begin());
}

inline void add_special(TokenizerData& data, std::string_view name) {
  data.tokens.emplace_back(name);
  data.special.push_back(true);
}

/// An ordinary token, whatever others there are.
inline TokenId add_token(TokenizerData& data, std::string_view bytes) {
  data.tokens.emplace_back(bytes);
  data.special.push_back(false);
  return static_cast<TokenId>(data.tokens.size() - 1);
}

/// Both parts must be tokens already; the result becomes one.
inline void add_merge(TokenizerData& data, std::string_view left, std::string_view right) {
  const std::string result = std::string(left) + std::string(right);
  if (id_of(data, result) < 0) {
    data.tokens.push_back(result);
    data.special.push_back(false);
  }
  data.merges.push_back({id_of(data, left), id_of(data, right), id_of(data, result)});
}

/// The 256 bytes (in an order of their own), merges that compete, a gap, special tokens of which some are
/// prefixes of others and one is an ordinary word.
inline TokenizerData small_tokenizer_data(ChatLayout layout = ChatLayout::kLlama3) {
  TokenizerData data;
  data.chat.layout = layout;
  for (int byte = 255; byte >= 0; --byte) data.tokens.emplace_back(1, static_cast<char>(byte));
  data.special.resize(256);
  using Pair = std::pair<std::string_view, std::string_view>;
  for (const auto& [left, right] : std::initializer_list<Pair>{
           {"t", "h"},  {"h", "e"},   {"i", "n"},   {"th", "e"},  {" ", "the"},     {"t", "he"},
           {"in", "g"}, {"a", "a"},   {"aa", "aa"}, {"a", "b"},   {"aa", "b"},      {"aaaa", "aaaa"},
           {"b", "a"},  {"ab", "ab"}, {" ", " "},   {"  ", "  "}, {"\n", "\n"},     {"\xc3", "\xa9"},
           {"1", "2"},  {"12", "3"},  {"l", "l"},   {"'", "ll"},  {"\xe2", "\x80"}, {"w", "o"},
           {"r", "d"},  {"wo", "rd"}, {"U", "s"},   {"e", "r"},   {"!", "!"}})
    add_merge(data, left, right);
  data.tokens.emplace_back();  // a gap
  data.special.push_back(false);
  for (const auto* name : {"<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eot",
                           "[A]", "[A][B]", "word"})
    add_special(data, name);
  data.bos = id_of(data, "<|begin_of_text|>");
  data.stop_tokens = {id_of(data, "<|eot_id|>")};
  return data;
}

/// A vocabulary of SentencePiece's shape: <unk>, <s>, </s>, the 256 bytes, characters, merges of some, an added token.
inline TokenizerData small_sentencepiece_data() {
  TokenizerData data;
  data.pre_tokenizer = PreTokenizer::kSentencePiece;
  data.space_prefix = SpacePrefix::kStretch;
  for (const auto* name : {"<unk>", "<s>", "</s>"}) add_special(data, name);
  for (int byte = 0; byte < 256; ++byte)
    data.byte_tokens.push_back(add_token(data, std::string(1, static_cast<char>(byte))));
  const auto first = static_cast<std::ptrdiff_t>(data.tokens.size());
  for (const char* character : {" ", "t", "h", "e", "a", "b", "i", "n", "g", "1", "\u00e9", "\u65e5", "<", "|", "!"})
    add_token(data, character);
  const auto piece = [&](std::string_view bytes) {  // the one that is no byte
    const auto at = std::find(data.tokens.begin() + first, data.tokens.end(), bytes);
    return at == data.tokens.end() ? TokenId{-1} : static_cast<TokenId>(at - data.tokens.begin());
  };
  using Pair = std::pair<std::string_view, std::string_view>;
  for (const auto& [left, right] : std::initializer_list<Pair>{{" ", "t"},
                                                               {"h", "e"},
                                                               {" t", "he"},
                                                               {"t", "he"},
                                                               {"i", "n"},
                                                               {"in", "g"},
                                                               {"a", "a"},
                                                               {"aa", "aa"},
                                                               {"a", "b"},
                                                               {" ", " "},
                                                               {"  ", "  "},
                                                               {" ", "a"},
                                                               {"\u00e9", "\u65e5"}}) {
    const std::string result = std::string(left) + std::string(right);
    if (piece(result) < 0) add_token(data, result);
    data.merges.push_back({piece(left), piece(right), piece(result)});
  }
  data.added = {add_token(data, "[A]")};
  data.bos = 1;
  data.stop_tokens = {2};
  return data;
}

/// Any bytes, with runs of valid characters among them or not.
inline rc::Gen<std::string> arbitrary_bytes() {
  return rc::gen::container<std::string>(rc::gen::arbitrary<char>());
}

/// Valid UTF-8 out of what the pattern, the merges and the special tokens react to.
inline rc::Gen<std::string> arbitrary_text() {
  const auto known = rc::gen::element<std::string>(
      "a", "b", "aa", "ab", "the", " the", "ing", "t", "h", "e", " ", "  ", "\n", "\r\n", "\t", "'", "'s", "'LL",
      "'\u017f", "1", "12", "1234", "\u00e9", "e\u0301", "\u65e5", "\u0663", "\u00bd", "\u00a0", "\u180e", "\u2028",
      "\u3000", "\ufeff", "\u200d", "\U0001f600", "\U00031350", "!", "!!", "<|eot_id|>", "<|eot", "<|", "[A]", "[A][B]",
      "[A", "word", "_");
  const auto any = rc::gen::map(rc::gen::inRange<uint32_t>(0, 0x110000), [](uint32_t code_point) {
    std::string out;
    utf8_append(out, code_point >= 0xd800 && code_point < 0xe000 ? U'?' : char32_t{code_point});
    return out;
  });
  const auto part = rc::gen::weightedOneOf<std::string>({{6, known}, {1, any}});
  return rc::gen::map(rc::gen::container<std::vector<std::string>>(part), [](const std::vector<std::string>& parts) {
    std::string text;
    for (const auto& one : parts) text += one;
    return text;
  });
}

/// Texts with invalid bytes between valid stretches.
inline rc::Gen<std::string> arbitrary_mixture() {
  return rc::gen::map(rc::gen::tuple(arbitrary_text(), arbitrary_bytes(), arbitrary_text()),
                      [](const auto& parts) { return std::get<0>(parts) + std::get<1>(parts) + std::get<2>(parts); });
}

}  // namespace onebit::test
