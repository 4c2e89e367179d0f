#include "tokenizer/tokenizer.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <thread>

#include "tests/support/hostile_cases.h"
#include "tests/tokenizer/small_tokenizer.h"
#include "tests/tokenizer/test_data.h"

namespace onebit {
namespace {

using test::id_of;
using test::small_tokenizer;
using test::small_tokenizer_data;
using Ids = std::vector<TokenId>;

Tokenizer make_tokenizer(TokenizerData data = small_tokenizer_data()) {
  auto tokenizer = Tokenizer::create(std::move(data));
  EXPECT_TRUE(tokenizer.has_value());
  return *std::move(tokenizer);
}

rc::Gen<std::string> any_text() {
  return rc::gen::oneOf(test::arbitrary_bytes(), test::arbitrary_text(), test::arbitrary_mixture());
}

RC_GTEST_PROP(Tokenizer, DecodesWhatItEncodedToTheSameBytes, ()) {
  test::hostile("prompt", "bytes");
  const auto text = *any_text();
  test::count_case(text);
  for (const auto special : {SpecialTokens::kAsText, SpecialTokens::kParse})
    RC_ASSERT(small_tokenizer().decode(small_tokenizer().encode(text, special), false) == text);
}

RC_GTEST_PROP(Tokenizer, GivesNoSpecialTokenForPlainTextWhateverItSays, ()) {
  test::hostile("prompt", "text");
  auto data = small_tokenizer_data();
  data.ignore_merges = *rc::gen::arbitrary<bool>();
  const auto tokenizer = make_tokenizer(std::move(data));
  const auto text = *any_text();
  test::count_case(text);
  for (const TokenId id : tokenizer.encode(text, SpecialTokens::kAsText)) RC_ASSERT(!tokenizer.is_special(id));
}

RC_GTEST_PROP(Tokenizer, EncodesTheTextsAroundSpecialTokensByThemselves, ()) {
  const auto text = *any_text();
  const auto& tokenizer = small_tokenizer();
  Ids expected;
  std::string plain;
  for (const TokenId id : tokenizer.encode(text, SpecialTokens::kParse)) {
    if (!tokenizer.is_special(id)) {
      plain += tokenizer.token_bytes(id);
      continue;
    }
    tokenizer.encode(plain, SpecialTokens::kAsText, expected);
    expected.push_back(id);
    plain.clear();
  }
  tokenizer.encode(plain, SpecialTokens::kAsText, expected);
  RC_ASSERT(tokenizer.encode(text, SpecialTokens::kParse) == expected);
}

/// The leftmost name and, of those that begin there, the longest: by trying all at every place.
RC_GTEST_PROP(Tokenizer, FindsTheLeftmostAndThereTheLongestSpecialName, ()) {
  const auto text = *any_text();
  const auto data = small_tokenizer_data();
  Ids expected;
  for (size_t at = 0; at < text.size();) {
    TokenId longest = -1;
    for (size_t id = 0; id < data.tokens.size(); ++id) {
      if (!data.special[id] || text.compare(at, data.tokens[id].size(), data.tokens[id]) != 0) continue;
      if (longest < 0 || data.tokens[id].size() > data.tokens[longest].size()) longest = static_cast<TokenId>(id);
    }
    if (longest >= 0) expected.push_back(longest);
    at += longest >= 0 ? data.tokens[longest].size() : 1;
  }
  Ids found;
  for (const TokenId id : small_tokenizer().encode(text, SpecialTokens::kParse))
    if (small_tokenizer().is_special(id)) found.push_back(id);
  RC_ASSERT(found == expected);
}

TEST(Tokenizer, TreatsAMarkerInAUsersTextAsText) {
  const auto& tokenizer = small_tokenizer();
  const Ids plain = tokenizer.encode("<|eot_id|>", SpecialTokens::kAsText);
  EXPECT_GT(plain.size(), 1u);
  EXPECT_EQ(tokenizer.encode("<|eot_id|>", SpecialTokens::kParse), (Ids{*tokenizer.special_token("<|eot_id|>")}));
}

TEST(Tokenizer, AppendsToTheIdsThatAreThere) {
  const auto& tokenizer = small_tokenizer();
  Ids ids = tokenizer.encode("the", SpecialTokens::kAsText);
  tokenizer.encode(" the", SpecialTokens::kAsText, ids);
  EXPECT_EQ(ids, (Ids{id_of(small_tokenizer_data(), "the"), id_of(small_tokenizer_data(), " the")}));
}

TEST(Tokenizer, LeavesSpecialTokensOutWhereAsked) {
  const auto& tokenizer = small_tokenizer();
  const Ids ids = tokenizer.encode("[A]the<|eot_id|>", SpecialTokens::kParse);
  EXPECT_EQ(tokenizer.decode(ids, false), "[A]the<|eot_id|>");
  EXPECT_EQ(tokenizer.decode(ids, true), "the");
}

TEST(Tokenizer, SkipsIdsOutsideTheVocabularyAndGaps) {
  test::hostile("prompt", "numbers");
  const auto& tokenizer = small_tokenizer();
  const TokenId gap = id_of(small_tokenizer_data(), "");
  const TokenId the = id_of(small_tokenizer_data(), "the");
  const auto beyond = static_cast<TokenId>(tokenizer.vocabulary_size());
  EXPECT_EQ(tokenizer.decode(Ids{-1, the, gap, beyond, the, INT32_MAX, INT32_MIN}, false), "thethe");
  for (const TokenId id : {-1, beyond, INT32_MAX, INT32_MIN}) {
    test::count_case(std::to_string(id));
    EXPECT_EQ(tokenizer.token_bytes(id), "");
    EXPECT_FALSE(tokenizer.is_special(id));
    EXPECT_FALSE(tokenizer.is_stop(id));
  }
}

TEST(Tokenizer, TellsWhatItsDataSays) {
  const auto data = small_tokenizer_data();
  const auto& tokenizer = small_tokenizer();
  EXPECT_EQ(tokenizer.vocabulary_size(), data.tokens.size());
  EXPECT_EQ(tokenizer.bos(), data.bos);
  EXPECT_TRUE(tokenizer.is_stop(id_of(data, "<|eot_id|>")));
  EXPECT_FALSE(tokenizer.is_stop(id_of(data, "[A]")));
  EXPECT_EQ(tokenizer.special_token("[A]"), id_of(data, "[A]"));
  EXPECT_EQ(tokenizer.special_token("the"), std::nullopt) << "an ordinary token";
  EXPECT_EQ(tokenizer.special_token(""), std::nullopt);
  EXPECT_EQ(tokenizer.chat_layout(), ChatLayout::kLlama3);
}

TEST(Tokenizer, HasNoBosWhereTheDataHasNone) {
  auto data = small_tokenizer_data();
  data.bos = -1;
  EXPECT_EQ(make_tokenizer(std::move(data)).bos(), std::nullopt);
}

TEST(Tokenizer, EncodesAnEmptyTextToNothing) {
  EXPECT_TRUE(small_tokenizer().encode("", SpecialTokens::kAsText).empty());
  EXPECT_TRUE(small_tokenizer().encode("", SpecialTokens::kParse).empty());
}

TEST(Tokenizer, StaysUsableAfterAMove) {
  Tokenizer first = make_tokenizer();
  const Ids expected = first.encode("the thing [A]", SpecialTokens::kParse);
  Tokenizer second = std::move(first);
  first = make_tokenizer();
  EXPECT_EQ(second.encode("the thing [A]", SpecialTokens::kParse), expected);
  EXPECT_EQ(first.encode("the thing [A]", SpecialTokens::kParse), expected);
}

TEST(Tokenizer, RoundTripsMegabytesOfOneCharacter) {
  test::hostile("prompt", "runs");
  for (const std::string unit : {"a", " ", "\n", "!", "7", "\u00e9", "\xff", "<", "<|eot_id|>", "[A", " a",
                                 "\xff"
                                 "a"}) {
    std::string text;
    while (text.size() < 1'000'000) text += unit;
    test::count_case(text);
    const Ids ids = small_tokenizer().encode(text, SpecialTokens::kParse);
    EXPECT_TRUE(small_tokenizer().decode(ids, false) == text) << unit;
  }
}

TEST(Tokenizer, RoundTripsATextCutInsideAnyCharacter) {
  test::hostile("prompt", "cut");
  const std::string text = "a\u00e9\u65e5\U0001f600 <|eot_id|>\u0301 the\u3000\r\n12\u0663[A][B]\u180e";
  for (size_t from = 0; from < text.size(); ++from)
    for (size_t size = 0; from + size <= text.size(); ++size) {
      const auto cut = text.substr(from, size);
      test::count_case(cut);
      for (const auto special : {SpecialTokens::kAsText, SpecialTokens::kParse})
        EXPECT_EQ(small_tokenizer().decode(small_tokenizer().encode(cut, special), false), cut);
    }
}

TEST(Tokenizer, GivesManyThreadsTheSameIds) {
  std::string text;
  for (int i = 0; i < 2000; ++i) text += "the thing's 123 aaaab [A] \u65e5\xff word\n\n";
  const Ids expected = small_tokenizer().encode(text, SpecialTokens::kParse);
  std::vector<Ids> results(4);
  std::vector<std::thread> threads;
  for (auto& result : results)
    threads.emplace_back([&] { result = small_tokenizer().encode(text, SpecialTokens::kParse); });
  for (auto& thread : threads) thread.join();
  for (const auto& result : results) EXPECT_TRUE(result == expected);
}

}  // namespace
}  // namespace onebit
