// Programs that all threads walk through together.
#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>

namespace onebit {
namespace {

class Steps : public Program {
 public:
  explicit Steps(size_t phases, std::function<void(Walker&)> steps) : Program(phases), steps_(std::move(steps)) {}

 protected:
  void walk(Walker& walker) override { steps_(walker); }

 private:
  std::function<void(Walker&)> steps_;
};

TEST(ThreadPool, EveryChunkIsDoneOnceAndPhasesComeOneAfterAnother) {
  constexpr uint32_t kPhases = 40, kChunks = 97;
  for (const unsigned threads : {1u, 2u, 3u, 7u, 16u}) {
    std::vector<std::atomic<int>> done(kPhases * kChunks);
    std::atomic<int> too_early{0};
    Steps program(kPhases, [&](Walker& walker) {
      for (uint32_t phase = 0; phase < kPhases; ++phase)
        walker.phase(kChunks, [&, phase](uint32_t chunk) {
          if (phase > 0)
            for (uint32_t i = 0; i < kChunks; ++i) too_early += done[(phase - 1) * kChunks + i] == 0;
          ++done[phase * kChunks + chunk];
        });
    });
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    pool.run(program);
    EXPECT_EQ(too_early, 0);
    for (const auto& count : done) EXPECT_EQ(count, 1);
  }
}

TEST(ThreadPool, WhatComesAfterAPhaseRunsOnceBeforeTheNext) {
  std::atomic<int> chunks{0}, after{0}, idle{0}, wrong{0};
  Steps program(20, [&](Walker& walker) {
    for (int phase = 0; phase < 20; ++phase)
      walker.phase(
          5,
          [&](uint32_t) {
            wrong += after != phase;
            ++chunks;
          },
          [&](auto) { ++idle; }, [&] { ++after; });
  });
  ThreadPool pool(4);
  pool.run(program);
  EXPECT_EQ(chunks, 100);
  EXPECT_EQ(after, 20);
  EXPECT_LE(idle, 3 * 20) << "the one that ends a phase is not idle";
  EXPECT_EQ(wrong, 0);
}

TEST(ThreadPool, PhasesWithoutChunksAndManyRunsWork) {
  std::atomic<int> sum{0};
  auto make = [&] {
    return std::make_unique<Steps>(3, [&](Walker& walker) {
      walker.phase(0, [&](uint32_t) { ++sum; });
      walker.phase(1, [&](uint32_t) { ++sum; });
      walker.phase(0, [&](uint32_t) { ++sum; });
    });
  };
  std::vector<std::unique_ptr<Steps>> programs;
  ThreadPool pool(3);
  for (int run = 0; run < 2000; ++run) {
    const auto idle = std::find_if(programs.begin(), programs.end(), [](const auto& p) { return p->idle(); });
    if (idle != programs.end()) {
      pool.run(**idle);
    } else {
      programs.push_back(make());
      pool.run(*programs.back());
    }
  }
  EXPECT_EQ(sum, 2000);
  EXPECT_LT(programs.size(), 10u) << "programs become idle again";
}

/// A thread that is held up between two phases does not hold up the others.
TEST(ThreadPool, ALateThreadIsNotWaitedFor) {
  using namespace std::chrono_literals;
  std::atomic<bool> came{false}, release{false};
  std::atomic<int> done{0};
  Steps program(2, [&](Walker& walker) {
    if (walker.thread() != 0) came = true;
    walker.phase(1, [&](uint32_t) {
      for (int i = 0; i < 5000 && !came; ++i) std::this_thread::sleep_for(1ms);
    });
    while (walker.thread() != 0 && !release) std::this_thread::sleep_for(1ms);
    walker.phase(10, [&](uint32_t) { ++done; });
  });
  {
    ThreadPool pool(2);
    pool.run(program);  // would never return if it waited for the other
    EXPECT_TRUE(came);
    EXPECT_EQ(done, 10);
    EXPECT_FALSE(program.idle());
    release = true;
  }
  EXPECT_TRUE(program.idle());
}

}  // namespace
}  // namespace onebit
