#include "engine/generate.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/utf8.h"
#include "engine/lookup.h"
#include "engine/model.h"
#include "format/synth.h"
#include "tests/support/temp_folder.h"
#include "tests/support/test_model.h"
#include "tests/support/tiny_model.h"
#include "tokenizer/chat_layout.h"

namespace onebit {
namespace {

class GenerateTest : public ::testing::Test {
 protected:
  GenerateTest() : model_(open()), sequence_(model_.backend()) {}

  static Model open() {
    auto model = Model::open(test::bundled_model());
    EXPECT_TRUE(model) << model.error().message;
    return *std::move(model);
  }

  std::vector<TokenId> question(const std::string& text) {
    const ChatMessage message{"user", text};
    return *encode_chat(model_.tokenizer(), {&message, 1}, true);
  }

  Generation answer(const std::vector<TokenId>& prompt, const GenerateParams& params = GenerateParams(),
                    const TextSink& sink = nullptr) {
    auto result = generate(sequence_, model_.tokenizer(), model_.file().config(), prompt, params, sink);
    EXPECT_TRUE(result) << result.error().message;
    return *std::move(result);
  }

  static std::vector<TokenId> ids(const Generation& g) {
    std::vector<TokenId> result;
    for (const auto& token : g.tokens) result.push_back(token.id);
    return result;
  }

  Model model_;
  Sequence sequence_;
};

TEST_F(GenerateTest, AnswersAQuestionAndStopsAtTheEndToken) {
  std::string streamed;
  const auto g = answer(question("What is the capital of France?"), {}, [&](std::string_view piece) {
    EXPECT_TRUE(utf8_valid(piece));
    streamed += piece;
    return true;
  });
  EXPECT_EQ(g.text, "The capital of France is Paris.");
  EXPECT_EQ(streamed, g.text);
  EXPECT_EQ(g.finish_reason, FinishReason::kStop);
  EXPECT_TRUE(model_.tokenizer().is_stop(g.tokens.back().id));
  EXPECT_EQ(g.prompt_tokens, 22u);
}

TEST_F(GenerateTest, MaxTokensAndIgnoreEosAreKept) {
  const auto prompt = question("What is the capital of France?");
  const auto cut = answer(prompt, {.max_tokens = 3});
  EXPECT_EQ(cut.tokens.size(), 3u);
  EXPECT_EQ(cut.finish_reason, FinishReason::kLength);
  const auto on = answer(prompt, {.max_tokens = 20, .ignore_eos = true});
  EXPECT_EQ(on.tokens.size(), 20u);
  EXPECT_TRUE(on.text.starts_with("The capital of France is Paris."));
}

TEST_F(GenerateTest, StopStringsThatSpanTokensEndTheText) {
  const auto g = answer(question("What is the capital of France?"), {.stop = {"ance is"}});
  EXPECT_EQ(g.text, "The capital of Fr");
  EXPECT_EQ(g.finish_reason, FinishReason::kStop);
}

TEST_F(GenerateTest, TheSinkCancels) {
  const auto g = answer(question("Tell me a story."), {}, [](std::string_view) { return false; });
  EXPECT_EQ(g.finish_reason, FinishReason::kCancelled);
  EXPECT_LE(g.tokens.size(), 4u);
}

TEST_F(GenerateTest, AKeptPrefixChangesNoToken) {
  const GenerateParams params{.sampling = {.temperature = 0.8f, .seed = 9}, .max_tokens = 30, .logprobs = true};
  const auto fresh = answer(question("Who are you?"), params);
  EXPECT_EQ(fresh.cached_tokens, 0u);
  answer(question("Who are they?"), {.max_tokens = 5});
  const auto again = answer(question("Who are you?"), params);
  EXPECT_GT(again.cached_tokens, 5u);
  EXPECT_EQ(ids(again), ids(fresh));
  for (size_t i = 0; i < fresh.tokens.size(); ++i)
    EXPECT_EQ(std::memcmp(&again.tokens[i].logprob, &fresh.tokens[i].logprob, sizeof(float)), 0);
}

TEST_F(GenerateTest, LogprobsDescribeTheChosenToken) {
  const auto g = answer(question("What is the capital of France?"), {.logprobs = true, .top_logprobs = 3});
  for (const auto& token : g.tokens) {
    ASSERT_EQ(token.top.size(), 3u);
    EXPECT_EQ(token.top[0].id, token.id);  // greedy
    EXPECT_EQ(token.top[0].logprob, token.logprob);
    EXPECT_GE(token.top[0].logprob, token.top[1].logprob);
    EXPECT_LE(token.logprob, 0.0f);
  }
}

TEST(Generate, TheContextIsTheLimit) {
  const test::TempFolder folder;
  const auto path = folder.path("tiny.h1b");
  ASSERT_TRUE(write_synthetic_model(path, test::tiny_parts(test::tiny_config()), {}, 1));
  auto model = Model::open(path);
  ASSERT_TRUE(model) << model.error().message;
  Sequence sequence(model->backend());
  const uint32_t context = model->file().config().context;
  const std::vector<TokenId> prompt(context - 2, 39);
  const auto g = generate(sequence, model->tokenizer(), model->file().config(), prompt, {.ignore_eos = true});
  ASSERT_TRUE(g) << g.error().message;
  EXPECT_EQ(g->tokens.size(), 2u);
  EXPECT_EQ(g->finish_reason, FinishReason::kLength);
}

TEST_F(GenerateTest, ErrorsAreAnswersAndTheSequenceGoesOn) {
  const auto error = [&](const std::vector<TokenId>& prompt, const GenerateParams& params) {
    const auto g = generate(sequence_, model_.tokenizer(), model_.file().config(), prompt, params);
    return g ? std::string() : g.error().message;
  };
  EXPECT_NE(error({}, {}).find("empty"), std::string::npos);
  EXPECT_NE(error({8192}, {}).find("8192"), std::string::npos);
  EXPECT_NE(error(std::vector<TokenId>(4096, 1), {}).find("4096"), std::string::npos);
  EXPECT_NE(error({1}, {.sampling = {.top_p = 2.0f}}).find("top_p"), std::string::npos);
  EXPECT_EQ(answer(question("What is the capital of France?")).text, "The capital of France is Paris.");
}

TEST_F(GenerateTest, LookupChangesNoTokenAndNoLogprob) {
  // A text that repeats itself is drafted well; an answer at random hardly.
  const auto prompt = model_.tokenizer().encode("one two three four five, one two three four five, one two three",
                                                SpecialTokens::kAsText);
  for (const float temperature : {0.0f, 0.9f}) {
    GenerateParams params;
    params.max_tokens = 80;
    params.ignore_eos = true;
    params.logprobs = true;
    params.sampling.temperature = temperature;
    params.sampling.seed = 5;
    params.sampling.repetition_penalty = 1.05f;
    Sequence plain(model_.backend());
    const auto expected = generate(plain, model_.tokenizer(), model_.file().config(), prompt, params);
    ASSERT_TRUE(expected);
    EXPECT_EQ(expected->drafts.computed, 0u);
    for (const uint32_t lookup : {1u, 3u, 8u, 64u}) {
      params.lookup = lookup;
      Sequence sequence(model_.backend());
      const auto g = generate(sequence, model_.tokenizer(), model_.file().config(), prompt, params);
      ASSERT_TRUE(g);
      EXPECT_EQ(ids(*g), ids(*expected));
      for (size_t i = 0; i < g->tokens.size(); ++i) EXPECT_EQ(g->tokens[i].logprob, expected->tokens[i].logprob);
      EXPECT_GT(g->drafts.computed, 0u);
      EXPECT_LE(g->drafts.accepted, g->drafts.computed);
      // What was drafted beyond the answer is forgotten: the conversation goes on as without it.
      auto next = prompt;
      next.push_back(g->tokens[0].id);
      params.lookup = 0;
      const auto again = generate(sequence, model_.tokenizer(), model_.file().config(), next, params);
      Sequence fresh(model_.backend());
      const auto from_start = generate(fresh, model_.tokenizer(), model_.file().config(), next, params);
      ASSERT_TRUE(again && from_start);
      EXPECT_EQ(ids(*again), ids(*from_start));
    }
  }
}

TEST(Lookup, DraftsGrowWhileTheyAreRightAndRestWhileTheyAreWrong) {
  DraftLength length;
  EXPECT_EQ(length.next(64), 4u);
  length.met(4, 4);
  EXPECT_EQ(length.next(64), 8u);
  EXPECT_EQ(length.next(3), 3u) << "never more than asked for";
  length.met(8, 2);
  EXPECT_EQ(length.next(64), 3u);
  for (const int rest : {1, 3, 7, 15, 31, 32, 32}) {
    length.met(3, 0);
    for (int step = 0; step < rest; ++step) EXPECT_EQ(length.next(64), 0u) << step << " of " << rest;
    EXPECT_EQ(length.next(64), 1u);
  }
  length.met(1, 1);
  EXPECT_EQ(length.next(64), 2u) << "one that is right ends the rests";
}

TEST(Lookup, DraftsWhatFollowedTheLongestMatchLast) {
  const auto draft = [](std::vector<TokenId> tokens, uint32_t most) { return draft_by_lookup(tokens, most); };
  using Ids = std::vector<TokenId>;
  EXPECT_EQ(draft({1, 2, 3, 9, 1, 2}, 8), (Ids{3, 9, 1, 2}));
  EXPECT_EQ(draft({1, 2, 3, 9, 1, 2}, 1), (Ids{3}));
  EXPECT_EQ(draft({1, 2, 3, 1, 2, 4, 1, 2}, 1), (Ids{4})) << "the later one";
  EXPECT_EQ(draft({5, 1, 2, 3, 6, 1, 2, 4, 5, 1, 2}, 1), (Ids{3})) << "the longer one";
  EXPECT_EQ(draft({1, 1, 1, 1, 1}, 3), (Ids{1}));
  EXPECT_EQ(draft({1, 2, 3}, 3), Ids{});
  EXPECT_EQ(draft({1, 2, 1, 2}, 0), Ids{});
  EXPECT_EQ(draft({}, 3), Ids{});
}

}  // namespace
}  // namespace onebit
