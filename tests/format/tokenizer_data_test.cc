#include "format/tokenizer_data.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cstring>

#include "tests/support/hostile_cases.h"
#include "tests/tokenizer/test_data.h"

namespace onebit {
namespace {

using test::id_of;
using test::small_tokenizer_data;

Result<TokenizerData> parse(std::string_view bytes) {
  test::count_case(bytes);
  return parse_tokenizer_data(std::as_bytes(std::span(bytes)));
}

/// Expects that `data` is refused with a message that has each of `parts`.
void expect_invalid(const TokenizerData& data, std::initializer_list<std::string> parts) {
  test::count_case(fmt::format("{}", fmt::join(parts, "\n")));  // not all of it could be serialized
  const auto status = validate(data);
  ASSERT_FALSE(status.has_value()) << "expected: " << *parts.begin();
  for (const auto& part : parts)
    EXPECT_NE(status.error().message.find(part), std::string::npos) << part << " not in: " << status.error().message;
}

void expect_unreadable(std::string_view bytes, std::string_view part) {
  const auto data = parse(bytes);
  ASSERT_FALSE(data.has_value()) << "expected: " << part;
  EXPECT_NE(data.error().message.find(part), std::string::npos) << part << " not in: " << data.error().message;
}

/// `bytes` with another 32-bit value at `offset` (see the layout in tokenizer_data.cc).
std::string with(std::string bytes, size_t offset, uint32_t value) {
  std::memcpy(bytes.data() + offset, &value, sizeof(value));
  return bytes;
}

constexpr size_t kPreTokenizerAt = 0, kChatLayoutAt = 4, kFlagsAt = 8, kBosAt = 12, kTokensAt = 16, kMergesAt = 20,
                 kSpecialAt = 24, kStopsAt = 28, kBlobAt = 32, kChatFormatAt = 36, kAddedAt = 40, kAddedAfterNfcAt = 44,
                 kByteTokensAt = 48, kReservedAt = 52, kEndsAt = 64;

ChatFormat described_format() {
  return {.system = {"<|eot_id|>[S] ", ""},
          .user = {"[A]\n", "\n\xc3\xa9"},
          .assistant = {"", "<|eot_id|>"},
          .has_system = true,
          .begin_with_bos = false,
          .trim = true};
}

/// The section of a described layout, and where its chat format begins.
std::pair<std::string, size_t> described_section() {
  auto data = small_tokenizer_data(ChatLayout::kDescribed);
  data.chat.described = described_format();
  auto bytes = serialize(data);
  const size_t at = bytes.size() - serialize(data.chat.described).size();
  return {std::move(bytes), at};
}

TEST(TokenizerData, ReadsBackWhatItWrote) {
  for (const auto layout : {ChatLayout::kNone, ChatLayout::kLlama3, ChatLayout::kBitnet2B4T, ChatLayout::kChatml,
                            ChatLayout::kFalcon3, ChatLayout::kDescribed}) {
    auto data = small_tokenizer_data(layout);
    data.ignore_merges = layout == ChatLayout::kLlama3;
    if (layout == ChatLayout::kDescribed) data.chat.described = described_format();
    if (layout == ChatLayout::kNone) {
      data.bos = -1;
      data.stop_tokens.clear();
      data.merges.clear();
    }
    ASSERT_TRUE(validate(data).has_value()) << validate(data).error().message;
    const auto read = parse(serialize(data));
    ASSERT_TRUE(read.has_value()) << read.error().message;
    EXPECT_EQ(read->pre_tokenizer, data.pre_tokenizer);
    EXPECT_EQ(read->chat.layout, data.chat.layout);
    EXPECT_EQ(read->chat.format(), data.chat.format());
    EXPECT_EQ(read->ignore_merges, data.ignore_merges);
    EXPECT_EQ(read->bos, data.bos);
    EXPECT_EQ(read->stop_tokens, data.stop_tokens);
    EXPECT_EQ(read->tokens, data.tokens);
    EXPECT_EQ(read->special, data.special);
    ASSERT_EQ(read->merges.size(), data.merges.size());
    EXPECT_EQ(serialize(*read), serialize(data));
  }
}

TEST(TokenizerData, ReadsBackTheOtherKinds) {
  for (const auto kind : {PreTokenizer::kGpt2, PreTokenizer::kQwen2}) {
    auto data = small_tokenizer_data();
    data.pre_tokenizer = kind;
    data.nfc = true;
    data.added = {test::add_token(data, "<think>"), test::add_token(data, "the")};  // a word of the vocabulary too
    data.added_after_nfc = {test::add_token(data, "   ")};
    const auto read = parse(serialize(data));
    ASSERT_TRUE(read.has_value()) << read.error().message;
    EXPECT_EQ(read->pre_tokenizer, kind);
    EXPECT_TRUE(read->nfc);
    EXPECT_EQ(read->added, data.added);
    EXPECT_EQ(read->added_after_nfc, data.added_after_nfc);
  }
  for (const auto prefix : {SpacePrefix::kNone, SpacePrefix::kText, SpacePrefix::kStretch})
    for (const bool flag : {false, true}) {
      auto data = test::small_sentencepiece_data();
      data.space_prefix = prefix;
      data.prefix_unless_space = flag && prefix != SpacePrefix::kNone;
      data.rank_by_result = flag;
      const auto bytes = serialize(data);
      const auto read = parse(bytes);
      ASSERT_TRUE(read.has_value()) << read.error().message;
      EXPECT_EQ(read->pre_tokenizer, PreTokenizer::kSentencePiece);
      EXPECT_EQ(read->space_prefix, prefix);
      EXPECT_EQ(read->prefix_unless_space, data.prefix_unless_space);
      EXPECT_EQ(read->rank_by_result, flag);
      EXPECT_EQ(read->byte_tokens, data.byte_tokens);
      EXPECT_EQ(read->added, data.added);
      EXPECT_EQ(serialize(*read), bytes);
    }
}

TEST(TokenizerData, RefusesASectionCutShortAtAnyByte) {
  test::hostile("tokenizer", "cut");
  for (const auto& bytes : {serialize(small_tokenizer_data()), serialize(test::small_sentencepiece_data())})
    for (size_t size = 0; size < bytes.size(); ++size)
      EXPECT_FALSE(parse(std::string_view(bytes).substr(0, size)).has_value()) << size << " of " << bytes.size();
}

TEST(TokenizerData, RefusesSettingsThatDoNotGoTogether) {
  test::hostile("tokenizer", "structure");
  const auto refuse = [](TokenizerData data, auto change, std::initializer_list<std::string> parts) {
    change(data);
    expect_invalid(data, parts);
  };
  const auto bytes = small_tokenizer_data();
  const auto pieces = test::small_sentencepiece_data();
  refuse(bytes, [](auto& d) { d.space_prefix = SpacePrefix::kText; }, {"flags", "llama3"});
  refuse(bytes, [](auto& d) { d.rank_by_result = true; }, {"flags", "llama3"});
  refuse(bytes, [](auto& d) { d.prefix_unless_space = true; }, {"flags", "never put before"});
  refuse(bytes, [](auto& d) { d.byte_tokens = {1}; }, {"byte tokens: found 1, expected 0"});
  refuse(bytes, [](auto& d) { d.pre_tokenizer = PreTokenizer::kSentencePiece; },
         {"byte tokens: found 0, expected 256"});
  refuse(pieces, [](auto& d) { d.nfc = true; }, {"flags", "sentencepiece"});
  refuse(pieces, [](auto& d) { d.ignore_merges = true; }, {"flags", "sentencepiece"});
  refuse(pieces, [](auto& d) { std::swap(d.added, d.added_after_nfc); }, {"after NFC", "sentencepiece"});
  refuse(pieces, [](auto& d) { d.byte_tokens.pop_back(); }, {"byte tokens: found 255, expected 256"});
  test::hostile("tokenizer", "numbers");
  expect_unreadable(with(serialize(pieces), kFlagsAt, 0xc), "says twice where a space goes");
}

TEST(TokenizerData, RefusesListsOfTokensThatAreNotSo) {
  test::hostile("tokenizer", "numbers");
  auto base = small_tokenizer_data();
  const TokenId think = test::add_token(base, "<think>"), end = test::add_token(base, "</think>");
  const auto refuse = [&](std::vector<TokenId> added, std::vector<TokenId> after, std::string part) {
    auto data = base;
    data.added = std::move(added);
    data.added_after_nfc = std::move(after);
    expect_invalid(data, {part});
  };
  refuse({end, think}, {}, "expected ascending ids");
  refuse({think, think}, {}, "special or in another list");
  refuse({think}, {think}, "added tokens after NFC: token");
  refuse({base.bos}, {}, "special or in another list");
  refuse({-1}, {}, "added tokens: found token -1");
  refuse({}, {static_cast<TokenId>(base.tokens.size())}, "added tokens after NFC: found token");
  refuse({id_of(base, "")}, {}, "has no bytes");
  refuse({id_of(base, "Q")}, {}, "single byte 0x51");
  auto twice = base;
  twice.added = {think, test::add_token(twice, "<think>")};
  expect_invalid(twice, {"added tokens", "'<think>'"});
  auto pieces = test::small_sentencepiece_data();
  std::swap(pieces.byte_tokens[1], pieces.byte_tokens[2]);
  expect_invalid(pieces, {"byte tokens: token", "0x01"});
  pieces = test::small_sentencepiece_data();
  pieces.byte_tokens[7] = pieces.byte_tokens[8];
  expect_invalid(pieces, {"byte tokens"});
  pieces = test::small_sentencepiece_data();
  pieces.merges[0].left = pieces.byte_tokens['h'];
  expect_invalid(pieces, {"merge 0: left is token", "stands for a byte"});
}

TEST(TokenizerData, TakesAnyDamagedByteOfASentencePieceVocabularyAsAnErrorOrAsOtherData) {
  test::hostile("tokenizer", "bytes");
  const auto bytes = serialize(test::small_sentencepiece_data());
  for (size_t at = 0; at < bytes.size(); ++at) {
    for (const int flip : {0x01, 0xff}) {
      auto damaged = bytes;
      damaged[at] = static_cast<char>(damaged[at] ^ flip);
      const auto data = parse(damaged);
      EXPECT_TRUE(!data || serialize(*data) == damaged) << "byte " << at;
    }
  }
}

TEST(TokenizerData, RefusesBytesAfterTheEnd) {
  test::hostile("tokenizer", "numbers");
  expect_unreadable(serialize(small_tokenizer_data()) + "x", "1 bytes after");
}

TEST(TokenizerData, TakesAnyDamagedByteAsAnErrorOrAsOtherData) {
  test::hostile("tokenizer", "bytes");
  const auto bytes = serialize(small_tokenizer_data());
  for (size_t at = 0; at < bytes.size(); ++at) {
    for (const int flip : {0x01, 0x80, 0xff}) {
      auto damaged = bytes;
      damaged[at] = static_cast<char>(damaged[at] ^ flip);
      const auto data = parse(damaged);
      EXPECT_TRUE(!data || serialize(*data) == damaged) << "byte " << at;
    }
  }
}

RC_GTEST_PROP(TokenizerData, TakesAnyBytesAsAnErrorOrAsData, ()) {
  test::hostile("tokenizer", "bytes");
  auto bytes = serialize(small_tokenizer_data());
  const auto edits = *rc::gen::container<std::vector<std::pair<uint16_t, uint8_t>>>(
      rc::gen::arbitrary<std::pair<uint16_t, uint8_t>>());
  for (const auto& [at, value] : edits) bytes[at % bytes.size()] = static_cast<char>(value);
  const auto data = parse(bytes);
  if (data) RC_ASSERT(serialize(*data) == bytes);
  RC_ASSERT(!parse(*test::arbitrary_bytes()).has_value());
}

TEST(TokenizerData, RefusesCountsBeyondTheSectionWithoutAllocatingThem) {
  test::hostile("tokenizer", "numbers");
  const auto bytes = serialize(small_tokenizer_data());
  const std::pair<size_t, const char*> counts[] = {{kTokensAt, "token ends"},
                                                   {kBlobAt, "token bytes"},
                                                   {kMergesAt, "merges"},
                                                   {kSpecialAt, "special tokens"},
                                                   {kStopsAt, "stop tokens"},
                                                   {kAddedAt, "added tokens"},
                                                   {kAddedAfterNfcAt, "added tokens after NFC"},
                                                   {kByteTokensAt, "byte tokens"}};
  for (const auto& [offset, field] : counts)
    for (const uint32_t count : {0xffffffffu, 0x80000000u, 0x40000001u, 0x15555556u})
      expect_unreadable(with(bytes, offset, count), field);
}

TEST(TokenizerData, RefusesWhatThisVersionDoesNotKnow) {
  test::hostile("tokenizer", "numbers");
  const auto bytes = serialize(small_tokenizer_data());
  expect_unreadable(with(bytes, kPreTokenizerAt, 5), "pre-tokenizer: found 5, this version knows 1 to 4");
  expect_unreadable(with(bytes, kPreTokenizerAt, 0), "pre-tokenizer: found 0");
  for (const uint32_t layout : {5u, 254u, 256u, 0xffffffffu})
    expect_unreadable(with(bytes, kChatLayoutAt, layout), fmt::format("chat layout: found {}, this version", layout));
  expect_unreadable(with(bytes, kFlagsAt, 0x42), "flags: found 0x42, this version knows 0x3f");
  for (size_t word = 0; word < 3; ++word) expect_unreadable(with(bytes, kReservedAt + 4 * word, 1), "reserved");
}

TEST(TokenizerData, RefusesAChatFormatCutLengthenedOrOfUnknownKind) {
  test::hostile("tokenizer", "cut");
  const auto [bytes, at] = described_section();
  const auto size = static_cast<uint32_t>(bytes.size() - at);
  for (uint32_t left = 0; left < size; ++left)
    expect_unreadable(with(bytes.substr(0, at + left), kChatFormatAt, left), "chat format: cut short");
  test::hostile("tokenizer", "numbers");
  expect_unreadable(with(bytes + "x", kChatFormatAt, size + 1), "chat format: 1 bytes after its end");
  expect_unreadable(with(bytes, kChatFormatAt, size + 1), "chat format:");
  expect_unreadable(with(bytes, kChatFormatAt, 0xffffffffu), "chat format: 4294967295 of");
  expect_unreadable(with(bytes, at, 8), "chat format: flags: found 0x8");
  expect_unreadable(with(bytes, at, 0x80000000u), "chat format: flags");
  for (const uint32_t length : {0xffffffffu, 0x80000000u, size})
    expect_unreadable(with(bytes, at + 4, length), "chat format: cut short");
  test::hostile("tokenizer", "text");
  for (const std::string bad : {"\xff", "\x80", "\xc0\x80", "\xed\xa0\x80", "\xe2\x82", "\xf5\x80\x80\x80"})
    expect_unreadable(std::string(bytes).replace(at + 8, bad.size(), bad), "chat format: a text is not UTF-8");
}

TEST(TokenizerData, RefusesAChatFormatOfALayoutThatHasAName) {
  test::hostile("tokenizer", "structure");
  const auto bytes = described_section().first;
  expect_unreadable(with(bytes, kChatLayoutAt, static_cast<uint32_t>(ChatLayout::kChatml)),
                    "expected none for the chatml layout");
  expect_unreadable(with(serialize(small_tokenizer_data(ChatLayout::kLlama3)), kChatLayoutAt, 255),
                    "chat format: cut short");
}

TEST(TokenizerData, TakesAnyDamagedByteOfAChatFormatAsAnErrorOrAsOtherData) {
  test::hostile("tokenizer", "bytes");
  const auto [bytes, begin] = described_section();
  for (size_t at = begin; at < bytes.size(); ++at)
    for (int value = 0; value < 256; ++value) {
      auto damaged = bytes;
      damaged[at] = static_cast<char>(value);
      const auto data = parse(damaged);
      EXPECT_TRUE(!data || serialize(*data) == damaged) << "byte " << at;
    }
}

TEST(ChatFormat, IsReadBackWithEveryChoiceOfFlags) {
  for (int flags = 0; flags < 8; ++flags) {
    auto format = described_format();
    format.has_system = (flags & 1) != 0;
    format.begin_with_bos = (flags & 2) != 0;
    format.trim = (flags & 4) != 0;
    const auto bytes = serialize(format);
    const auto read = parse_chat_format(std::as_bytes(std::span(bytes)));
    ASSERT_TRUE(read.has_value()) << read.error().message;
    EXPECT_EQ(*read, format);
  }
}

TEST(TokenizerData, RefusesTokenEndsOutOfOrder) {
  test::hostile("tokenizer", "numbers");
  const auto data = small_tokenizer_data();
  const auto bytes = serialize(data);
  expect_unreadable(with(bytes, kEndsAt + 4, 0), "token 1: ends at byte 0");
  expect_unreadable(with(bytes, kEndsAt + 4, 0xffffffffu), "token 1: ends at byte 4294967295");
  const auto last = kEndsAt + 4 * (data.tokens.size() - 1);
  uint32_t end = 0;
  std::memcpy(&end, bytes.data() + last, sizeof(end));
  expect_unreadable(with(bytes, last, end - 1), "token bytes: 1 of");
}

TEST(TokenizerData, RefusesSpecialTokensOutOfOrderOrRange) {
  test::hostile("tokenizer", "numbers");
  const auto data = small_tokenizer_data();
  const auto bytes = serialize(data);
  const size_t at = bytes.size() - 4 * (data.stop_tokens.size() + 8);  // the data has eight
  expect_unreadable(with(bytes, at, 0xffffffffu), "special tokens: found token 4294967295");
  expect_unreadable(with(bytes, at + 4, static_cast<uint32_t>(data.bos)), "special tokens: found");
}

TEST(TokenizerData, NeedsAllSingleBytes) {
  test::hostile("tokenizer", "structure");
  auto data = small_tokenizer_data();
  data.tokens[id_of(data, "Q")].clear();
  expect_invalid(data, {"single byte 0x51"});
  data = small_tokenizer_data();
  data.special[id_of(data, "Q")] = true;
  expect_invalid(data, {"single byte 0x51"});
  expect_invalid(TokenizerData{}, {"tokens: found 0"});
}

TEST(TokenizerData, RefusesTwoTokensOfTheSameBytes) {
  test::hostile("tokenizer", "structure");
  auto data = small_tokenizer_data();
  data.tokens.emplace_back("the");
  data.special.push_back(false);
  expect_invalid(data, {std::to_string(id_of(data, "the")), std::to_string(data.tokens.size() - 1), "'the'"});
}

TEST(TokenizerData, NeedsAUniqueNameForEachSpecialToken) {
  test::hostile("tokenizer", "structure");
  auto data = small_tokenizer_data();
  test::add_special(data, "[A]");
  expect_invalid(data, {"special tokens", "'[A]'"});
  data = small_tokenizer_data();
  test::add_special(data, "");
  expect_invalid(data, {"special token", "no name"});
}

TEST(TokenizerData, LetsASpecialTokenHaveTheNameOfAnOrdinaryOne) {
  auto data = small_tokenizer_data();
  test::add_special(data, "the");
  EXPECT_TRUE(validate(data).has_value());
}

TEST(TokenizerData, NeedsASpecialFlagForEachToken) {
  test::hostile("tokenizer", "structure");
  auto data = small_tokenizer_data();
  data.special.pop_back();
  expect_invalid(data, {"special", std::to_string(data.special.size())});
}

TEST(TokenizerData, NeedsMergesOfOrdinaryTokensThatMakeTheirResult) {
  test::hostile("tokenizer", "structure");
  const auto base = small_tokenizer_data();
  const TokenId a = id_of(base, "a"), b = id_of(base, "b"), ab = id_of(base, "ab"), gap = id_of(base, "");
  const auto refuse = [&](TokenizerData::Merge merge, std::initializer_list<std::string> parts) {
    auto data = base;
    data.merges[3] = merge;
    expect_invalid(data, parts);
  };
  refuse({b, a, ab}, {"merge 3", "'b'", "'a'", "'ab'"});
  refuse({a, a, ab}, {"merge 3"});
  refuse({-1, b, ab}, {"merge 3", "left is token -1"});
  refuse({a, static_cast<TokenId>(base.tokens.size()), ab}, {"merge 3", "right is token"});
  refuse({a, b, INT32_MAX}, {"merge 3", "result is token 2147483647"});
  refuse({gap, ab, ab}, {"merge 3", "no bytes"});
  refuse({base.bos, b, ab}, {"merge 3", "special", "<|begin_of_text|>"});
}

TEST(TokenizerData, RefusesMergesThatGoInACircle) {
  test::hostile("tokenizer", "structure");
  const auto base = small_tokenizer_data();
  const auto sound = serialize(base);
  const TokenId a = id_of(base, "a"), b = id_of(base, "b"), ab = id_of(base, "ab");
  const auto read = [&](std::initializer_list<TokenizerData::Merge> merges) {
    auto data = base;
    std::copy(merges.begin(), merges.end(), data.merges.begin());
    return parse(serialize(data));
  };
  // A result that is its own part, and two that are each other's.
  for (const auto& merge : {TokenizerData::Merge{ab, b, ab}, {a, ab, ab}, {ab, ab, ab}, {a, a, a}, {a, b, a}})
    EXPECT_FALSE(read({merge}).has_value());
  EXPECT_FALSE(read({{ab, b, a}, {a, b, ab}}).has_value());
  EXPECT_FALSE(read({{a, b, ab}, {ab, a, b}, {b, a, a}}).has_value());
  // Nor is any place of a merge not checked.
  test::hostile("tokenizer", "numbers");
  const size_t at = sound.find(std::string(reinterpret_cast<const char*>(base.merges.data()), 3 * sizeof(TokenId)));
  ASSERT_NE(at, std::string::npos);
  for (size_t word = 0; word < 3 * base.merges.size(); ++word)
    for (const uint32_t id : {0xffffffffu, 0x80000000u, static_cast<uint32_t>(base.tokens.size())})
      expect_unreadable(with(sound, at + 4 * word, id), fmt::format("merge {}: ", word / 3));
}

TEST(TokenizerData, RefusesAMergeGivenTwice) {
  test::hostile("tokenizer", "structure");
  auto data = small_tokenizer_data();
  data.merges.push_back(data.merges[1]);
  expect_invalid(data, {"merges", "'h' and 'e'", "twice"});
}

TEST(TokenizerData, NeedsASpecialTokenAsBos) {
  test::hostile("tokenizer", "numbers");
  auto data = small_tokenizer_data();
  data.bos = id_of(data, "the");
  expect_invalid(data, {"BOS", "'the'"});
  data.bos = static_cast<TokenId>(data.tokens.size());
  expect_invalid(data, {"BOS", std::to_string(data.bos)});
  data.bos = -2;
  expect_invalid(data, {"BOS", "-2"});
  expect_unreadable(with(serialize(small_tokenizer_data()), kBosAt, 0x80000000u), "BOS");
}

TEST(TokenizerData, NeedsSpecialStopTokensInOrder) {
  test::hostile("tokenizer", "numbers");
  auto data = small_tokenizer_data();
  data.stop_tokens = {id_of(data, "the")};
  expect_invalid(data, {"stop tokens", "'the'"});
  data.stop_tokens = {-1};
  expect_invalid(data, {"stop tokens", "-1"});
  data.stop_tokens = {id_of(data, "[A]"), id_of(data, "<|eot_id|>")};
  expect_invalid(data, {"stop tokens", "ascending"});
  data.stop_tokens = {id_of(data, "[A]"), id_of(data, "[A]")};
  expect_invalid(data, {"stop tokens", "ascending"});
}

TEST(TokenizerData, RefusesKindsThatAreNone) {
  test::hostile("tokenizer", "numbers");
  auto data = small_tokenizer_data();
  data.pre_tokenizer = static_cast<PreTokenizer>(7);
  expect_invalid(data, {"pre-tokenizer: found 7"});
  data = small_tokenizer_data();
  data.chat.layout = static_cast<ChatLayout>(9);
  expect_invalid(data, {"chat layout: found 9"});
}

TEST(TokenizerData, ShowsTokensInErrorsPrintableAndShort) {
  auto data = small_tokenizer_data();
  const std::string token = "\xff\n" + std::string(5000, 'x');
  for (int i = 0; i < 2; ++i) {
    data.tokens.push_back(token);
    data.special.push_back(false);
  }
  test::hostile("tokenizer", "text");
  test::count_case(token);
  const auto status = validate(data);
  ASSERT_FALSE(status.has_value());
  EXPECT_LT(status.error().message.size(), 200u);
  EXPECT_NE(status.error().message.find("'\\xff\\x0axxx"), std::string::npos) << status.error().message;
}

TEST(ChatLayoutName, LeadsBackToTheLayout) {
  for (const auto layout :
       {ChatLayout::kNone, ChatLayout::kLlama3, ChatLayout::kBitnet2B4T, ChatLayout::kChatml, ChatLayout::kFalcon3}) {
    const auto found = chat_layout_by_name(name_of(layout));
    ASSERT_TRUE(found.has_value());
    EXPECT_EQ(*found, layout);
  }
}

TEST(ChatLayoutName, IsRefusedWhereUnknownWithTheNamesThatAreKnown) {
  for (const std::string name : {"gemma", "", "described", "ChatML"}) {
    const auto found = chat_layout_by_name(name);
    ASSERT_FALSE(found.has_value());
    EXPECT_EQ(found.error().message,
              "chat layout: found '" + name + "', this version knows none, llama3, bitnet-2b-4t, chatml, falcon3");
  }
  EXPECT_EQ(name_of(ChatLayout::kDescribed), "described");
  EXPECT_EQ(name_of(static_cast<ChatLayout>(77)), "unknown");
}

}  // namespace
}  // namespace onebit
