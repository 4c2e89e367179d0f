// Embeddings: what the numerics contract says of them, by every engine, whatever shares their steps.
#include "engine/pooling.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "engine/engine_loop.h"
#include "engine/model.h"
#include "tests/engine/recorder.h"
#include "tests/support/test_model.h"

namespace onebit {
namespace {

class Embedded : public test::Recorder {
 public:
  void on_embedding(std::vector<float> e) override { embedding = std::move(e); }
  std::vector<float> embedding;
};

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/// As docs/numerics.md, 9 says it, from the states that one step gives.
std::vector<float> by_definition(Backend& backend, std::span<const TokenId> tokens, Pooling pooling) {
  const auto kv = backend.new_kv_cache();
  Logits logits;
  const BatchItem item{kv.get(), tokens, LogitRows::kNone, 0, LogitRows::kAll};
  const auto status = backend.forward({&item, 1}, logits);
  EXPECT_TRUE(status) << status.error().message;
  std::vector<float> e(logits.hidden, 0.0f);
  for (size_t i = 0; i < tokens.size(); ++i)
    for (size_t d = 0; d < e.size(); ++d)
      e[d] = pooling == Pooling::kMean ? e[d] + logits.state(0, i)[d] : logits.state(0, i)[d];
  double squares = 0;
  for (float& v : e) {
    if (pooling == Pooling::kMean) v /= static_cast<float>(tokens.size());
    squares += double{v} * double{v};
  }
  for (float& v : e) v = static_cast<float>(double{v} / std::sqrt(squares));
  return e;
}

class PoolingTest : public ::testing::Test {
 protected:
  Model open(Engine engine, unsigned threads) {
    ModelOptions options;
    options.engine = engine;
    options.threads = threads;
    return *Model::open(test::bundled_model(), options);
  }
  Request request(const Model& model, const std::string& text, Pooling pooling) {
    Request r;
    r.prompt = model.tokenizer().encode(text, SpecialTokens::kAsText);
    r.pooling = pooling;
    return r;
  }
  std::string long_text() const {
    std::string text;
    for (int i = 0; i < 60; ++i) text += "The town number " + std::to_string(i) + " lies on the river. ";
    return text;
  }
};

TEST_F(PoolingTest, EveryEngineAndAnyNumberOfThreadsGiveTheSameBits) {
  auto reference = open(Engine::kReference, 1), one = open(Engine::kGen2, 1), three = open(Engine::kGen2, 3);
  const auto tokens = reference.tokenizer().encode("The capital of France is Paris.", SpecialTokens::kAsText);
  for (const auto pooling : {Pooling::kMean, Pooling::kLast}) {
    const auto expected = by_definition(reference.backend(), tokens, pooling);
    EXPECT_TRUE(same_bits(by_definition(one.backend(), tokens, pooling), expected));
    EXPECT_TRUE(same_bits(by_definition(three.backend(), tokens, pooling), expected));
    double length = 0;
    for (const float v : expected) length += double{v} * double{v};
    EXPECT_NEAR(length, 1.0, 1e-6);
  }
}

TEST_F(PoolingTest, WhatSharesTheStepsAndWhatIsRememberedChangeNoBit) {
  auto model = open(Engine::kGen2, 2);
  std::vector<Request> requests;
  for (const auto pooling : {Pooling::kMean, Pooling::kLast})
    for (const auto& text :
         {std::string("Paris"), std::string("Once upon a time"), long_text(), long_text() + "And more."})
      requests.push_back(request(model, text, pooling));
  SchedulerOptions options;
  options.kv_bytes = 20 * model.backend().kv_usage().page_bytes;  // few: some are put back
  for (const bool cache : {true, false}) {
    options.prefix_cache = cache;
    Scheduler scheduler(model.backend(), model.tokenizer(), options);
    for (int round = 0; round < 2; ++round) {
      std::vector<std::shared_ptr<Embedded>> listeners;
      auto answering = std::make_shared<test::Recorder>();
      Request answer;
      answer.prompt = requests[1].prompt;
      answer.params.max_tokens = 30;
      scheduler.add(answer, answering, answering->cancelled);
      for (const auto& r : requests) {
        ASSERT_TRUE(scheduler.check(r));
        listeners.push_back(std::make_shared<Embedded>());
        scheduler.add(r, listeners.back(), listeners.back()->cancelled);
      }
      while (scheduler.step()) {
      }
      for (size_t i = 0; i < requests.size(); ++i) {
        ASSERT_TRUE(listeners[i]->outcome && !listeners[i]->outcome->error);
        EXPECT_TRUE(listeners[i]->tokens.empty());
        EXPECT_TRUE(
            same_bits(listeners[i]->embedding, by_definition(model.backend(), requests[i].prompt, requests[i].pooling)))
            << "request " << i << " round " << round << " cache " << cache;
      }
    }
  }
}

TEST_F(PoolingTest, StatesComeBesideLogitsAndOnlyWhereAskedFor) {
  auto model = open(Engine::kGen2, 2);
  auto& backend = model.backend();
  const auto tokens = model.tokenizer().encode("Once upon a time there was", SpecialTokens::kAsText);
  const auto a = backend.new_kv_cache(), b = backend.new_kv_cache(), c = backend.new_kv_cache();
  const BatchItem batch[] = {{a.get(), tokens, LogitRows::kAll, 0, LogitRows::kNone},
                             {b.get(), tokens, LogitRows::kLast, 0, LogitRows::kLast},
                             {c.get(), tokens, LogitRows::kNone, 0, LogitRows::kAll}};
  Logits logits;
  ASSERT_TRUE(backend.forward(batch, logits));
  EXPECT_EQ(logits.states.size(), (1 + tokens.size()) * model.file().config().hidden);
  const auto last = logits.state(1), same = logits.state(2, tokens.size() - 1);
  EXPECT_TRUE(std::equal(last.begin(), last.end(), same.begin()));
  const auto row = logits.row(0, tokens.size() - 1), other = logits.row(1);
  EXPECT_TRUE(std::equal(row.begin(), row.end(), other.begin()));
}

TEST(Pool, ZerosStayZerosAndOneTokenIsItself) {
  Pool zeros(Pooling::kMean);
  zeros.add(std::vector<float>{0.0f, 0.0f});
  EXPECT_EQ(zeros.embedding(), (std::vector<float>{0.0f, 0.0f}));
  Pool tiny(Pooling::kLast);
  tiny.add(std::vector<float>{3e-30f, 4e-30f});  // squares in binary32 would be zero
  EXPECT_EQ(tiny.embedding(), (std::vector<float>{0.6f, 0.8f}));
  Pool huge(Pooling::kMean);
  huge.add(std::vector<float>{std::numeric_limits<float>::max(), 0.0f});
  EXPECT_EQ(huge.embedding(), (std::vector<float>{1.0f, 0.0f}));
}

}  // namespace
}  // namespace onebit
