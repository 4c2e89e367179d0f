// The host's implementation of the GPU shim: that it behaves as a GPU does, and says what a GPU would hang on.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

#include "kernels/gpu/gpu_api.h"

namespace onebit::gpu {
namespace {

class GpuHost : public ::testing::Test {
 protected:
  ~GpuHost() override {
    host::set_machine({});
    for (auto* p : owned_) free_device(p);
  }

  template <class T>
  T* device(size_t n) {
    auto* p = allocate_device(n * sizeof(T), outcome_);
    owned_.push_back(p);
    return static_cast<T*>(p);
  }
  template <class T>
  T* device(const std::vector<T>& values) {
    auto* p = device<T>(values.size());
    copy_to_device(p, values.data(), values.size() * sizeof(T), nullptr, outcome_);
    return p;
  }
  template <class T>
  std::vector<T> host(const T* p, size_t n) {
    std::vector<T> values(n);
    copy_to_host(values.data(), p, n * sizeof(T), nullptr, outcome_);
    return values;
  }
  void set_order(uint32_t order) {
    host::Machine m;
    m.order = order;
    host::set_machine(m);
  }

  Outcome outcome_;
  std::vector<void*> owned_;
};

GPU_KERNEL(1024, 1) write_indices(uint32_t* out) {
  out[block() * threads() + thread()] = block() * 10000 + thread() + blocks() * 1000000;
}

TEST_F(GpuHost, EveryThreadOfEveryBlockRunsOnce) {
  for (const uint32_t order : {0u, 1u, 2u, 77u}) {
    set_order(order);
    auto* out = device<uint32_t>(5 * 96);
    launch(write_indices, {.blocks = 5, .threads = 96}, nullptr, outcome_, out);
    const auto got = host(out, 5 * 96);
    for (uint32_t i = 0; i < got.size(); ++i) ASSERT_EQ(got[i], i / 96 * 10000 + i % 96 + 5000000);
  }
  EXPECT_TRUE(outcome_.ok()) << outcome_.text();
}

/// Rotates `values` by one, `rounds` times, through shared memory.
GPU_KERNEL(512, 1) rotate(uint32_t* values, uint32_t rounds) {
  auto* shared = reinterpret_cast<uint32_t*>(shared_memory());
  uint32_t mine = values[thread()];
  for (uint32_t r = 0; r < rounds; ++r) {
    shared[thread()] = mine;
    sync_block();
    mine = shared[(thread() + 1) % threads()];
    sync_block();
  }
  values[thread()] = mine;
}

TEST_F(GpuHost, SyncBlockOrdersSharedMemory) {
  for (const uint32_t order : {0u, 1u, 5u, 1234567u}) {
    set_order(order);
    std::vector<uint32_t> values(512);
    std::iota(values.begin(), values.end(), 0u);
    auto* p = device(values);
    launch(rotate, {.threads = 512, .shared_bytes = 2048}, nullptr, outcome_, p, 100);
    EXPECT_TRUE(outcome_.ok()) << outcome_.text();
    std::rotate(values.begin(), values.begin() + 100, values.end());
    EXPECT_EQ(host(p, 512), values);
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

GPU_KERNEL(64, 1) shuffles(uint32_t* sums, float* firsts, uint64_t* next) {
  uint32_t sum = thread();
  for (uint32_t mask = 16; mask > 0; mask /= 2) sum += shuffle_xor(sum, mask);
  sums[thread()] = sum;
  firsts[thread()] = shuffle(static_cast<float>(thread()) + 0.5f, 0);
  next[thread()] = shuffle(uint64_t{thread()} << 40, (thread() + 1) % 32);
}

TEST_F(GpuHost, ShufflesExchangeWithinAWarp) {
  auto* sums = device<uint32_t>(64);
  auto* firsts = device<float>(64);
  auto* next = device<uint64_t>(64);
  launch(shuffles, {.threads = 64}, nullptr, outcome_, sums, firsts, next);
  EXPECT_TRUE(outcome_.ok()) << outcome_.text();
  for (uint32_t i = 0; i < 64; ++i) {
    EXPECT_EQ(host(sums, 64)[i], i < 32 ? 496u : 1520u);
    EXPECT_EQ(host(firsts, 64)[i], i < 32 ? 0.5f : 32.5f);
    EXPECT_EQ(host(next, 64)[i], uint64_t{i / 32 * 32 + (i + 1) % 32} << 40);
  }
}

GPU_KERNEL(96, 1) atomics(int32_t* sum, uint32_t* count, uint32_t* seen, uint32_t* most) {
  for (int i = 0; i < 50; ++i) {
    atomic_add(sum, -static_cast<int32_t>(thread()));
    seen[atomic_add(count, 1u)] += 1;
  }
  atomic_max(most, (thread() * 37 + block() * 11) % 101);
}

TEST_F(GpuHost, AtomicsCountEveryThread) {
  auto* sum = device(std::vector<int32_t>{0});
  auto* count = device(std::vector<uint32_t>{0});
  auto* most = device(std::vector<uint32_t>{3});
  auto* seen = device(std::vector<uint32_t>(4 * 96 * 50));
  launch(atomics, {.blocks = 4, .threads = 96}, nullptr, outcome_, sum, count, seen, most);
  EXPECT_EQ(host(sum, 1)[0], -4 * 50 * 96 * 95 / 2);
  EXPECT_EQ(host(count, 1)[0], 4u * 96 * 50);
  EXPECT_EQ(host(most, 1)[0], 100u);
  EXPECT_EQ(host(seen, 4 * 96 * 50), std::vector<uint32_t>(4 * 96 * 50, 1));
}

/// Every thread multiplies its warp's tile of A and B, given as plain matrices.
template <bool kSigned>
GPU_KERNEL(64, 1)
multiply(const uint8_t* a, const int8_t* b, int32_t* d) {
  const uint32_t lane = thread() % 32, g = lane / 4, t = lane % 4;
  a += thread() / 32 * 16 * 32, b += thread() / 32 * 32 * 8, d += thread() / 32 * 16 * 8;
  const auto word = [](auto at) {
    uint32_t w = 0;
    for (uint32_t i = 0; i < 4; ++i) w |= static_cast<uint32_t>(static_cast<uint8_t>(at(i))) << 8 * i;
    return w;
  };
  uint32_t fragment[4], columns[2];
  for (uint32_t i = 0; i < 4; ++i)
    fragment[i] = word([&](uint32_t j) { return a[(g + i % 2 * 8) * 32 + i / 2 * 16 + 4 * t + j]; });
  for (uint32_t i = 0; i < 2; ++i) columns[i] = word([&](uint32_t j) { return b[(i * 16 + 4 * t + j) * 8 + g]; });
  int32_t sums[4];
  for (uint32_t i = 0; i < 4; ++i) sums[i] = d[(g + i / 2 * 8) * 8 + 2 * t + i % 2];
  multiply_16x8x32<kSigned>(sums, fragment, columns[0], columns[1]);
  for (uint32_t i = 0; i < 4; ++i) d[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = sums[i];
}

TEST_F(GpuHost, MatrixProductsMatchTheirDefinition) {
  std::mt19937 random(3);
  for (const bool is_signed : {false, true}) {
    std::vector<uint8_t> a(2 * 16 * 32);
    std::vector<int8_t> b(2 * 32 * 8);
    for (auto& x : a) x = static_cast<uint8_t>(random());
    for (auto& x : b) x = static_cast<int8_t>(random());
    a[5] = 255, b[7] = -128;
    std::vector<int32_t> want(2 * 16 * 8);
    for (auto& x : want) x = static_cast<int32_t>(random() % 1000);
    auto* d = device(want);
    for (size_t tile = 0; tile < 2; ++tile)
      for (size_t r = 0; r < 16; ++r)
        for (size_t c = 0; c < 8; ++c)
          for (size_t k = 0; k < 32; ++k) {
            const auto byte = a[tile * 512 + r * 32 + k];
            want[tile * 128 + r * 8 + c] += (is_signed ? static_cast<int8_t>(byte) : byte) * b[tile * 256 + k * 8 + c];
          }
    launch(is_signed ? multiply<true> : multiply<false>, {.threads = 64}, nullptr, outcome_, device(a), device(b), d);
    EXPECT_TRUE(outcome_.ok()) << outcome_.text();
    EXPECT_EQ(host(d, want.size()), want);
  }
}

TEST(GpuHostArithmetic, DotsAndPicks) {
  EXPECT_EQ(dot4(5, 0xff'02'00'80u, 0x80'03'7f'01u), 5 + 255 * -128 + 2 * 3 + 0 + 128);
  EXPECT_EQ(dot4_signed(-5, 0xff'02'00'80u, 0x80'03'7f'01u), -5 + 128 + 6 + 0 - 128);
  EXPECT_EQ(pick_bytes(0x33221100, 0x77665544, 0x7531), 0x77553311u);
  EXPECT_EQ(pick_bytes(0x33221100, 0x77665544, 0x0246), 0x00224466u);
}

TEST(GpuHostArithmetic, HalvesRoundToNearestAndOverflow) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (uint32_t bits = 0; bits < 0x7c00; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    ASSERT_EQ(float_to_half(half_to_float(half)), half);
    // Half way to the next one goes to the even one; beyond the largest there is infinity.
    const float next = bits == 0x7bff ? 65536.0f : half_to_float(static_cast<uint16_t>(bits + 1));
    const float middle = (half_to_float(half) + next) / 2;
    ASSERT_EQ(float_to_half(middle), bits + bits % 2);
    ASSERT_EQ(float_to_half(-middle), 0x8000 + bits + bits % 2);
    ASSERT_EQ(float_to_half(std::nextafter(middle, 0.0f)), bits);
  }
  EXPECT_EQ(float_to_half(infinity), 0x7c00);
  EXPECT_EQ(float_to_half(-1e30f), 0xfc00);
  EXPECT_TRUE(std::isnan(half_to_float(float_to_half(std::nanf("")))));
  EXPECT_EQ(half_to_float(0xfc00), -infinity);
}

/// Copies 16 bytes a thread and looks at them before and after they have arrived.
GPU_KERNEL(32, 1) copies(const uint32_t* from, uint32_t* before, uint32_t* after) {
  auto* shared = reinterpret_cast<uint32_t*>(shared_memory());
  for (uint32_t i = 0; i < 3; ++i) {
    copy_async(shared + i * 128 + 4 * thread(), from + i * 128 + 4 * thread());
    copy_async_commit();
  }
  copy_async_wait<1>();
  for (uint32_t i = 0; i < 3; ++i) before[i * 32 + thread()] = shared[i * 128 + 4 * thread()];
  copy_async_wait<0>();
  sync_block();
  for (uint32_t i = 0; i < 12; ++i) after[i * 32 + thread()] = shared[i * 32 + (thread() + 5) % 32];
  const auto read = load_stream(from + 4 * thread());
  if (read.x + read.y + read.z + read.w != 16 * thread() + 6) after[0] = 0;
}

TEST_F(GpuHost, AsyncCopiesArriveWhenTheyAreWaitedFor) {
  std::vector<uint32_t> values(384);
  std::iota(values.begin(), values.end(), 0u);
  auto* before = device<uint32_t>(96);
  auto* after = device<uint32_t>(384);
  launch(copies, {.threads = 32, .shared_bytes = 1536}, nullptr, outcome_, device(values), before, after);
  EXPECT_TRUE(outcome_.ok()) << outcome_.text();
  for (uint32_t i = 0; i < 96; ++i) EXPECT_EQ(host(before, 96)[i], i < 64 ? i / 32 * 128 + i % 32 * 4 : 0x7f7f7f7f);
  for (uint32_t i = 0; i < 384; ++i) EXPECT_EQ(host(after, 384)[i], i / 32 * 32 + (i + 5) % 32);
}

/// Rounds of: every block adds its number to a cell of all, all wait, every block checks the cell.
GPU_KERNEL(64, 1) grid_barrier(uint32_t* arrived, uint32_t* cells, uint32_t* wrong, uint32_t rounds) {
  for (uint32_t r = 0; r < rounds; ++r) {
    if (thread() == 0) {
      atomic_add(cells + r, block() + 1);
      fence();
      atomic_add(arrived, 1u);
      while (load_acquire(arrived) < blocks() * (r + 1)) pause();
    }
    sync_block();
    if (load_acquire(cells + r) != blocks() * (blocks() + 1) / 2) atomic_add(wrong, 1u);
  }
}

TEST_F(GpuHost, BlocksThatRunTogetherMayWaitForEachOther) {
  for (const uint32_t order : {0u, 1u, 9u}) {
    set_order(order);
    auto* counters = device(std::vector<uint32_t>(2 + 20));
    const LaunchShape shape{.blocks = 6, .threads = 64, .together = true};
    launch(grid_barrier, shape, nullptr, outcome_, counters, counters + 2, counters + 1, 20);
    EXPECT_TRUE(outcome_.ok()) << outcome_.text();
    EXPECT_EQ(host(counters, 2), (std::vector<uint32_t>{120, 0}));
  }
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
    auto* p = device(std::vector<uint32_t>(64, 9));
    launch(rotate, {.threads = 64, .shared_bytes = 256}, nullptr, outcome, p, 2);
    EXPECT_TRUE(outcome.ok()) << outcome.text();
    EXPECT_EQ(host(p, 64), std::vector<uint32_t>(64, 9));
  }
  launch(diverge, shape, nullptr, outcome_, 6);
  EXPECT_TRUE(outcome_.ok()) << outcome_.text();
}

TEST_F(GpuHost, LaunchesThatDoNotFitAreErrors) {
  auto* p = device(std::vector<uint32_t>(1024));
  const auto refused = [&](const LaunchShape& shape) {
    Outcome outcome;
    launch(rotate, shape, nullptr, outcome, p, 1);
    return !outcome.ok();
  };
  EXPECT_TRUE(refused({.blocks = 0, .threads = 32}));
  EXPECT_TRUE(refused({.threads = 48}));
  EXPECT_TRUE(refused({.threads = 2048}));
  EXPECT_TRUE(refused({.blocks = 7, .threads = 32, .shared_bytes = 128, .together = true}));
  EXPECT_TRUE(refused({.threads = 32, .shared_bytes = 60 << 10}));
  Outcome outcome;
  allow_shared(rotate, 65 << 10, outcome);
  EXPECT_FALSE(outcome.ok());
  outcome.clear();
  allow_shared(rotate, 60 << 10, outcome);
  EXPECT_TRUE(outcome.ok());
  EXPECT_FALSE(refused({.threads = 32, .shared_bytes = 60 << 10}));
  EXPECT_EQ(resident_blocks(rotate, 256, 60 << 10, outcome), 1u);
  EXPECT_EQ(resident_blocks(rotate, 256, 0, outcome), 2u);
}

TEST_F(GpuHost, GraphsRepeatWhatTheyRecorded) {
  const auto stream = new_stream(outcome_);
  std::vector<uint32_t> values(64), result(64);
  std::iota(values.begin(), values.end(), 0u);
  auto* p = device(values);
  begin_graph(stream, outcome_);
  launch(rotate, {.threads = 64, .shared_bytes = 256}, stream, outcome_, p, 3);
  copy_to_host(result.data(), p, 256, stream, outcome_);
  const auto graph = end_graph(stream, outcome_);
  EXPECT_EQ(host(p, 64), values);
  for (int i = 0; i < 2; ++i) launch_graph(graph, stream, outcome_);
  wait_for(stream, outcome_);
  EXPECT_TRUE(outcome_.ok()) << outcome_.text();
  std::rotate(values.begin(), values.begin() + 6, values.end());
  EXPECT_EQ(result, values);
  free_graph(graph);
  const auto begin = new_event(outcome_), end = new_event(outcome_);
  record(begin, stream, outcome_);
  record(end, stream, outcome_);
  EXPECT_GE(seconds_between(begin, end, outcome_), 0.0);
  end_event(begin), end_event(end);
  end_stream(stream);
}

TEST_F(GpuHost, MemoryRunsOutAndDevicesAreLost) {
  host::set_machine({.memory_bytes = 1000, .launches_until_lost = 1});
  EXPECT_EQ(device_properties(0, outcome_).free_bytes, 1000u);
  auto* p = device<unsigned char>(900);
  EXPECT_EQ(device_properties(0, outcome_).free_bytes, 100u);
  Outcome outcome;
  EXPECT_EQ(allocate_device(101, outcome), nullptr);
  EXPECT_TRUE(outcome.out_of_memory());
  outcome.clear();
  launch(write_indices, {.threads = 32}, nullptr, outcome, reinterpret_cast<uint32_t*>(p));
  EXPECT_TRUE(outcome.ok()) << outcome.text();
  launch(write_indices, {.threads = 32}, nullptr, outcome, reinterpret_cast<uint32_t*>(p));
  EXPECT_FALSE(outcome.ok());
  EXPECT_EQ(outcome.text(), "the device is lost");
  EXPECT_FALSE(outcome.out_of_memory());
}

TEST_F(GpuHost, ThreadsOfTheHostMayLaunchAtTheSameTime) {
  std::vector<uint32_t> values(512, 1);
  std::vector<uint32_t*> rows;
  for (int i = 0; i < 3; ++i) rows.push_back(device(values));
  auto* count = device(std::vector<uint32_t>{0});
  {
    std::vector<std::jthread> workers;
    for (auto* row : rows)
      workers.emplace_back([&, row] {
        Outcome outcome;
        launch(rotate, {.threads = 512, .shared_bytes = 2048}, nullptr, outcome, row, 20);
        launch(+[](uint32_t* p) { atomic_add(p, 1u); }, {.blocks = 4, .threads = 64}, nullptr, outcome, count);
        EXPECT_TRUE(outcome.ok()) << outcome.text();
      });
  }
  for (auto* row : rows) EXPECT_EQ(host(row, 512), values);
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
