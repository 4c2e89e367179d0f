#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "engine/engine_loop.h"
#include "engine/generate.h"
#include "engine/model.h"
#include "tests/engine/recorder.h"
#include "tests/support/test_model.h"

namespace onebit {
namespace {

using test::Recorder;
using test::Waiter;

class SchedulerTest : public ::testing::Test {
 protected:
  SchedulerTest() : model_(*Model::open(test::bundled_model())), alone_(model_.backend()) {}

  const Tokenizer& tokenizer() const { return model_.tokenizer(); }

  std::shared_ptr<Recorder> add(Scheduler& scheduler, const Request& request) {
    EXPECT_TRUE(scheduler.check(request));
    auto recorder = std::make_shared<Recorder>();
    scheduler.add(request, recorder, recorder->cancelled);
    return recorder;
  }

  /// The same request with nobody else, from an empty cache.
  Generation alone(const Request& request) {
    Sequence fresh(model_.backend());
    auto result = generate(fresh, tokenizer(), model_.file().config(), request.prompt, request.params);
    EXPECT_TRUE(result) << result.error().message;
    return *std::move(result);
  }

  /// The beginning that there is, bit for bit; all of it unless it was cancelled.
  void expect_same(const Recorder& got, const Generation& expected) {
    ASSERT_TRUE(got.outcome);
    ASSERT_FALSE(got.outcome->error) << got.outcome->error->message;
    const bool cut = got.outcome->reason == FinishReason::kCancelled;
    if (!cut) {
      EXPECT_EQ(got.text, expected.text);
      EXPECT_EQ(got.outcome->reason, expected.finish_reason);
      ASSERT_EQ(got.tokens.size(), expected.tokens.size());
    }
    ASSERT_LE(got.tokens.size(), expected.tokens.size());
    for (size_t i = 0; i < got.tokens.size(); ++i) {
      ASSERT_EQ(got.tokens[i].id, expected.tokens[i].id) << "token " << i;
      EXPECT_EQ(std::bit_cast<uint32_t>(got.tokens[i].logprob), std::bit_cast<uint32_t>(expected.tokens[i].logprob));
    }
  }

  Request random_request(std::mt19937& random) {
    static constexpr std::array<std::string_view, 3> kBeginnings{
        "The town lies on the river, and the river runs to the sea, where the ships are. ", "Once upon a time ",
        "1 2 3 4 "};
    Request r;
    std::string text;
    for (uint64_t i = random() % 12; i-- > 0;) text += kBeginnings[random() % kBeginnings.size()];
    text += kBeginnings[random() % kBeginnings.size()];
    r.prompt = tokenizer().encode(text, SpecialTokens::kAsText);
    r.params.max_tokens = 1 + static_cast<uint32_t>(random() % 40);
    r.params.ignore_eos = true;
    r.params.logprobs = true;
    if (random() % 2 == 0)
      r.params.sampling = {.temperature = 1.0f, .top_k = 40, .repetition_penalty = 1.1f, .seed = random()};
    return r;
  }

  Model model_;
  Sequence alone_;
};

TEST_F(SchedulerTest, RandomArrivalsAndCancellationsChangeNoBit) {
  std::mt19937 random(7);
  std::vector<Request> requests;
  std::vector<Generation> expected;
  for (int i = 0; i < 40; ++i) {
    requests.push_back(random_request(random));
    expected.push_back(alone(requests.back()));
  }
  const auto page = model_.backend().kv_usage();
  for (const uint64_t pages : {uint64_t{400}, uint64_t{14}}) {  // plenty, and so few that requests are put back
    Scheduler scheduler(model_.backend(), tokenizer(), {.most_running = 6, .kv_bytes = pages * page.page_bytes});
    std::vector<std::shared_ptr<Recorder>> recorders;
    bool more = true;
    while (more || recorders.size() < requests.size()) {
      while (recorders.size() < requests.size() && random() % 3 != 0) {
        recorders.push_back(add(scheduler, requests[recorders.size()]));
        if (random() % 4 == 0) recorders.back()->cancel_after = 1 + random() % 10;
      }
      more = scheduler.step();
      EXPECT_LE(model_.backend().kv_usage().pages, pages);
      if (random() % 5 == 0 && !recorders.empty()) recorders[random() % recorders.size()]->cancelled->store(true);
    }
    for (size_t i = 0; i < requests.size(); ++i) expect_same(*recorders[i], expected[i]);
    EXPECT_GT(scheduler.stats().cached_tokens, 0u);
    EXPECT_EQ(scheduler.stats().running, 0u);
  }
  EXPECT_EQ(model_.backend().kv_usage().pages, page.pages) << "all memory came back";
}

TEST_F(SchedulerTest, WhoDoesNotFitTogetherIsPutBackAndGoesOn) {
  const auto prompt = tokenizer().encode("Once upon a time there was a king.", SpecialTokens::kAsText);
  Request request{.prompt = prompt, .params = {.max_tokens = 150, .ignore_eos = true, .logprobs = true}};
  const auto page = model_.backend().kv_usage();
  Scheduler scheduler(model_.backend(), tokenizer(), {.kv_bytes = 5 * page.page_bytes});  // each comes to need 3
  std::vector<std::shared_ptr<Recorder>> recorders;
  for (uint64_t seed = 0; seed < 4; ++seed) {
    request.params.sampling = {.temperature = 1.0f, .seed = seed};
    recorders.push_back(add(scheduler, request));
  }
  while (scheduler.step()) EXPECT_LE(model_.backend().kv_usage().pages, page.pages + 5);
  EXPECT_GT(scheduler.stats().preemptions, 0u);
  for (uint64_t seed = 0; seed < 4; ++seed) {
    request.params.sampling.seed = seed;
    expect_same(*recorders[seed], alone(request));
  }
}

TEST_F(SchedulerTest, CancellingEndsARequestInEveryStateWithinAStep) {
  Scheduler scheduler(model_.backend(), tokenizer(), {.most_running = 1, .prefix_cache = false});
  std::mt19937 random(3);
  const std::vector<TokenId> long_prompt(3000, 100);
  const auto prefilling = add(scheduler, {.prompt = long_prompt});
  const auto queued = add(scheduler, {.prompt = {1, 2, 3}});
  scheduler.step();
  EXPECT_FALSE(prefilling->outcome);
  const auto before = model_.backend().kv_usage().pages;
  EXPECT_GT(before, 0u);
  queued->cancelled->store(true);
  prefilling->cancelled->store(true);
  EXPECT_FALSE(scheduler.step());
  ASSERT_TRUE(queued->outcome && prefilling->outcome);
  EXPECT_EQ(queued->outcome->reason, FinishReason::kCancelled);
  EXPECT_EQ(prefilling->outcome->reason, FinishReason::kCancelled);
  EXPECT_EQ(model_.backend().kv_usage().pages, 0u);
}

TEST_F(SchedulerTest, AShortRequestOvertakesALongPrompt) {
  Scheduler scheduler(model_.backend(), tokenizer(), {.prefix_cache = false});
  const auto slow = add(scheduler, {.prompt = std::vector<TokenId>(4000, 100), .params = {.max_tokens = 2}});
  scheduler.step();
  const auto quick = add(scheduler, {.prompt = {1, 2, 3}, .params = {.max_tokens = 3}});
  int steps = 0;
  while (!quick->outcome && steps < 10) {
    scheduler.step();
    ++steps;
  }
  EXPECT_TRUE(quick->outcome) << "after " << steps << " steps";
  EXPECT_FALSE(slow->outcome);
  while (scheduler.step()) {
  }
  EXPECT_EQ(slow->outcome->answer_tokens, 2u);
}

TEST_F(SchedulerTest, LogprobsOfThePromptAreThoseOfItsAnswers) {
  Scheduler scheduler(model_.backend(), tokenizer());
  auto prompt =
      tokenizer().encode("The town lies on the river, and the river runs to the sea. ", SpecialTokens::kAsText);
  while (prompt.size() < 150) prompt.insert(prompt.end(), prompt.begin(), prompt.begin() + 10);
  Request request{.prompt = prompt,
                  .params = {.max_tokens = 60, .ignore_eos = true, .logprobs = true, .top_logprobs = 3}};
  const auto first = add(scheduler, request);
  while (scheduler.step()) {
  }
  for (const auto& token : first->tokens) request.prompt.push_back(token.id);
  request.params.max_tokens = 5;
  request.prompt_logprobs = true;
  const auto second = add(scheduler, request);
  request.prompt_only = true;
  const auto third = add(scheduler, request);
  while (scheduler.step()) {
  }
  ASSERT_EQ(second->prompt.size(), request.prompt.size() - 1);
  EXPECT_EQ(second->tokens.size(), 5u);
  EXPECT_EQ(third->tokens.size(), 0u);
  for (size_t i = 0; i < first->tokens.size(); ++i) {
    const auto& expected = first->tokens[i];
    for (const auto* echoed : {&second->prompt[prompt.size() - 1 + i], &third->prompt[prompt.size() - 1 + i]}) {
      EXPECT_EQ(echoed->id, expected.id);
      EXPECT_EQ(std::bit_cast<uint32_t>(echoed->logprob), std::bit_cast<uint32_t>(expected.logprob)) << i;
      ASSERT_EQ(echoed->top.size(), 3u);
      EXPECT_EQ(echoed->top[2].id, expected.top[2].id);
    }
  }
}

TEST_F(SchedulerTest, ChoicesOfOnePromptComputeItOnce) {
  Scheduler scheduler(model_.backend(), tokenizer());
  Request request{.prompt = std::vector<TokenId>(1024, 100), .params = {.max_tokens = 4}};
  std::vector<std::shared_ptr<Recorder>> recorders;
  for (uint32_t choice = 0; choice < 4; ++choice) {
    request.params.sampling = {.temperature = 1.0f, .seed = 5, .choice = choice};
    recorders.push_back(add(scheduler, request));
  }
  while (scheduler.step()) {
  }
  EXPECT_LT(scheduler.stats().prompt_tokens, 1024u + 3 * 65);
  EXPECT_EQ(recorders[3]->outcome->cached_tokens, 1023u / 64 * 64 + 63);
}

TEST_F(SchedulerTest, TenantsShareNothingButTheMemory) {
  Scheduler scheduler(model_.backend(), tokenizer());
  std::mt19937 random(11);
  auto request = random_request(random);
  while (request.prompt.size() < 150) request = random_request(random);
  const auto expected = alone(request);
  const auto known = [&](uint32_t tenant) { return scheduler.known(request.prompt, tenant); };
  const auto run = [&](std::vector<uint32_t> tenants) {
    std::vector<std::shared_ptr<Recorder>> all;
    for (const uint32_t tenant : tenants) {
      request.tenant = tenant;
      all.push_back(add(scheduler, request));
    }
    while (scheduler.step()) {
    }
    for (const auto& one : all) expect_same(*one, expected);
    return all;
  };
  EXPECT_EQ(run({1})[0]->outcome->cached_tokens, 0u);
  EXPECT_GE(known(1), 128u);
  EXPECT_EQ(known(0), 0u);
  EXPECT_EQ(known(2), 0u);
  EXPECT_EQ(scheduler.remembered(request.prompt, 2), nullptr);
  const auto together = run({2, 1, 3, 3});
  EXPECT_EQ(together[0]->outcome->cached_tokens, 0u);
  EXPECT_GE(together[1]->outcome->cached_tokens, 128u);
  EXPECT_EQ(together[2]->outcome->cached_tokens, 0u);
  EXPECT_GE(together[3]->outcome->cached_tokens, 128u) << "it waits for its own tenant's prompt";
}

TEST_F(SchedulerTest, SaysWhatCannotBeRun) {
  const auto page = model_.backend().kv_usage();
  const Scheduler scheduler(model_.backend(), tokenizer(), {.kv_bytes = 2 * page.page_bytes});
  EXPECT_TRUE(scheduler.check({.prompt = std::vector<TokenId>(127, 1)}));
  EXPECT_TRUE(scheduler.check({.prompt = std::vector<TokenId>(128, 1), .prompt_only = true}));
  EXPECT_EQ(scheduler.check({.prompt = std::vector<TokenId>(128, 1)}).error().message,
            "the prompt has 128 tokens, and this server's memory for keys and values (--kv-memory) holds 128 with the "
            "answer");
  EXPECT_FALSE(scheduler.check({.prompt = {}}));
  EXPECT_FALSE(scheduler.check({.prompt = {-1}}));
  EXPECT_FALSE(scheduler.check({.prompt = {8192}}));
}

TEST_F(SchedulerTest, AnAnswerEndsWhereMemoryForItDoes) {
  const auto page = model_.backend().kv_usage();
  for (const uint32_t most : {0u, 500u, 28u, 5u}) {
    Scheduler scheduler(model_.backend(), tokenizer(), {.kv_bytes = 2 * page.page_bytes});
    const Request request{.prompt = std::vector<TokenId>(100, 300), .params = {.max_tokens = most, .ignore_eos = true}};
    ASSERT_TRUE(scheduler.check(request));
    const auto recorder = std::make_shared<Recorder>();
    scheduler.add(request, recorder, std::make_shared<std::atomic<bool>>(false));
    while (scheduler.step()) {
    }
    EXPECT_EQ(recorder->outcome->answer_tokens, most == 5 ? 5u : 28u);
    EXPECT_EQ(recorder->outcome->reason, FinishReason::kLength);
  }
}

TEST_F(SchedulerTest, TheEngineServesManyThreads) {
  EngineLoop engine(model_.backend(), tokenizer(), {.scheduler = {.most_running = 8}});
  std::mt19937 random(11);
  std::vector<Request> requests;
  std::vector<Generation> expected;
  for (int i = 0; i < 12; ++i) {
    requests.push_back(random_request(random));
    Sequence fresh(model_.backend());
  }
  std::vector<std::shared_ptr<Waiter>> waiters(requests.size());
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 3; ++t)
    threads.emplace_back([&, t] {
      for (size_t i = t; i < requests.size(); i += 3) {
        waiters[i] = std::make_shared<Waiter>();
        const auto ticket = engine.submit({requests[i]}, {waiters[i]});
        EXPECT_EQ(ticket.refusal, EngineLoop::Refusal::kNone) << ticket.reason;
        if (i % 4 == 3) ticket.cancel();
        waiters[i]->done.wait(false);
      }
    });
  for (auto& thread : threads) thread.join();
  while (!engine.idle()) std::this_thread::yield();
  for (size_t i = 0; i < requests.size(); ++i) expect_same(*waiters[i], alone(requests[i]));
  engine.drain();
  EXPECT_EQ(engine.submit({requests[0]}, {waiters[0]}).refusal, EngineLoop::Refusal::kDraining);
}

TEST_F(SchedulerTest, TheEngineRefusesWhatItCannotHoldAndEndsWhatItLeaves) {
  auto waiting = std::make_shared<Waiter>();
  {
    EngineLoop engine(model_.backend(), tokenizer(), {.scheduler = {.most_running = 1}, .most_waiting = 3});
    const Request request{.prompt = std::vector<TokenId>(2000, 100)};
    EXPECT_EQ(engine.submit({request}, {waiting}).refusal, EngineLoop::Refusal::kNone);
    int refused = 0;
    for (int i = 0; i < 6; ++i)
      refused += engine.submit({request}, {std::make_shared<Waiter>()}).refusal == EngineLoop::Refusal::kFull;
    EXPECT_GE(refused, 2);
    EXPECT_EQ(engine.submit({Request{}}, {waiting}).refusal, EngineLoop::Refusal::kInvalid);
  }
  ASSERT_TRUE(waiting->outcome);
  EXPECT_EQ(waiting->outcome->reason, FinishReason::kCancelled);
}

}  // namespace
}  // namespace onebit
