// What the kinds of tokenizers differ in: normalization, added tokens, SentencePiece's characters, bytes and spaces.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "tests/support/hostile_cases.h"
#include "tests/support/merge_by_definition.h"
#include "tests/tokenizer/test_data.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/stream_decoder.h"
#include "tokenizer/tokenizer.h"

namespace onebit {
namespace {

using test::small_sentencepiece_data;
using test::small_tokenizer_data;
using Ids = std::vector<TokenId>;

Tokenizer tokenizer_of_kind(TokenizerData data) {
  EXPECT_TRUE(validate(data).has_value());
  auto tokenizer = Tokenizer::create(std::move(data));
  EXPECT_TRUE(tokenizer.has_value());
  return *std::move(tokenizer);
}

rc::Gen<std::string> any_text_of_kind() {
  return rc::gen::oneOf(test::arbitrary_bytes(), test::arbitrary_text(), test::arbitrary_mixture());
}

std::string nfc(std::string_view text) {
  std::string buffer;
  return std::string(to_nfc(text, buffer));
}

TEST(Nfc, ComposesAndOrders) {
  EXPECT_EQ(nfc("e\u0301"), "\u00e9");
  EXPECT_EQ(nfc("a\u0301\u0323"), "\u1ea1\u0301") << "the mark below comes first";
  EXPECT_EQ(nfc("\u212b\u2126\u212a"), "\u00c5\u03a9K") << "singletons";
  EXPECT_EQ(nfc("\u1112\u1161\u11ab"), "\ud55c") << "Hangul";
  EXPECT_EQ(nfc("\u0958"), "\u0915\u093c") << "excluded from composition";
  EXPECT_EQ(nfc(">\u0338"), "\u226f");
  EXPECT_EQ(nfc("\ufb01\u00b2"), "\ufb01\u00b2") << "compatibility is not canonical";
}

TEST(Nfc, LeavesInvalidBytesWhereTheyAre) {
  EXPECT_EQ(nfc("e\u0301\xff\u0301\xcc"), "\u00e9\xff\u0301\xcc");
  EXPECT_EQ(nfc("\xed\xa0\x80"), "\xed\xa0\x80");
}

RC_GTEST_PROP(Nfc, ChangesNothingTwice, ()) {
  const auto once = nfc(*any_text_of_kind());
  RC_ASSERT(nfc(once) == once);
}

TEST(Nfc, SortsAMegabyteOfMarks) {
  test::hostile("prompt", "runs");
  std::string text = "e";
  while (text.size() < 1'000'000) text += "\u0301\u0323";
  test::count_case(text);
  EXPECT_EQ(nfc(text).substr(0, 5), "\u1eb9\u0323");
}

TokenizerData neox_data() {
  auto data = small_tokenizer_data();
  data.pre_tokenizer = PreTokenizer::kGpt2;
  data.nfc = true;
  data.added = {test::add_token(data, "<think>")};
  data.added_after_nfc = {test::add_token(data, "    "), test::add_token(data, "\u00e9\u00e9")};
  return data;
}

RC_GTEST_PROP(TokenizerKinds, DecodeTheNfcOfWhatTheyEncoded, ()) {
  test::hostile("prompt", "bytes");
  static const auto tokenizer = tokenizer_of_kind(neox_data());
  const auto text = *any_text_of_kind();
  test::count_case(text);
  const auto decoded = tokenizer.decode(tokenizer.encode(text, SpecialTokens::kAsText), false);
  // A name taken out of the text keeps its neighbours from composing over it.
  if (text.find("<think>") == std::string::npos) RC_ASSERT(decoded == nfc(text));
}

TEST(TokenizerKinds, FindAddedTokensInAnyText) {
  const auto data = neox_data();
  const auto tokenizer = tokenizer_of_kind(data);
  const TokenId think = data.added[0], spaces = data.added_after_nfc[0], twice = data.added_after_nfc[1];
  const auto ids = [&](std::string_view text) { return tokenizer.encode(text, SpecialTokens::kAsText); };
  EXPECT_EQ(ids("<think>    <think>"), (Ids{think, spaces, think}));
  EXPECT_EQ(ids("e\u0301\u00e9"), (Ids{twice})) << "found once the text is composed";
  EXPECT_EQ(ids("<think>\u0338"), (Ids{think, test::id_of(data, "\xcc"), test::id_of(data, "\xb8")}))
      << "found before '>' could compose";
  EXPECT_FALSE(tokenizer.is_special(think));
  EXPECT_EQ(tokenizer.decode(Ids{think}, true), "<think>") << "not special: part of the text";
  EXPECT_EQ(tokenizer.special_token("<think>"), std::nullopt);
  EXPECT_EQ(tokenizer.encode("<|eot_id|><think>", SpecialTokens::kParse).size(), 2u);
  EXPECT_GT(ids("<|eot_id|>").size(), 1u);
}

/// The text as SentencePiece's vocabulary has it.
std::string with_spaces(std::string text) {
  for (size_t at; (at = text.find("\u2581")) != std::string::npos;) text.replace(at, 3, " ");
  return text;
}

RC_GTEST_PROP(SentencePieceTokenizer, DecodesWhatItEncoded, ()) {
  test::hostile("prompt", "bytes");
  auto data = small_sentencepiece_data();
  data.space_prefix = *rc::gen::element(SpacePrefix::kNone, SpacePrefix::kText, SpacePrefix::kStretch);
  const auto tokenizer = tokenizer_of_kind(data);
  const auto text = *any_text_of_kind() + *rc::gen::element<std::string>("", "\u2581", "</s>", "</s> a", "[A] [A]  ");
  test::count_case(text);
  for (const auto special : {SpecialTokens::kAsText, SpecialTokens::kParse}) {
    const auto ids = tokenizer.encode(text, special);
    if (data.space_prefix == SpacePrefix::kText && special == SpecialTokens::kParse) continue;
    RC_ASSERT(tokenizer.decode(ids, false) == with_spaces(text));
    StreamDecoder decoder(tokenizer, false);
    std::string streamed;
    for (const TokenId id : ids) streamed += decoder.push(id);
    RC_ASSERT(streamed + decoder.finish() == utf8_replace_invalid(with_spaces(text)));
  }
}

/// Characters, their bytes where they are no token, then merges by their definition over the whole text.
RC_GTEST_PROP(SentencePieceTokenizer, MergesAsTheDefinitionSays, ()) {
  auto data = small_sentencepiece_data();
  data.added.clear();
  if (*rc::gen::arbitrary<bool>()) {  // a token that crosses words: then they are not merged one by one
    const auto find = [&](std::string_view bytes) {
      return static_cast<TokenId>(std::find(data.tokens.begin() + 259, data.tokens.end(), bytes) - data.tokens.begin());
    };
    const TokenId crossing = test::add_token(data, "a t");
    data.merges.push_back({find("a"), find(" t"), crossing});
  }
  const auto tokenizer = tokenizer_of_kind(data);
  const auto text = with_spaces(*any_text_of_kind());
  Ids first;
  std::string_view rest = text;
  const std::string spaced = " " + text;
  if (!text.empty()) rest = spaced;
  while (!rest.empty()) {
    const auto character = rest.substr(0, std::max<size_t>(utf8_front(rest).length, 1));
    const auto known = std::find(data.tokens.begin() + 259, data.tokens.end(), character);
    if (known != data.tokens.end() && utf8_front(rest).length > 0) {
      first.push_back(static_cast<TokenId>(known - data.tokens.begin()));
    } else {
      for (const char byte : character) first.push_back(data.byte_tokens[static_cast<unsigned char>(byte)]);
    }
    rest.remove_prefix(character.size());
  }
  RC_ASSERT(tokenizer.encode(text, SpecialTokens::kAsText) == test::MergeByDefinition(data).merge(first));
}

TEST(SentencePieceTokenizer, PutsASpaceWhereTheDataSays) {
  auto data = small_sentencepiece_data();
  const auto shown = [](const Tokenizer& tokenizer, const Ids& ids) {
    std::string out;
    for (const TokenId id : ids) out += "[" + std::string(tokenizer.token_bytes(id)) + "]";
    return out;
  };
  const auto encoded = [&](std::string_view text) {
    const auto tokenizer = tokenizer_of_kind(data);
    return shown(tokenizer, tokenizer.encode(text, SpecialTokens::kParse));
  };
  EXPECT_EQ(encoded("the</s>the"), "[ the][</s>][ the]");
  EXPECT_EQ(encoded(" the"), "[ ][ the]");
  EXPECT_EQ(encoded("the[A]the"), "[ the][[A]][ the]");
  EXPECT_EQ(encoded(""), "");
  EXPECT_EQ(encoded("z\u00e9"), "[ ][z][\u00e9]");
  data.prefix_unless_space = true;
  EXPECT_EQ(encoded(" the\u2581the"), "[ the][ the]");
  data.space_prefix = SpacePrefix::kText;
  EXPECT_EQ(encoded("the</s>the"), "[ the][</s>][the]");
  EXPECT_EQ(encoded("</s>the"), "[</s>][the]");
  const auto tokenizer = tokenizer_of_kind(data);
  Ids ids = {data.bos};
  tokenizer.encode("the", SpecialTokens::kAsText, ids);
  EXPECT_EQ(shown(tokenizer, ids), "[<s>][ the]") << "a BOS begins a text";
  tokenizer.encode("the", SpecialTokens::kAsText, ids);
  EXPECT_EQ(shown(tokenizer, ids), "[<s>][ the][the]") << "what goes on does not";
}

TEST(SentencePieceTokenizer, TakesItsOwnSpaceAwayAtTheBeginningOnly) {
  const auto data = small_sentencepiece_data();
  const auto tokenizer = tokenizer_of_kind(data);
  const auto the = tokenizer.encode("the", SpecialTokens::kAsText);  // " the"
  const TokenId bos = data.bos;
  const auto streamed = [&](std::initializer_list<TokenId> before) {
    StreamDecoder decoder(tokenizer, true, tokenizer.takes_space(std::vector<TokenId>(before)));
    const auto first = decoder.push(the[0]);
    return first + decoder.push(the[0]);
  };
  EXPECT_EQ(tokenizer.decode(Ids{the[0], the[0]}, true), "the the");
  EXPECT_EQ(tokenizer.decode(Ids{bos, the[0], 0, the[0]}, true), "the the") << "no word is glued to another";
  EXPECT_EQ(tokenizer.decode(Ids{bos, the[0]}, false), "<s>the");
  EXPECT_EQ(streamed({}), "the the");
  EXPECT_EQ(streamed({bos}), "the the");
  EXPECT_EQ(streamed({bos, the[0]}), " the the") << "an answer that goes on";
}

TEST(SentencePieceTokenizer, MergesAMegabyteInOneWord) {
  test::hostile("prompt", "runs");
  const auto tokenizer = tokenizer_of_kind(small_sentencepiece_data());
  for (const std::string unit : {"a", " ", "\u65e5", "\u00e9\u65e5", "\xff", "a "}) {
    std::string text;
    while (text.size() < 1'000'000) text += unit;
    test::count_case(text);
    EXPECT_TRUE(tokenizer.decode(tokenizer.encode(text, SpecialTokens::kAsText), false) == text) << unit;
  }
}

}  // namespace
}  // namespace onebit
