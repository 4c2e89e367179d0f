#include "tokenizer/stream_decoder.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "tests/support/hostile_cases.h"
#include "tests/tokenizer/small_tokenizer.h"
#include "tests/tokenizer/test_data.h"

namespace onebit {
namespace {

using test::id_of;
using test::small_tokenizer;
using test::small_tokenizer_data;
using Ids = std::vector<TokenId>;

/// Tokens of single bytes and of texts, cut anywhere by chance; some outside the vocabulary.
rc::Gen<Ids> arbitrary_ids() {
  const auto any = rc::gen::container<Ids>(
      rc::gen::inRange<TokenId>(-2, static_cast<TokenId>(small_tokenizer().vocabulary_size()) + 2));
  const auto bytewise = rc::gen::map(test::arbitrary_mixture(), [](const std::string& text) {
    Ids ids;
    for (const char byte : text) ids.push_back(255 - static_cast<unsigned char>(byte));  // the data's order of bytes
    return ids;
  });
  return rc::gen::oneOf(any, bytewise);
}

RC_GTEST_PROP(StreamDecoder, GivesValidTextWhoseWholeIsTheDecodedText, (bool skip_special)) {
  const auto ids = *arbitrary_ids();
  test::hostile("prompt", "numbers");
  test::count_case(fmt::format("{}", fmt::join(ids, " ")));
  StreamDecoder decoder(small_tokenizer(), skip_special);
  std::string whole;
  for (const TokenId id : ids) {
    const std::string part = decoder.push(id);
    RC_ASSERT(utf8_valid(part));
    whole += part;
  }
  const std::string last = decoder.finish();
  RC_ASSERT(utf8_valid(last));
  RC_ASSERT(whole + last == utf8_replace_invalid(small_tokenizer().decode(ids, skip_special)));
}

RC_GTEST_PROP(StreamDecoder, HoldsBackNothingThatIsCertain, ()) {
  const auto ids = *arbitrary_ids();
  StreamDecoder decoder(small_tokenizer(), false);
  std::string given;
  Ids so_far;
  for (const TokenId id : ids) {
    given += decoder.push(id);
    so_far.push_back(id);
    const std::string bytes = small_tokenizer().decode(so_far, false);
    const auto certain = std::string_view(bytes).substr(0, bytes.size() - utf8_incomplete_suffix(bytes));
    RC_ASSERT(given == utf8_replace_invalid(certain));
  }
}

TEST(StreamDecoder, WaitsForAWholeCharacter) {
  const auto data = small_tokenizer_data();
  StreamDecoder decoder(small_tokenizer(), true);
  EXPECT_EQ(decoder.push(id_of(data, "\xe2\x80")), "");
  EXPECT_EQ(decoder.push(id_of(data, "\x94")), "\u2014");
  EXPECT_EQ(decoder.finish(), "");
}

TEST(StreamDecoder, ReplacesACharacterThatNeverEnds) {
  const auto data = small_tokenizer_data();
  StreamDecoder decoder(small_tokenizer(), true);
  EXPECT_EQ(decoder.push(id_of(data, "\xe2\x80")), "");
  EXPECT_EQ(decoder.push(id_of(data, "the")), "\ufffdthe");
  EXPECT_EQ(decoder.push(id_of(data, "\xe2\x80")), "");
  EXPECT_EQ(decoder.finish(), "\ufffd");
  EXPECT_EQ(decoder.finish(), "") << "what was held back is given once";
}

TEST(StreamDecoder, ShowsSpecialTokensOnlyWhereAsked) {
  const TokenId end = id_of(small_tokenizer_data(), "<|eot_id|>");
  EXPECT_EQ(StreamDecoder(small_tokenizer(), true).push(end), "");
  EXPECT_EQ(StreamDecoder(small_tokenizer(), false).push(end), "<|eot_id|>");
}

}  // namespace
}  // namespace onebit
