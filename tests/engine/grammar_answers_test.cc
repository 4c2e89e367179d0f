// Answers that follow a grammar: the same tokens alone, in a batch, put back and drafted, with every sampler.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "engine/generate.h"
#include "engine/model.h"
#include "engine/scheduler.h"
#include "grammar/grammar_cache.h"
#include "tests/engine/recorder.h"
#include "tests/support/test_model.h"

namespace onebit {
namespace {

const char* kSchema = R"({"type": "object", "properties": {"name": {"type": "string", "maxLength": 20},
  "list": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 99}, "minItems": 12, "maxItems": 20}},
  "required": ["name", "list"]})";

class GrammarAnswers : public ::testing::Test {
 protected:
  GrammarAnswers() : model_(*Model::open(test::bundled_model())), cache_(model_.tokenizer()) {}

  std::vector<Request> requests() {
    std::vector<Request> result;
    const auto grammar = *cache_.get(grammar::Language::kJsonSchema, kSchema);
    for (const SamplingParams& sampling : std::vector<SamplingParams>{
             {},
             {.temperature = 0.8f, .top_k = 5, .seed = 1},
             {.temperature = 1.2f, .top_p = 0.9f, .min_p = 0.02f, .seed = 2},
             {.temperature = 1.0f, .typical_p = 0.5f, .repetition_penalty = 1.3f, .seed = 3},
             {.temperature = 1.5f, .dry_multiplier = 0.8f, .xtc_probability = 0.5f, .seed = 4},
             {.temperature = 2.0f, .frequency_penalty = 1.0f, .logit_bias = {{5, 100.0f}}, .seed = 5}})
      for (const char* text : {"A list: ", "Once upon a time "}) {
        Request request{model_.tokenizer().encode(text, SpecialTokens::kAsText),
                        {.sampling = sampling, .max_tokens = 400, .logprobs = sampling.seed % 2 == 0}};
        request.params.grammar = grammar;
        result.push_back(std::move(request));
      }
    return result;
  }

  Generation alone(const Request& request) {
    Sequence sequence(model_.backend());
    auto g = generate(sequence, model_.tokenizer(), model_.file().config(), request.prompt, request.params);
    EXPECT_TRUE(g) << g.error().message;
    return *std::move(g);
  }

  Model model_;
  grammar::GrammarCache cache_;
};

TEST_F(GrammarAnswers, AreTheSameInEveryWayToComputeThem) {
  const auto all = requests();
  std::vector<Generation> expected;
  for (const auto& request : all) {
    expected.push_back(alone(request));
    const auto& g = expected.back();
    EXPECT_EQ(g.finish_reason, FinishReason::kStop);
    const auto value = nlohmann::json::parse(g.text, nullptr, false);
    ASSERT_TRUE(value.is_object()) << g.text;
    EXPECT_GE(value["list"].size(), 12u) << g.text;
    auto drafted = request;
    drafted.params.lookup = 8;
    const auto with_drafts = alone(drafted);
    EXPECT_EQ(with_drafts.text, g.text);
  }
  const auto page = model_.backend().kv_usage();
  for (const uint64_t pages : {uint64_t{200}, uint64_t{6}}) {  // plenty, and so few that requests are put back
    Scheduler scheduler(model_.backend(), model_.tokenizer(), {.most_running = 5, .kv_bytes = pages * page.page_bytes});
    std::vector<std::shared_ptr<test::Recorder>> recorders;
    for (auto request : all) {
      if (!scheduler.check(request)) request.params.max_tokens = 250;
      recorders.push_back(std::make_shared<test::Recorder>());
      scheduler.add(request, recorders.back(), recorders.back()->cancelled);
    }
    while (scheduler.step()) {
    }
    for (size_t i = 0; i < all.size(); ++i) {
      ASSERT_TRUE(recorders[i]->outcome && !recorders[i]->outcome->error);
      EXPECT_EQ(recorders[i]->text, expected[i].text) << i;
    }
    EXPECT_EQ(scheduler.stats().preemptions > 0, pages == 6);
  }
}

TEST_F(GrammarAnswers, EndWhereNothingCanFollowAndAreCutAtTheLimit) {
  auto request = requests()[0];
  request.params.grammar = *cache_.get(grammar::Language::kRegex, "(ab){3}");
  auto g = alone(request);
  EXPECT_EQ(g.text, "ababab");
  EXPECT_EQ(g.finish_reason, FinishReason::kStop);
  request.params.ignore_eos = true;
  request.params.grammar = *cache_.get(grammar::Language::kRegex, "x*");
  request.params.max_tokens = 7;
  g = alone(request);
  EXPECT_EQ(g.finish_reason, FinishReason::kLength);
  EXPECT_EQ(g.text.find_first_not_of('x'), std::string::npos);
  EXPECT_EQ(g.tokens.size(), 7u);
  request.params.grammar = *cache_.get(grammar::Language::kRegex, "");
  g = alone(request);
  EXPECT_EQ(g.text, "");
  EXPECT_EQ(g.finish_reason, FinishReason::kStop);
}

/// As if the others were not in the vocabulary.
TEST_F(GrammarAnswers, SamplersSeeOnlyWhatIsAllowed) {
  std::mt19937 random(3);
  for (const auto& request : requests())
    for (int round = 0; round < 20; ++round) {
      std::vector<float> logits(1000), few;
      std::vector<uint64_t> allowed((logits.size() + 63) / 64, 0);
      std::vector<TokenId> ids;
      for (size_t i = 0; i < logits.size(); ++i) {
        logits[i] = static_cast<float>(random() % 2000) / 100.0f - 10.0f;
        if (random() % 10 != 0) continue;
        allowed[i / 64] |= uint64_t{1} << (i % 64);
        ids.push_back(static_cast<TokenId>(i));
        few.push_back(logits[i]);
      }
      auto params = request.params.sampling;
      params.logit_bias.clear();
      Sampler sampler(params, {}), reduced(params, {});
      const auto chosen = sampler.sample(logits, 7, allowed);
      EXPECT_EQ(chosen, ids[static_cast<size_t>(reduced.sample(few, 7))]);
    }
}

}  // namespace
}  // namespace onebit
