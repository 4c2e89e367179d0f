// Several devices behind one engine, and devices that fail in the midst of answers: the GPU module for the host, whose
// devices are lost when a test says so.
#include <gtest/gtest.h>

#include <random>

#include "backend/cpu_backend.h"
#include "backend/gpu_backend.h"
#include "engine/engine_loop.h"
#include "engine/generate.h"
#include "format/synth.h"
#include "kernels/gpu/gpu_host.h"
#include "kernels/gpu/module_host.h"
#include "tests/engine/recorder.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tiny_model.h"

namespace onebit {
namespace {

using test::Waiter;

class EngineDevices : public ::testing::Test {
 protected:
  EngineDevices() {
    auto config = test::tiny_config();
    config.context = 400;
    const auto path = folder_.path("model.h1b");
    EXPECT_TRUE(write_synthetic_model(path, test::tiny_parts(config), {}, 1));
    file_ = std::make_unique<H1bFile>(*H1bFile::open(path));
    tokenizer_ = std::make_unique<Tokenizer>(*Tokenizer::create(*file_->tokenizer()));
    cpu_ = make_cpu_backend(weights(), {.threads = 2});
  }
  ~EngineDevices() override { gpu::host::set_machine({}); }

  ModelWeights weights() const { return *bind_weights(*file_, HeadChoice::kStored); }
  std::unique_ptr<Backend> gpu(int device = 0) const {
    auto backend = make_gpu_backend(weights(), {&gpu::host_module(), "host"}, {.device = device});
    EXPECT_TRUE(backend) << backend.error().message;
    return *std::move(backend);
  }

  static Request request(uint32_t seed, size_t prompt_tokens = 0, uint32_t answer = 12) {
    std::mt19937 random(seed);
    Request r;
    r.prompt.resize(prompt_tokens > 0 ? prompt_tokens : 1 + random() % 100);
    for (auto& id : r.prompt) id = static_cast<TokenId>(random() % 256);
    r.params = {.max_tokens = answer, .ignore_eos = true, .logprobs = seed % 2 == 0};
    if (seed % 3 == 0) r.params.sampling = {.temperature = 1.0f, .seed = seed};
    if (seed % 4 == 0) r.prompt_logprobs = true;
    return r;
  }

  /// What the CPU answers with nobody else there.
  void expect_answered(const Request& request, const Waiter& got) {
    Sequence fresh(*cpu_);
    const auto expected = generate(fresh, *tokenizer_, file_->config(), request.prompt, request.params);
    ASSERT_TRUE(expected);
    ASSERT_TRUE(got.outcome);
    ASSERT_FALSE(got.outcome->error) << got.outcome->error->message;
    ASSERT_EQ(got.tokens.size(), expected->tokens.size());
    for (size_t i = 0; i < got.tokens.size(); ++i) {
      EXPECT_EQ(got.tokens[i].id, expected->tokens[i].id) << i;
      EXPECT_EQ(std::bit_cast<uint32_t>(got.tokens[i].logprob), std::bit_cast<uint32_t>(expected->tokens[i].logprob));
    }
    EXPECT_EQ(got.text, expected->text);
    EXPECT_EQ(got.prompt.size(), request.prompt_logprobs ? request.prompt.size() - 1 : 0);
  }

  static std::shared_ptr<Waiter> ask(EngineLoop& engine, const Request& request) {
    auto waiter = std::make_shared<Waiter>();
    const auto ticket = engine.submit({request}, {waiter});
    EXPECT_EQ(ticket.refusal, EngineLoop::Refusal::kNone) << ticket.reason;
    return waiter;
  }

  /// Asks for all at once, and waits for all.
  void answer_all(EngineLoop& engine, uint32_t count) {
    std::vector<std::shared_ptr<Waiter>> waiters;
    for (uint32_t seed = 0; seed < count; ++seed) waiters.push_back(ask(engine, request(seed)));
    for (uint32_t seed = 0; seed < count; ++seed) {
      waiters[seed]->done.wait(false);
      expect_answered(request(seed), *waiters[seed]);
    }
  }

  test::TempFolder folder_;
  std::unique_ptr<H1bFile> file_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<Backend> cpu_;  // to compare with, and in place of what is lost
};

TEST_F(EngineDevices, WhatALostDeviceLeavesGoesOnOnTheCpuWithTheSameBits) {
  for (const int64_t launches : {0, 40, 300}) {
    const auto device = gpu();
    std::string said;
    std::atomic<int> spares{0};
    {
      EngineLoop engine(*device, *tokenizer_,
                        {.scheduler = {.most_running = 4},
                         .spare = [&]() -> Result<Backend*> {
                           ++spares;
                           return cpu_.get();
                         },
                         .on_loss = [&](const std::string& sentence) { said = sentence; }});
      gpu::host::set_machine({.launches_until_lost = launches});
      std::vector<std::shared_ptr<Waiter>> waiters;
      for (uint32_t seed = 0; seed < 8; ++seed) waiters.push_back(ask(engine, request(seed)));
      for (const auto& waiter : waiters) waiter->done.wait(false);
      EXPECT_EQ(engine.stats().lost, 1u) << launches;
      EXPECT_EQ(engine.stats().devices, 1u);
      EXPECT_EQ(engine.stats().answer_tokens, 8u * 12u) << "none was said twice";
      EXPECT_TRUE(engine.sound());
      const auto later = ask(engine, request(50));
      later->done.wait(false);
      while (!engine.idle()) std::this_thread::yield();
      for (uint32_t seed = 0; seed < 8; ++seed) expect_answered(request(seed), *waiters[seed]);
      expect_answered(request(50), *later);
    }
    EXPECT_EQ(spares, 1);
    EXPECT_NE(said.find("the GPU host:0 failed: the device is lost; its "), std::string::npos) << said;
    EXPECT_NE(said.find("go on with the CPU"), std::string::npos) << said;
    gpu::host::set_machine({});
  }
}

TEST_F(EngineDevices, OfSeveralTheOthersTakeWhatALostOneLeaves) {
  gpu::host::set_machine({.devices = 2});
  const auto first = gpu(0), second = gpu(1);
  int spares = 0;
  EngineLoop engine({first.get(), second.get()}, *tokenizer_,
                    {.scheduler = {.most_running = 4}, .spare = [&]() -> Result<Backend*> {
                       ++spares;
                       return fail("none is wanted");
                     }});
  gpu::host::set_machine({.devices = 2, .launches_until_lost = 60, .lost_device = 1});
  answer_all(engine, 12);
  EXPECT_EQ(engine.stats().lost, 1u);
  EXPECT_EQ(engine.stats().devices, 1u);
  EXPECT_EQ(spares, 0);
  EXPECT_TRUE(second->lost());
  EXPECT_FALSE(first->lost());
}

TEST_F(EngineDevices, WithoutAnythingInItsPlaceRequestsFail) {
  const auto device = gpu();
  EngineLoop engine(*device, *tokenizer_);
  gpu::host::set_machine({.launches_until_lost = 30});
  const auto one = ask(engine, request(1, 50, 300)), two = ask(engine, request(2, 60, 300));
  for (const auto& waiter : {one, two}) {
    waiter->done.wait(false);
    ASSERT_TRUE(waiter->outcome->error);
    EXPECT_NE(waiter->outcome->error->message.find("the device is lost"), std::string::npos);
  }
  EXPECT_FALSE(engine.sound());
  EXPECT_EQ(engine.submit({request(3)}, {std::make_shared<Waiter>()}).refusal, EngineLoop::Refusal::kLost);
  EXPECT_EQ(engine.room_for(1).refusal, EngineLoop::Refusal::kLost);
}

TEST_F(EngineDevices, RequestsGoWhereTheirBeginningIsKnownAndElseWhereThereAreFewest) {
  gpu::host::set_machine({.devices = 2});
  const auto first = gpu(0), second = gpu(1);
  EngineLoop engine({first.get(), second.get()}, *tokenizer_);
  const auto answered = [&](const Request& r) {
    const auto waiter = ask(engine, r);
    waiter->done.wait(false);
    while (!engine.idle()) std::this_thread::yield();
    expect_answered(r, *waiter);
    return waiter->outcome->cached_tokens;
  };
  const auto a = request(1, 200, 4), b = request(5, 200, 4);
  EXPECT_EQ(answered(a), 0u);
  EXPECT_GT(first->kv_usage().pages, 0u);
  EXPECT_EQ(answered(b), 0u);
  EXPECT_GT(second->kv_usage().pages, 0u) << "the emptier one";
  for (const auto& known : {b, a, a, b}) EXPECT_GE(answered(known), 192u);
  const auto pages = first->kv_usage().pages + second->kv_usage().pages;
  EXPECT_EQ(engine.stats().kv_pages, pages);
  EXPECT_EQ(engine.stats().steps, 2 * 4 + 4 * 4u);

  // Where many come, what is known does not outweigh who waits: both work.
  std::vector<std::shared_ptr<Waiter>> waiters;
  for (uint32_t seed = 0; seed < 12; ++seed) {
    auto r = a;
    r.params.sampling = {.temperature = 1.0f, .seed = seed};
    r.prompt.push_back(static_cast<TokenId>(seed));
    waiters.push_back(ask(engine, r));
  }
  for (const auto& waiter : waiters) waiter->done.wait(false);
  uint32_t computed = 0;
  for (const auto& waiter : waiters) computed += waiter->outcome->cached_tokens < 192;
  EXPECT_GT(computed, 0u);
}

TEST_F(EngineDevices, ManyThreadsAndDevicesThatGoOneAfterTheOther) {
  gpu::host::set_machine({.devices = 3});
  const auto a = gpu(0), b = gpu(1), c = gpu(2);
  EngineLoop engine({a.get(), b.get(), c.get()}, *tokenizer_,
                    {.scheduler = {.most_running = 3}, .spare = [&]() -> Result<Backend*> { return cpu_.get(); }});
  std::vector<std::shared_ptr<Waiter>> waiters(24);
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < 3; ++t)
    threads.emplace_back([&, t] {
      for (uint32_t i = t; i < waiters.size(); i += 3) {
        waiters[i] = ask(engine, request(i));
        waiters[i]->done.wait(false);
        if (i == 9) gpu::host::set_machine({.devices = 3, .launches_until_lost = 0, .lost_device = 1});
        if (i == 15) gpu::host::set_machine({.devices = 3, .launches_until_lost = 0});  // all
      }
    });
  for (auto& thread : threads) thread.join();
  while (!engine.idle()) std::this_thread::yield();
  for (uint32_t i = 0; i < waiters.size(); ++i) expect_answered(request(i), *waiters[i]);
  EXPECT_GE(engine.stats().lost, 1u);
}

TEST_F(EngineDevices, AnAnswerAloneGoesOnToo) {
  for (const int64_t launches : {0, 5, 33}) {
    const auto device = gpu();
    gpu::host::set_machine({.launches_until_lost = launches});
    int spares = 0;
    Sequence sequence(*device, [&](const Error& loss) -> Result<Backend*> {
      ++spares;
      EXPECT_NE(loss.message.find("the device is lost"), std::string::npos);
      return cpu_.get();
    });
    auto r = request(3, 90, 40);
    r.params.lookup = launches == 5 ? 8 : 0;
    const auto got = generate(sequence, *tokenizer_, file_->config(), r.prompt, r.params);
    ASSERT_TRUE(got) << got.error().message;
    EXPECT_EQ(spares, 1);
    Sequence fresh(*cpu_);
    EXPECT_EQ(got->text, generate(fresh, *tokenizer_, file_->config(), r.prompt, r.params)->text);
    gpu::host::set_machine({});
  }
  const auto device = gpu();
  gpu::host::set_machine({.launches_until_lost = 7});
  Sequence sequence(*device, [](const Error&) -> Result<Backend*> { return fail("no spare"); });
  const auto r = request(3, 90, 40);
  const auto got = generate(sequence, *tokenizer_, file_->config(), r.prompt, r.params);
  ASSERT_FALSE(got);
  EXPECT_NE(got.error().message.find("the device is lost"), std::string::npos) << got.error().message;
}

}  // namespace
}  // namespace onebit
