// Answers from the best logits of a row are those from whole rows, whatever ties; and who can do with the best asks for
// no more.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <random>

#include "backend/best_of_row.h"
#include "engine/generate.h"
#include "engine/model.h"
#include "engine/scheduler.h"
#include "tests/support/test_model.h"

namespace onebit {
namespace {

/// One of the floats next to `base`: dividing them makes equals of some.
float neighbour(float base, int32_t steps) {
  return std::bit_cast<float>(std::bit_cast<int32_t>(base) + steps);
}

uint32_t below(std::mt19937& random, uint32_t n) {
  return static_cast<uint32_t>(random() % n);
}

template <class T, size_t n>
T one_of(std::mt19937& random, const T (&values)[n]) {
  return values[below(random, n)];
}

std::vector<float> random_logits(std::mt19937& random) {
  std::vector<float> logits(1 + below(random, 300));
  const float base = one_of(random, {1.7f, -3.1f, 1e-38f, 3e5f, 12.3f, 1.0f});
  const uint32_t kind = below(random, 3), values = 1 + below(random, 12);
  std::normal_distribution<float> normal(0.0f, 4.0f);
  for (auto& l : logits) {
    if (kind == 0) l = neighbour(base, static_cast<int32_t>(below(random, values)));
    if (kind == 1) l = (static_cast<float>(below(random, values)) - 2.0f) * (below(random, 2) == 0 ? 0.5f : -0.5f);
    if (kind == 2) l = normal(random);
  }
  return logits;
}

SamplingParams random_params(std::mt19937& random) {
  SamplingParams p;
  p.temperature = one_of(random, {0.0f, 1e-6f, 1e-5f, 0.5f, 0.7f, 0.8f, 1.0f, 1.0f, 1.3f, 2.0f, 3.0f, 100.0f});
  p.top_k = 1 + below(random, one_of(random, {3u, 20u, 70u}));
  p.top_p = one_of(random, {1.0f, 0.95f, 0.5f, 0.0f});
  p.typical_p = one_of(random, {1.0f, 1.0f, 0.9f, 0.3f});
  p.min_p = one_of(random, {0.0f, 0.05f, 0.5f, 1.0f});
  p.xtc_probability = one_of(random, {0.0f, 0.5f, 1.0f});
  p.xtc_threshold = one_of(random, {0.0f, 0.02f, 0.1f, 0.5f});
  p.seed = random();
  p.choice = below(random, 3);
  return p;
}

TEST(BestLogits, SamplingFromThemIsSamplingFromAll) {
  std::mt19937 random(5);
  uint32_t decided = 0, undecided = 0, small = 0;
  for (int round = 0; round < 20000; ++round) {
    const auto params = random_params(random);
    Sampler whole(params, {}), best(params, {});
    const uint32_t k = best.candidates();
    if (k == 0) {
      EXPECT_GE(params.top_k, kMostBest);
      continue;
    }
    for (uint32_t position = 0; position < 3; ++position) {
      const auto logits = random_logits(random);
      std::vector<Logits::Candidate> candidates;
      select_best(logits, k, candidates);
      const TokenId expected = whole.sample(logits, position);
      if (!best.decided_by(candidates)) {
        ++undecided;
        continue;
      }
      ++decided;
      small += candidates.size() < k;
      ASSERT_EQ(best.sample(candidates, position), expected)
          << logits.size() << " logits, temperature " << params.temperature << ", top-k " << params.top_k << " of "
          << k;
    }
  }
  EXPECT_GT(decided, 40000u);
  EXPECT_GT(undecided, 1000u) << "ties that the division makes are among them";
  EXPECT_GT(small, 1000u) << "and vocabularies that are smaller";
}

TEST(BestLogits, LogitsThatDifferDecide) {
  std::mt19937 random(6);
  std::vector<float> logits(1000);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i) * 0.01f - 5.0f;
  for (int round = 0; round < 1000; ++round) {
    std::shuffle(logits.begin(), logits.end(), random);
    const Sampler sampler(random_params(random), {});
    std::vector<Logits::Candidate> best;
    select_best(logits, sampler.candidates(), best);
    EXPECT_TRUE(best.empty() || sampler.decided_by(best));
  }
}

TEST(BestLogits, ATieThatTheDivisionMakesIsSeen) {
  // Both come to the same, and so the lower id is the likelier, though its logit is smaller.
  const float t = 0.8f;
  float low = 1.7f;
  while (low / t != neighbour(low, 1) / t) low = neighbour(low, 1);
  const float high = neighbour(low, 1);
  const std::vector<float> logits{0.0f, low, low, high};
  Sampler sampler({.temperature = t, .top_k = 1, .seed = 1}, {});
  ASSERT_EQ(sampler.candidates(), 2u);
  std::vector<Logits::Candidate> best;
  select_best(logits, 2, best);
  EXPECT_EQ(best[0].id, 3);
  EXPECT_FALSE(sampler.decided_by(best)) << "id 2 is not among them, and could be the lowest";
  EXPECT_EQ(sampler.sample(logits, 0), 1);
  // Where no other value comes to the same, equals stand by their ids already.
  EXPECT_TRUE(Sampler({.temperature = 1.0f, .top_k = 1}, {}).decided_by(std::span(best).first(1)));
}

TEST(BestLogits, HowManyAreEnough) {
  const auto enough = [](SamplingParams p) { return Sampler(std::move(p), {}).candidates(); };
  EXPECT_EQ(enough({}), 1u);
  EXPECT_EQ(enough({.temperature = 1e-6f}), 1u);
  EXPECT_EQ(enough({.top_k = 40, .top_p = 0.5f}), 1u);
  EXPECT_EQ(enough({.temperature = 1.0f}), 0u);
  EXPECT_EQ(enough({.temperature = 1.0f, .top_k = 40}), 40u);
  EXPECT_EQ(enough({.temperature = 0.25f, .top_k = 64, .min_p = 0.1f}), 64u);
  EXPECT_EQ(enough({.temperature = 0.7f, .top_k = 40}), 41u);
  EXPECT_EQ(enough({.temperature = 0.7f, .top_k = 63}), 64u);
  EXPECT_EQ(enough({.temperature = 0.7f, .top_k = 64}), 0u);
  EXPECT_EQ(enough({.temperature = 1.0f, .top_k = 65}), 0u);
  for (const float temperature : {0.0f, 1.0f}) {
    EXPECT_EQ(enough({.temperature = temperature, .top_k = 2, .repetition_penalty = 1.1f}), 0u);
    EXPECT_EQ(enough({.temperature = temperature, .top_k = 2, .frequency_penalty = 0.1f}), 0u);
    EXPECT_EQ(enough({.temperature = temperature, .top_k = 2, .presence_penalty = 0.1f}), 0u);
    EXPECT_EQ(enough({.temperature = temperature, .top_k = 2, .dry_multiplier = 0.1f}), 0u);
    EXPECT_EQ(enough({.temperature = temperature, .top_k = 2, .logit_bias = {{1, 1.0f}}}), 0u);
  }
}

/// Counts what is asked for. Where `ties` is above 0, of every logit only so many values, next to each other, are left.
class WatchedBackend final : public Backend {
 public:
  WatchedBackend(Backend& backend, int32_t ties) : backend_(backend), ties_(ties) {}

  const ModelConfig& config() const override { return backend_.config(); }
  uint32_t prefill_chunk() const override { return backend_.prefill_chunk(); }
  std::unique_ptr<KvCache> new_kv_cache() override { return backend_.new_kv_cache(); }
  KvUsage kv_usage() const override { return backend_.kv_usage(); }

  Status forward(std::span<const BatchItem> batch, Logits& logits) override {
    std::vector<BatchItem> whole(batch.begin(), batch.end());
    for (auto& item : whole) {
      best += item.best > 0;
      rows += item.rows != LogitRows::kNone && item.best == 0;
      if (rows > 0 && no_rows) return fail("no row is given");
      if (ties_ > 0) item.best = 0;
    }
    if (ties_ == 0) return backend_.forward(batch, logits);
    Logits all;
    RETURN_IF_ERROR(backend_.forward(whole, all));
    for (float& l : all.values) l = neighbour(1.7f, std::clamp(static_cast<int32_t>(4 * l), -ties_, ties_));
    logits = {{}, all.vocabulary, {0}, {}, {0}};
    for (size_t i = 0; i < batch.size(); ++i) {
      if (batch[i].best > 0) {
        select_best(all.row(i), batch[i].best, logits.best);
      } else {
        const auto begin = all.values.begin() + std::ptrdiff_t{all.first_row[i]} * all.vocabulary;
        const auto end = all.values.begin() + std::ptrdiff_t{all.first_row[i + 1]} * all.vocabulary;
        logits.values.insert(logits.values.end(), begin, end);
      }
      logits.first_row.push_back(static_cast<uint32_t>(logits.values.size() / all.vocabulary));
      logits.first_best.push_back(static_cast<uint32_t>(logits.best.size()));
    }
    return {};
  }

  uint32_t best = 0, rows = 0;  // items that asked for either
  bool no_rows = false;         // who asks for rows gets an error

 private:
  Backend& backend_;
  int32_t ties_;
};

class IdRecorder : public RequestListener {
 public:
  void on_token(Answer::Piece piece) override { ids.push_back(piece.token.id); }
  void on_end(const Outcome& o, std::string) override { outcome = o; }
  std::vector<TokenId> ids;
  std::optional<Outcome> outcome;
};

class BestLogitsAnswers : public ::testing::Test {
 protected:
  BestLogitsAnswers() : model_(*Model::open(test::bundled_model(), {.threads = 2})) {}

  /// Of several kinds, two of which can do with the best.
  std::vector<Request> requests(bool logprobs) {
    std::vector<Request> result;
    for (const SamplingParams& sampling : std::vector<SamplingParams>{{},
                                                                      {.temperature = 0.8f, .top_k = 5, .seed = 1},
                                                                      {.temperature = 0.7f, .top_k = 20, .seed = 2},
                                                                      {.temperature = 1.0f, .top_k = 40, .seed = 3},
                                                                      {.temperature = 1.0f, .seed = 4}})
      for (const char* text : {"Once upon a time ", "The town lies on the river, and the river runs to the sea."})
        result.push_back({model_.tokenizer().encode(text, SpecialTokens::kAsText),
                          {.sampling = sampling, .max_tokens = 30, .ignore_eos = true, .logprobs = logprobs}});
    return result;
  }

  std::vector<std::vector<TokenId>> answers(Backend& backend, const std::vector<Request>& requests) {
    Scheduler scheduler(backend, model_.tokenizer());
    std::vector<std::shared_ptr<IdRecorder>> recorders;
    for (const auto& request : requests) {
      recorders.push_back(std::make_shared<IdRecorder>());
      scheduler.add(request, recorders.back(), std::make_shared<std::atomic<bool>>(false));
    }
    while (scheduler.step()) {
    }
    std::vector<std::vector<TokenId>> result;
    for (const auto& recorder : recorders) {
      EXPECT_TRUE(recorder->outcome && !recorder->outcome->error);
      result.push_back(recorder->ids);
    }
    return result;
  }

  std::vector<TokenId> generated(Backend& backend, const Request& request) {
    Sequence sequence(backend);
    const auto g = generate(sequence, model_.tokenizer(), backend.config(), request.prompt, request.params);
    EXPECT_TRUE(g) << g.error().message;
    std::vector<TokenId> ids;
    for (const auto& token : g->tokens) ids.push_back(token.id);
    return ids;
  }

  Model model_;
};

TEST_F(BestLogitsAnswers, LogprobsChangeNoToken) {
  for (const int32_t ties : {0, 3, 60}) {
    WatchedBackend backend(model_.backend(), ties);
    const auto expected = answers(backend, requests(true));
    EXPECT_EQ(backend.best, 0u) << "log-probabilities are of all logits";
    backend.rows = 0;
    EXPECT_EQ(answers(backend, requests(false)), expected) << ties << " ties";
    EXPECT_EQ(backend.best, 8u * 30);
    if (ties == 0)
      EXPECT_EQ(backend.rows, 2u * 30) << "only who draws from all tokens asks for rows";
    else
      EXPECT_GT(backend.rows, 2u * 30) << "and whom the best did not decide";
    auto with_prompt = requests(false);
    for (size_t i = 0; i < with_prompt.size(); i += 3) with_prompt[i].prompt_logprobs = true;
    EXPECT_EQ(answers(backend, with_prompt), expected);
  }
}

TEST_F(BestLogitsAnswers, OneAnswerIsTheSchedulers) {
  for (const int32_t ties : {0, 3, 60}) {
    WatchedBackend backend(model_.backend(), ties);
    const auto all = requests(false), rows = requests(true);
    for (size_t i = 0; i < all.size(); ++i) {
      const auto expected = generated(backend, rows[i]);
      backend.best = backend.rows = 0;
      EXPECT_EQ(generated(backend, all[i]), expected) << i << ", " << ties << " ties";
      EXPECT_EQ(backend.best, i < 8 ? 30u : 0u);
      EXPECT_TRUE(ties > 0 || backend.rows == (i < 8 ? 0u : 30u));
      auto drafted = all[i];
      drafted.params.lookup = 8;
      backend.best = 0;
      EXPECT_EQ(generated(backend, drafted), expected);
      EXPECT_EQ(backend.best, 0u) << "drafts are checked against whole rows";
    }
  }
}

TEST_F(BestLogitsAnswers, AStepThatFailsWhenItIsTakenAgainEndsTheAnswer) {
  WatchedBackend backend(model_.backend(), 3);
  backend.no_rows = true;
  const auto request = requests(false)[4];
  Scheduler scheduler(backend, model_.tokenizer());
  const auto recorder = std::make_shared<IdRecorder>();
  scheduler.add(request, recorder, std::make_shared<std::atomic<bool>>(false));
  while (scheduler.step()) {
  }
  ASSERT_TRUE(recorder->outcome && recorder->outcome->error);
  EXPECT_EQ(recorder->outcome->error->message, "no row is given");
  Sequence sequence(backend);
  const auto ask = [&] {
    return generate(sequence, model_.tokenizer(), backend.config(), request.prompt, request.params);
  };
  const auto failed = ask();
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().message, "no row is given");
  backend.no_rows = false;
  const auto after = ask();
  ASSERT_TRUE(after) << "the sequence goes on";
  const auto expected = generated(backend, request);
  ASSERT_EQ(after->tokens.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(after->tokens[i].id, expected[i]);
}

}  // namespace
}  // namespace onebit
