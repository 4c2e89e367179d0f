#include "tokenizer/chat_layout.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "tests/tokenizer/test_data.h"

namespace onebit {
namespace {

using test::small_tokenizer_data;
using Ids = std::vector<TokenId>;
using Messages = std::vector<ChatMessage>;

Tokenizer make_tokenizer(ChatLayout layout) {
  return *Tokenizer::create(small_tokenizer_data(layout));
}

/// What the prompt says, markers included.
std::string prompt_text(const Tokenizer& tokenizer, const Messages& messages, bool open_answer) {
  const auto ids = encode_chat(tokenizer, messages, open_answer);
  EXPECT_TRUE(ids.has_value()) << (ids ? "" : ids.error().message);
  return ids ? tokenizer.decode(*ids, false) : "";
}

const Messages kConversation = {{"system", "Be kind."}, {"user", " Hi \n"}, {"assistant", "Hello!"}, {"user", "Why?"}};

TEST(ChatLayout, WritesConversationsAsLlama3Does) {
  const auto tokenizer = make_tokenizer(ChatLayout::kLlama3);
  const std::string closed =
      "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe kind.<|eot_id|>"
      "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
      "<|start_header_id|>assistant<|end_header_id|>\n\nHello!<|eot_id|>"
      "<|start_header_id|>user<|end_header_id|>\n\nWhy?<|eot_id|>";
  EXPECT_EQ(prompt_text(tokenizer, kConversation, false), closed);
  EXPECT_EQ(prompt_text(tokenizer, kConversation, true), closed + "<|start_header_id|>assistant<|end_header_id|>\n\n");
}

TEST(ChatLayout, WritesConversationsAsBitnet2B4TDoes) {
  const auto tokenizer = make_tokenizer(ChatLayout::kBitnet2B4T);
  const std::string closed =
      "<|begin_of_text|>System: Be kind.<|eot_id|>User: Hi<|eot_id|>Assistant: Hello!<|eot_id|>User: Why?<|eot_id|>";
  EXPECT_EQ(prompt_text(tokenizer, kConversation, false), closed);
  EXPECT_EQ(prompt_text(tokenizer, kConversation, true), closed + "Assistant: ");
}

RC_GTEST_PROP(ChatLayout, GivesTheIdsOfThePromptThatTheTemplateWrites, ()) {
  const auto layout = *rc::gen::element(ChatLayout::kLlama3, ChatLayout::kBitnet2B4T);
  const auto tokenizer = make_tokenizer(layout);
  // A text without markers, so that parsing the whole prompt finds the layout's only.
  const auto content = std::string(trim_white_space(*rc::gen::suchThat(
      test::arbitrary_text(), [](const auto& text) { return text.find_first_of("<[w") == std::string::npos; })));
  const std::string prompt = layout == ChatLayout::kLlama3
                                 ? "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n" + content +
                                       "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
                                 : "<|begin_of_text|>User: " + content + "<|eot_id|>Assistant: ";
  RC_ASSERT(*encode_chat(tokenizer, Messages{{"user", content}}, true) ==
            tokenizer.encode(prompt, SpecialTokens::kParse));
}

RC_GTEST_PROP(ChatLayout, LetsNoContentAddASpecialToken, ()) {
  const auto layout = *rc::gen::element(ChatLayout::kLlama3, ChatLayout::kBitnet2B4T);
  const auto tokenizer = make_tokenizer(layout);
  const auto specials = [&](const std::string& content) {
    const auto ids = encode_chat(tokenizer, Messages{{"user", content}}, true);
    Ids found;
    for (const TokenId id : *ids)
      if (tokenizer.is_special(id)) found.push_back(id);
    return found;
  };
  RC_ASSERT(specials(*test::arbitrary_mixture()) == specials("x"));
}

TEST(ChatLayout, JoinsTheLayoutsTextAndTheContentBeforeEncoding) {
  const auto tokenizer = make_tokenizer(ChatLayout::kBitnet2B4T);
  const auto ids = *encode_chat(tokenizer, Messages{{"user", "the"}}, false);
  const TokenId the = test::id_of(small_tokenizer_data(), " the");
  EXPECT_NE(std::find(ids.begin(), ids.end(), the), ids.end()) << "the space of 'User: ' belongs to the word";
}

TEST(ChatLayout, WritesAnEmptyConversationAsBosAndOpening) {
  EXPECT_EQ(prompt_text(make_tokenizer(ChatLayout::kLlama3), {}, false), "<|begin_of_text|>");
  EXPECT_EQ(prompt_text(make_tokenizer(ChatLayout::kBitnet2B4T), {}, true), "<|begin_of_text|>Assistant: ");
}

TEST(ChatLayout, WritesNoBosWhereTheModelHasNone) {
  auto data = small_tokenizer_data(ChatLayout::kBitnet2B4T);
  data.bos = -1;
  EXPECT_EQ(prompt_text(*Tokenizer::create(std::move(data)), {}, true), "Assistant: ");
}

TEST(ChatLayout, RefusesModelsWithoutALayout) {
  const auto ids = encode_chat(make_tokenizer(ChatLayout::kNone), kConversation, true);
  ASSERT_FALSE(ids.has_value());
  EXPECT_NE(ids.error().message.find("no chat layout"), std::string::npos);
}

TEST(ChatLayout, RefusesRolesItDoesNotKnow) {
  for (const std::string role : {"tool", "", "User", "user ", "<|eot_id|>"}) {
    const auto ids = encode_chat(make_tokenizer(ChatLayout::kLlama3), Messages{{role, "x"}}, true);
    ASSERT_FALSE(ids.has_value()) << role;
    EXPECT_NE(ids.error().message.find("'" + role + "'"), std::string::npos) << ids.error().message;
  }
}

TEST(ChatLayout, SaysWhichMarkerTheVocabularyLacks) {
  auto data = small_tokenizer_data();
  data.tokens[test::id_of(data, "<|end_header_id|>")] = "<|other|>";
  const auto ids = encode_chat(*Tokenizer::create(std::move(data)), kConversation, true);
  ASSERT_FALSE(ids.has_value());
  EXPECT_NE(ids.error().message.find("<|end_header_id|>"), std::string::npos);
}

}  // namespace
}  // namespace onebit
