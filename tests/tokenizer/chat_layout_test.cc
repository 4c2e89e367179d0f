#include "tokenizer/chat_layout.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "tests/support/hostile_cases.h"
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

/// The small tokenizer with the markers of all layouts.
Tokenizer make_marked(ChatLayout layout, const ChatFormat& described = {}) {
  auto data = small_tokenizer_data(layout);
  data.chat.described = described;
  for (const auto* name : {"<|im_start|>", "<|im_end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|endoftext|>"})
    test::add_special(data, name);
  return *Tokenizer::create(std::move(data));
}

const ChatFormat kDescription{
    .user = {"[A]<|user|>", "<|eot_id|>\n"}, .assistant = {" >", "<|eot_id|>"}, .has_system = false};

TEST(ChatLayout, WritesConversationsAsChatmlDoes) {
  const std::string closed =
      "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n Hi \n<|im_end|>\n"
      "<|im_start|>assistant\nHello!<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n";
  const auto tokenizer = make_marked(ChatLayout::kChatml);
  EXPECT_EQ(prompt_text(tokenizer, kConversation, false), closed);
  EXPECT_EQ(prompt_text(tokenizer, kConversation, true), closed + "<|im_start|>assistant\n");
}

TEST(ChatLayout, WritesConversationsAsFalcon3Does) {
  const std::string closed =
      "<|system|>\nBe kind.\n<|user|>\n Hi \n\n<|assistant|>\nHello!<|endoftext|>\n<|user|>\nWhy?\n";
  const auto tokenizer = make_marked(ChatLayout::kFalcon3);
  EXPECT_EQ(prompt_text(tokenizer, kConversation, false), closed);
  EXPECT_EQ(prompt_text(tokenizer, kConversation, true), closed + "<|assistant|>\n");
}

TEST(ChatLayout, WritesConversationsAsTheModelFileDescribes) {
  const auto tokenizer = make_marked(ChatLayout::kDescribed, kDescription);
  const Messages messages{{"user", " Hi \n"}, {"assistant", "Hello!"}};
  EXPECT_EQ(prompt_text(tokenizer, messages, true), "<|begin_of_text|>[A]<|user|>Hi<|eot_id|>\n >Hello!<|eot_id|> >");
  const auto ids = *encode_chat(tokenizer, messages, true);
  EXPECT_EQ(std::count_if(ids.begin(), ids.end(), [&](TokenId id) { return tokenizer.is_special(id); }), 4)
      << "BOS, <|user|> and two ends; [A] is no marker, though a special token has that name";
}

TEST(ChatLayout, RefusesASystemMessageWhereTheLayoutHasNone) {
  const auto ids = encode_chat(make_marked(ChatLayout::kDescribed, kDescription), kConversation, true);
  ASSERT_FALSE(ids.has_value());
  EXPECT_EQ(ids.error().message, "role 'system' is not one that the described chat layout knows: user, assistant");
}

TEST(ChatLayout, RefusesADescriptionWhoseMarkersAreNoTokens) {
  test::hostile("layout", "text");
  const auto refuse = [](const std::string& before, const std::string& part) {
    test::count_case(before);
    auto format = kDescription;
    format.user.before = before;
    const auto ids = encode_chat(make_marked(ChatLayout::kDescribed, format), Messages{{"user", "x"}}, true);
    ASSERT_FALSE(ids.has_value()) << before;
    EXPECT_NE(ids.error().message.find(part), std::string::npos) << ids.error().message;
    EXPECT_EQ(ids.error().message.find('\n'), std::string::npos) << "one line";
    EXPECT_LT(ids.error().message.size(), 200u);
  };
  refuse("x<|nobody|>", "no special token <|nobody|>");
  refuse("<|>", "no special token <|>");
  refuse("<|no\nbody|>", "no special token <|no\\x0abody|>");
  refuse("<|" + std::string(100000, 'x') + "|>", "no special token <|xxx");
  refuse("<|user|><|", "'<|' without its '|>'");
}

RC_GTEST_PROP(ChatLayout, LetsNoContentAddASpecialTokenToAnyLayout, ()) {
  test::hostile("prompt", "text");
  const auto tokenizer =
      make_marked(*rc::gen::element(ChatLayout::kChatml, ChatLayout::kFalcon3, ChatLayout::kDescribed), kDescription);
  const auto specials = [&](const std::string& content) {
    if (content != "x") test::count_case(content);
    const auto ids = encode_chat(tokenizer, Messages{{"user", content}, {"assistant", content}}, true);
    Ids found;
    for (const TokenId id : *ids)
      if (tokenizer.is_special(id)) found.push_back(id);
    return found;
  };
  const auto marker = *rc::gen::element<std::string>("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "|im_end|>", "<|");
  RC_ASSERT(specials(marker + *test::arbitrary_mixture() + marker) == specials("x"));
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
  test::hostile("prompt", "text");
  const auto layout = *rc::gen::element(ChatLayout::kLlama3, ChatLayout::kBitnet2B4T);
  const auto tokenizer = make_tokenizer(layout);
  const auto specials = [&](const std::string& content) {
    if (content != "x") test::count_case(content);
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
  test::hostile("prompt", "text");
  for (const std::string role : {"tool", "", "User", "user ", "<|eot_id|>"}) {
    test::count_case(role);
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
