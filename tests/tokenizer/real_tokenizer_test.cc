// The real model's tokenizer against ids recorded with Hugging Face's native library.
#include <gtest/gtest.h>

#include "base/hash.h"
#include "tests/tokenizer/test_tokenizer.h"
#include "tokenizer/bpe.h"
#include "tokenizer/chat_layout.h"
#include "tokenizer/pre_tokenizer.h"

namespace onebit::test {
namespace {

using Ids = std::vector<TokenId>;

TEST_F(RealTokenizerTest, GivesTheRecordedIdsOfEveryText) {
  const auto vectors = read_source_json("tests/golden/tokenizer_vectors.json");
  ASSERT_GE(vectors["cases"].size(), 29u);
  for (const auto& item : vectors["cases"]) {
    const auto text = item["text"].get<std::string>();
    EXPECT_EQ(tokenizer().encode(text, SpecialTokens::kParse), item["ids"].get<Ids>()) << text;
  }
}

/// The conversation that a prompt in LLaMA-3's layout shows; without an opened answer.
std::vector<ChatMessage> messages_in(std::string_view prompt) {
  constexpr std::string_view kStart = "<|start_header_id|>", kEnd = "<|end_header_id|>\n\n", kTurn = "<|eot_id|>";
  std::vector<ChatMessage> messages;
  while (true) {
    const size_t role = prompt.find(kStart);
    const size_t content = prompt.find(kEnd);
    const size_t end = prompt.find(kTurn);
    if (end == std::string_view::npos) return messages;
    messages.push_back({std::string(prompt.substr(role + kStart.size(), content - role - kStart.size())),
                        std::string(prompt.substr(content + kEnd.size(), end - content - kEnd.size()))});
    prompt.remove_prefix(end + kTurn.size());
  }
}

TEST_F(RealTokenizerTest, GivesTheRecordedPromptsOfEveryConversation) {
  const auto golden = read_source_json("tests/golden/golden.json");
  int chats = 0, turns = 0;
  for (const auto& item : golden["cases"]) {
    const auto prompt = item["prompt"].get<std::string>();
    const auto expected = item["prompt_ids"].get<Ids>();
    if (item["kind"] == "chat") {
      const auto messages = messages_in(prompt);
      const auto ids = encode_chat(tokenizer(), messages, true);
      ASSERT_TRUE(ids.has_value()) << ids.error().message;
      EXPECT_EQ(*ids, expected) << prompt;
      EXPECT_EQ(tokenizer().encode(prompt, SpecialTokens::kParse), expected) << prompt;
      ++chats;
      turns += static_cast<int>(messages.size());
    } else {
      Ids ids = {*tokenizer().bos()};
      tokenizer().encode(prompt, SpecialTokens::kAsText, ids);
      EXPECT_EQ(ids, expected) << prompt;
    }
  }
  EXPECT_GT(chats, 0);
  EXPECT_GT(turns, chats) << "some conversations have several turns";
}

TEST_F(RealTokenizerTest, StopsWhereTheRecordedAnswersDo) {
  const auto golden = read_source_json("tests/golden/golden.json");
  EXPECT_EQ(data().stop_tokens, golden["stop_ids"].get<Ids>());
  for (const TokenId id : data().stop_tokens) EXPECT_TRUE(tokenizer().is_stop(id));
}

TEST_F(RealTokenizerTest, GivesTheRecordedTokensOfWikitext) {
  const auto text = read_source_file("data/wikitext-2/test.txt");
  const auto ids = tokenizer().encode(text, SpecialTokens::kAsText);
  EXPECT_EQ(ids.size(), 395628u);
  // Of the ids that Hugging Face's tokenizers 0.23 gives.
  EXPECT_EQ(xxh3(std::as_bytes(std::span(ids))), 0xfd14379ed454e4fbu);
  EXPECT_TRUE(tokenizer().decode(ids, false) == text);
}

TEST_F(RealTokenizerTest, GivesTheSameTokensOfWikitextOnASecondWay) {
  const auto text = read_source_file("data/wikitext-2/test.txt");
  auto splitter = PieceSplitter::create(PreTokenizer::kLlama3);
  ASSERT_TRUE(splitter.has_value());
  splitter->disable_jit();
  const BytePairEncoder encoder(data());
  Ids ids;
  PieceSplitter::Cursor cursor(*splitter, text);
  for (auto piece = cursor.next(); !piece.empty(); piece = cursor.next()) encoder.merge_long(piece, ids);
  EXPECT_TRUE(ids == tokenizer().encode(text, SpecialTokens::kAsText));
}

TEST_F(RealTokenizerTest, KeepsItsIdsThroughTheFileFormat) {
  const auto bytes = serialize(data());
  auto read = parse_tokenizer_data(std::as_bytes(std::span(bytes)));
  ASSERT_TRUE(read.has_value()) << read.error().message;
  const auto again = Tokenizer::create(*std::move(read));
  ASSERT_TRUE(again.has_value());
  const auto text = read_source_file("data/wikitext-2/test.txt").substr(0, 100'000) + "<|eot_id|>";
  EXPECT_TRUE(again->encode(text, SpecialTokens::kParse) == tokenizer().encode(text, SpecialTokens::kParse));
}

}  // namespace
}  // namespace onebit::test
