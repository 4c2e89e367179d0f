// The host's implementation of the GPU shim: what it does beyond what gpu_shim_test.cc asks of each, above all that it
// says what a GPU would hang on.
#include <thread>

#include "tests/kernels/gpu_memory.h"

namespace onebit::gpu {
namespace {

class GpuHost : public GpuTest {
 protected:
  ~GpuHost() override { host::set_machine({}); }
};

/// Sums what the threads before leave in shared memory: the same in every order if the barriers are kept.
GPU_KERNEL(128, 1) fold(const uint32_t* values, uint32_t* out) {
  auto* shared = reinterpret_cast<uint32_t*>(shared_memory());
  shared[thread()] = values[block() * threads() + thread()];
  for (uint32_t half = threads() / 2; half > 0; half /= 2) {
    sync_block();
    if (thread() < half) shared[thread()] = shared[thread()] * 3 + shared[thread() + half];
  }
  if (thread() == 0) out[block()] = shared[0];
}

TEST_F(GpuHost, ResultsDoNotDependOnTheOrderOfThreads) {
  std::vector<uint32_t> values(128, 5), first;
  for (const uint32_t order : {0u, 1u, 2u, 77u, 1234567u}) {
    host::set_machine({.order = order});
    auto* p = device<uint32_t>(1);
    launch(fold, {.threads = 128, .shared_bytes = 512}, nullptr, outcome_, device(values), p);
    const auto got = host(p, 1);
    if (first.empty()) first = got;
    EXPECT_EQ(got, first) << order;
  }
}

/// Every thread counts how many came before it; without a barrier that is the order they were let run in.
GPU_KERNEL(64, 1) places(uint32_t* count, uint32_t* out) {
  out[thread()] = atomic_add(count, 1u);
}

TEST_F(GpuHost, OrdersDiffer) {
  std::vector<std::vector<uint32_t>> seen;
  for (const uint32_t order : {0u, 1u, 2u}) {
    host::set_machine({.order = order});
    auto* p = device<uint32_t>(64);
    launch(places, {.threads = 64}, nullptr, outcome_, device(std::vector<uint32_t>{0}), p);
    for (const auto& other : seen) EXPECT_NE(host(p, 64), other);
    seen.push_back(host(p, 64));
  }
}

GPU_KERNEL(64, 1) look_at_shared(uint32_t* out, uint32_t* write) {
  auto* shared = reinterpret_cast<uint32_t*>(shared_memory());
  out[block() * 64 + thread()] = shared[thread()];
  shared[thread()] = *write;
}

TEST_F(GpuHost, SharedAndDeviceMemoryStartPoisoned) {
  auto* out = device<uint32_t>(128);
  auto* zero = device(std::vector<uint32_t>{0});
  EXPECT_EQ(host(out, 128), std::vector<uint32_t>(128, 0x7f7f7f7f));
  fill_zero(out, 512, nullptr, outcome_);
  EXPECT_EQ(host(out, 128), std::vector<uint32_t>(128, 0));
  launch(look_at_shared, {.blocks = 2, .threads = 64, .shared_bytes = 256}, nullptr, outcome_, out, zero);
  EXPECT_EQ(host(out, 128), std::vector<uint32_t>(128, 0x7f7f7f7f));
}

/// Copies 16 bytes a thread, three times, and looks at them before all have arrived.
GPU_KERNEL(32, 1) early(const uint32_t* from, uint32_t* seen) {
  auto* shared = reinterpret_cast<uint32_t*>(shared_memory());
  for (uint32_t i = 0; i < 3; ++i) {
    copy_async(shared + i * 128 + 4 * thread(), from + i * 128 + 4 * thread());
    copy_async_commit();
  }
  copy_async_wait<1>();
  for (uint32_t i = 0; i < 3; ++i) seen[i * 32 + thread()] = shared[i * 128 + 4 * thread()];
}

TEST_F(GpuHost, AsyncCopiesArriveWhenTheyAreWaitedForNotBefore) {
  auto* seen = device<uint32_t>(96);
  launch(early, {.threads = 32, .shared_bytes = 1536}, nullptr, outcome_, device(std::vector<uint32_t>(384, 9)), seen);
  for (uint32_t i = 0; i < 96; ++i) EXPECT_EQ(host(seen, 96)[i], i < 64 ? 9 : 0x7f7f7f7f);
}

GPU_KERNEL(64, 1) diverge(uint32_t how) {
  switch (how) {
    case 0:  // some end
      if (thread() == 40) return;
      sync_block();
      break;
    case 1:  // within a warp, two kinds
      if (thread() % 2 == 0) {
        sync_warp();
      } else {
        shuffle(1, 0);
      }
      break;
    case 2:  // within a warp, two places: on AMD's machines each would see half of it
      if (thread() % 2 == 0) {
        sync_warp();
      } else {
        sync_warp();
      }
      break;
    case 3:  // a warp's barrier in a warp whose other half waits for the block
      if (thread() < 16) sync_warp();
      sync_block();
      break;
    case 4:  // waiting for a thread that waits for us
      if (thread() == 0) {
        auto* flag = reinterpret_cast<uint32_t*>(shared_memory());
        while (load_acquire(flag) == 0x7f7f7f7f) pause();
      }
      sync_block();
      break;
    case 5:
      shuffle_xor(1, 32);
      break;
    default:  // whole warps at different places of the program are fine
      if (thread() < 32) {
        sync_block();
      } else {
        sync_block();
      }
  }
}

TEST_F(GpuHost, BarriersThatNotAllReachAreErrors) {
  const char* texts[] = {"has ended",           "a shuffle",           "sync_warp at gpu_host_test.cc",
                         "sync_block at gpu_h", "nobody goes on: thr", "shuffle_xor beyond the warp: thread"};
  const LaunchShape shape{.blocks = 3, .threads = 64, .shared_bytes = 4};
  for (uint32_t how = 0; how < 6; ++how) {
    Outcome outcome;
    launch(diverge, shape, nullptr, outcome, how);
    EXPECT_FALSE(outcome.ok()) << how;
    EXPECT_NE(outcome.text().find(texts[how]), std::string::npos) << outcome.text();
    outcome.clear();
    // What was left in the middle of its work does not disturb the next launch.
    auto* p = device<uint32_t>(1);
    launch(fold, {.threads = 64, .shared_bytes = 256}, nullptr, outcome, device(std::vector<uint32_t>(64, 1)), p);
    EXPECT_TRUE(outcome.ok()) << outcome.text();
    EXPECT_EQ(host(p, 1)[0], 4096u);
  }
  launch(diverge, shape, nullptr, outcome_, 6);
  EXPECT_TRUE(outcome_.ok()) << outcome_.text();
}

TEST_F(GpuHost, LaunchesThatDoNotFitAreErrors) {
  auto* in = device(std::vector<uint32_t>(1024));
  auto* out = device<uint32_t>(1);
  const auto refused = [&](const LaunchShape& shape) {
    Outcome outcome;
    launch(fold, shape, nullptr, outcome, in, out);
    return !outcome.ok();
  };
  EXPECT_TRUE(refused({.blocks = 0, .threads = 32}));
  EXPECT_TRUE(refused({.threads = 48}));
  EXPECT_TRUE(refused({.threads = 2048}));
  EXPECT_TRUE(refused({.blocks = 7, .threads = 32, .shared_bytes = 128, .together = true}));
  EXPECT_TRUE(refused({.threads = 32, .shared_bytes = 60 << 10}));
  Outcome outcome;
  allow_shared(fold, 65 << 10, outcome);
  EXPECT_FALSE(outcome.ok());
  outcome.clear();
  allow_shared(fold, 60 << 10, outcome);
  EXPECT_TRUE(outcome.ok());
  EXPECT_FALSE(refused({.threads = 32, .shared_bytes = 60 << 10}));
  EXPECT_EQ(resident_blocks(fold, 256, 60 << 10, outcome), 1u);
  EXPECT_EQ(resident_blocks(fold, 256, 0, outcome), 2u);
}

TEST_F(GpuHost, MemoryRunsOutAndDevicesAreLost) {
  host::set_machine({.memory_bytes = 1000, .launches_until_lost = 1});
  EXPECT_EQ(device_properties(0, outcome_).free_bytes, 1000u);
  auto* p = device<uint32_t>(225);
  EXPECT_EQ(device_properties(0, outcome_).free_bytes, 100u);
  Outcome outcome;
  EXPECT_EQ(allocate_device(101, outcome), nullptr);
  EXPECT_TRUE(outcome.out_of_memory());
  outcome.clear();
  launch(fold, {.threads = 32, .shared_bytes = 128}, nullptr, outcome, p, p + 100);
  EXPECT_TRUE(outcome.ok()) << outcome.text();
  launch(fold, {.threads = 32, .shared_bytes = 128}, nullptr, outcome, p, p + 100);
  EXPECT_FALSE(outcome.ok());
  EXPECT_EQ(outcome.text(), "the device is lost");
  EXPECT_FALSE(outcome.out_of_memory());
}

TEST_F(GpuHost, ThreadsOfTheHostMayLaunchAtTheSameTime) {
  auto* in = device(std::vector<uint32_t>(512, 1));
  auto* count = device(std::vector<uint32_t>{0});
  std::vector<uint32_t*> outs;
  for (int i = 0; i < 3; ++i) outs.push_back(device<uint32_t>(4));
  {
    std::vector<std::jthread> workers;
    for (auto* out : outs)
      workers.emplace_back([&, out] {
        Outcome outcome;
        launch(fold, {.blocks = 4, .threads = 128, .shared_bytes = 512}, nullptr, outcome, in, out);
        launch(+[](uint32_t* p) { atomic_add(p, 1u); }, {.blocks = 4, .threads = 64}, nullptr, outcome, count);
        EXPECT_TRUE(outcome.ok()) << outcome.text();
      });
  }
  for (auto* out : outs) EXPECT_EQ(host(out, 4), std::vector<uint32_t>(4, 16384));
  EXPECT_EQ(host(count, 1)[0], 3u * 4 * 64);
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer)

GPU_KERNEL(64, 1) overrun(const uint32_t* zeros, uint32_t* out, uint32_t how) {
  auto* shared = reinterpret_cast<uint32_t*>(shared_memory());
  uint32_t array[64];
  uint32_t* local = array;  // or the other sanitizer would see it first
  for (uint32_t i = 0; i < 64; ++i) local[i] = zeros[i];
  sync_block();  // what lies on a fiber's stack is still known after others have run
  if (how == 0) shared[thread() + 1] = 1;
  if (how == 1) out[thread() + 1] = 1;
  if (how == 2) out[thread()] = local[zeros[thread()] + thread() + 1];
}

TEST_F(GpuHost, AddressSanitizerSeesOverruns) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  auto* zeros = device(std::vector<uint32_t>(64));
  auto* out = device<uint32_t>(64);
  const char* texts[] = {"heap-buffer-overflow", "heap-buffer-overflow", "stack-buffer-overflow"};
  for (uint32_t how = 0; how < 3; ++how)
    EXPECT_DEATH(launch(overrun, {.threads = 64, .shared_bytes = 256}, nullptr, outcome_, zeros, out, how), texts[how]);
  launch(overrun, {.threads = 64, .shared_bytes = 256}, nullptr, outcome_, zeros, out, 3);
  EXPECT_TRUE(outcome_.ok());
}

#endif
#endif

}  // namespace
}  // namespace onebit::gpu
