#include "tokenizer/bpe.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "tests/support/hostile_cases.h"
#include "tests/support/merge_by_definition.h"
#include "tests/tokenizer/test_data.h"

namespace onebit {
namespace {

using test::id_of;
using test::MergeByDefinition;
using test::small_tokenizer_data;
using Ids = std::vector<TokenId>;

Ids short_ids(const BytePairEncoder& encoder, std::string_view piece) {
  Ids ids;
  encoder.merge_short(piece, ids);
  return ids;
}

Ids long_ids(const BytePairEncoder& encoder, std::string_view piece) {
  Ids ids;
  encoder.merge_long(piece, ids);
  return ids;
}

Ids ids_of(const BytePairEncoder& encoder, std::string_view piece) {
  Ids ids;
  encoder.encode(piece, ids);
  return ids;
}

/// Random merges of two tokens over four letters, so that many merges compete for the same letters.
rc::Gen<TokenizerData> arbitrary_merges() {
  const auto choices = rc::gen::container<std::vector<std::pair<uint16_t, uint16_t>>>(
      rc::gen::arbitrary<std::pair<uint16_t, uint16_t>>());
  return rc::gen::map(rc::gen::scale(3.0, choices), [](const auto& pairs) {
    TokenizerData data;
    for (int byte = 0; byte < 256; ++byte) data.tokens.emplace_back(1, static_cast<char>(byte));
    data.special.resize(256);
    std::vector<std::string> pool = {"a", "b", "c", "d"};
    std::map<std::pair<std::string, std::string>, bool> seen;
    for (const auto& [a, b] : pairs) {
      const auto left = pool[a % pool.size()];
      const auto right = pool[b % pool.size()];
      if (left.size() + right.size() > 24 || seen[{left, right}]) continue;
      seen[{left, right}] = true;
      if (id_of(data, left + right) < 0) pool.push_back(left + right);
      test::add_merge(data, left, right);
    }
    return data;
  });
}

rc::Gen<std::string> letters(size_t longest) {
  return rc::gen::mapcat(rc::gen::inRange<size_t>(0, longest + 1), [](size_t size) {
    return rc::gen::container<std::string>(size, rc::gen::element('a', 'b', 'c', 'd'));
  });
}

RC_GTEST_PROP(BytePairEncoder, MergesAsTheDefinitionSaysWhateverTheMerges, ()) {
  const auto data = *arbitrary_merges();
  const auto piece = *letters(BytePairEncoder::kShortPiece);
  RC_ASSERT(validate(data).has_value());
  const BytePairEncoder encoder(data);
  const auto expected = MergeByDefinition(data)(piece);
  RC_ASSERT(short_ids(encoder, piece) == expected);
  RC_ASSERT(long_ids(encoder, piece) == expected);
}

RC_GTEST_PROP(BytePairEncoder, MergesLongPiecesAsTheDefinitionSays, ()) {
  const auto data = *arbitrary_merges();
  const auto piece = *letters(400);
  const BytePairEncoder encoder(data);
  RC_ASSERT(ids_of(encoder, piece) == MergeByDefinition(data)(piece));
}

TEST(BytePairEncoder, PrefersTheLeftmostOfEqualMerges) {
  const auto data = small_tokenizer_data();
  const BytePairEncoder encoder(data);
  EXPECT_EQ(ids_of(encoder, "aaa"), (Ids{id_of(data, "aa"), id_of(data, "a")}));
}

TEST(BytePairEncoder, PrefersTheLowerRankOverTheLeftmost) {
  const auto data = small_tokenizer_data();  // a+a is of a lower rank than a+b and b+a
  const BytePairEncoder encoder(data);
  EXPECT_EQ(ids_of(encoder, "baa"), (Ids{id_of(data, "b"), id_of(data, "aa")}));
}

TEST(BytePairEncoder, GivesTheSameIdsOnBothSidesOfTheLengthWhereItChangesItsWay) {
  const auto data = small_tokenizer_data();
  const BytePairEncoder encoder(data);
  for (const std::string unit : {"a", "ab", "the", "x", " "}) {
    std::string piece;
    while (piece.size() < BytePairEncoder::kShortPiece + 8) {
      piece += unit;
      EXPECT_EQ(ids_of(encoder, piece), MergeByDefinition(data)(piece)) << piece;
    }
  }
}

TEST(BytePairEncoder, TakesAWholePieceAsItsTokenOnlyWhereMergesAreIgnored) {
  auto data = small_tokenizer_data();
  data.tokens.emplace_back("qqq");  // no merge leads here
  data.special.push_back(false);
  const TokenId q = id_of(data, "q");
  EXPECT_EQ(ids_of(BytePairEncoder(data), "qqq"), (Ids{q, q, q}));
  data.ignore_merges = true;
  EXPECT_EQ(ids_of(BytePairEncoder(data), "qqq"), (Ids{id_of(data, "qqq")}));
  EXPECT_EQ(ids_of(BytePairEncoder(data), "qqqq"), (Ids{q, q, q, q}));
}

TEST(BytePairEncoder, NeverGivesASpecialTokenForAPieceOfItsName) {
  auto data = small_tokenizer_data();
  data.ignore_merges = true;
  test::add_special(data, "zebra");
  const BytePairEncoder encoder(data);
  for (const TokenId id : ids_of(encoder, "zebra")) EXPECT_FALSE(data.special[id]);
}

TEST(BytePairEncoder, GivesNoIdsForAnEmptyPiece) {
  const auto data = small_tokenizer_data();
  const BytePairEncoder encoder(data);
  EXPECT_TRUE(short_ids(encoder, "").empty());
  EXPECT_TRUE(long_ids(encoder, "").empty());
}

TEST(BytePairEncoder, MergesAMegabyteOfOneLetter) {
  const auto data = small_tokenizer_data();
  const std::string piece(1 << 20, 'a');
  test::hostile("prompt", "runs");
  test::count_case(piece);
  const auto ids = ids_of(BytePairEncoder(data), piece);
  EXPECT_EQ(ids, Ids((1 << 20) / 8, id_of(data, "aaaaaaaa")));
}

}  // namespace
}  // namespace onebit
