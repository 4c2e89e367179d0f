// What every implementation of the GPU shim (kernels/gpu/gpu_api.h) must do. Compiled for the host, where it always
// runs; by nvcc, to run where there is a GPU; and as HIP, whose code objects tests/kernels/gpu_objects_test.sh reads.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "base/half.h"
#include "kernels/exp_log.h"
#include "tests/kernels/gpu_memory.h"

namespace onebit::gpu {
namespace {

class GpuShim : public GpuTest {};

GPU_KERNEL(1024, 1) write_indices(uint32_t* out) {
  out[block() * threads() + thread()] = block() * 10000 + thread() + blocks() * 1000000;
}

TEST_F(GpuShim, EveryThreadOfEveryBlockRunsOnce) {
  auto* out = device<uint32_t>(5 * 96);
  launch(write_indices, {.blocks = 5, .threads = 96}, nullptr, outcome_, out);
  const auto got = host(out, 5 * 96);
  for (uint32_t i = 0; i < got.size(); ++i) ASSERT_EQ(got[i], i / 96 * 10000 + i % 96 + 5000000);
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

TEST_F(GpuShim, SyncBlockOrdersSharedMemory) {
  std::vector<uint32_t> values(512);
  std::iota(values.begin(), values.end(), 0u);
  auto* p = device(values);
  launch(rotate, {.threads = 512, .shared_bytes = 2048}, nullptr, outcome_, p, 100);
  std::rotate(values.begin(), values.begin() + 100, values.end());
  EXPECT_EQ(host(p, 512), values);
}

GPU_KERNEL(64, 1) shuffles(uint32_t* sums, float* firsts, uint64_t* next, uint32_t mask, uint32_t* xors) {
  auto* shared = reinterpret_cast<uint32_t*>(shared_memory());
  uint32_t sum = thread();
  for (uint32_t m = 16; m > 0; m /= 2) sum += shuffle_xor(sum, m);
  sums[thread()] = sum;
  firsts[thread()] = shuffle(static_cast<float>(thread()) + 0.5f, 0);
  next[thread()] = shuffle(uint64_t{thread()} << 40 | 7, (thread() + 1) % 32);
  xors[thread()] = shuffle_xor(thread(), mask);
  shared[thread()] = thread();
  sync_warp();
  xors[thread()] += shared[thread() ^ 3] * 1000;
}

TEST_F(GpuShim, ShufflesExchangeWithinAWarp) {
  auto* sums = device<uint32_t>(64);
  auto* firsts = device<float>(64);
  auto* next = device<uint64_t>(64);
  auto* xors = device<uint32_t>(64);
  launch(shuffles, {.threads = 64, .shared_bytes = 256}, nullptr, outcome_, sums, firsts, next, 21, xors);
  for (uint32_t i = 0; i < 64; ++i) {
    EXPECT_EQ(host(sums, 64)[i], i < 32 ? 496u : 1520u);
    EXPECT_EQ(host(firsts, 64)[i], i < 32 ? 0.5f : 32.5f);
    EXPECT_EQ(host(next, 64)[i], uint64_t{i / 32 * 32 + (i + 1) % 32} << 40 | 7);
    EXPECT_EQ(host(xors, 64)[i], (i ^ 21) + (i ^ 3) * 1000);
  }
}

GPU_KERNEL(96, 1) atomics(int32_t* sum, uint32_t* count, uint32_t* seen, uint32_t* most) {
  for (int i = 0; i < 50; ++i) {
    atomic_add(sum, -static_cast<int32_t>(thread()));
    seen[atomic_add(count, 1u)] += 1;
  }
  atomic_max(most, (thread() * 37 + block() * 11) % 101);
}

TEST_F(GpuShim, AtomicsCountEveryThread) {
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

/// Every warp multiplies its tile of A and B, given as plain matrices.
template <bool kSigned>
GPU_DEVICE void multiply(const uint8_t* a, const int8_t* b, int32_t* d) {
  const uint32_t lane = thread() % 32, g = lane / 4, t = lane % 4;
  a += thread() / 32 * 16 * 32, b += thread() / 32 * 32 * 8, d += thread() / 32 * 16 * 8;
  uint32_t fragment[4] = {}, columns[2] = {};
  for (uint32_t i = 0; i < 4; ++i)
    for (uint32_t j = 0; j < 4; ++j) fragment[i] |= uint32_t{a[(g + i % 2 * 8) * 32 + i / 2 * 16 + 4 * t + j]} << 8 * j;
  for (uint32_t i = 0; i < 2; ++i)
    for (uint32_t j = 0; j < 4; ++j)
      columns[i] |= uint32_t{static_cast<uint8_t>(b[(i * 16 + 4 * t + j) * 8 + g])} << 8 * j;
  int32_t sums[4];
  for (uint32_t i = 0; i < 4; ++i) sums[i] = d[(g + i / 2 * 8) * 8 + 2 * t + i % 2];
  multiply_16x8x32<kSigned>(sums, fragment, columns[0], columns[1]);
  for (uint32_t i = 0; i < 4; ++i) d[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = sums[i];
}
GPU_KERNEL(64, 1) multiply_unsigned(const uint8_t* a, const int8_t* b, int32_t* d) {
  multiply<false>(a, b, d);
}
GPU_KERNEL(64, 1) multiply_signed(const uint8_t* a, const int8_t* b, int32_t* d) {
  multiply<true>(a, b, d);
}

TEST_F(GpuShim, MatrixProductsMatchTheirDefinition) {
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
    launch(is_signed ? multiply_signed : multiply_unsigned, {.threads = 64}, nullptr, outcome_, device(a), device(b),
           d);
    EXPECT_EQ(host(d, want.size()), want);
  }
}

/// A block copies three times 16 bytes a thread to shared memory and back, each read by another thread.
GPU_KERNEL(64, 1) copies(const uint32_t* from, uint32_t* to) {
  auto* shared = reinterpret_cast<uint32_t*>(shared_memory());
  for (uint32_t i = 0; i < 3; ++i) {
    copy_async(shared + i * 256 + 4 * thread(), from + i * 256 + 4 * thread());
    copy_async_commit();
  }
  copy_async_wait<1>();
  sync_block();
  for (uint32_t i = 0; i < 8; ++i) to[i * 64 + thread()] = shared[i * 64 + (thread() + 5) % 64];
  copy_async_wait<0>();
  sync_block();
  for (uint32_t i = 8; i < 12; ++i) to[i * 64 + thread()] = shared[i * 64 + (thread() + 5) % 64];
  const auto read = load_stream(from + 4 * thread());
  if (read.x + read.y + read.z + read.w != 16 * thread() + 6) to[0] = 0;
}

TEST_F(GpuShim, AsyncCopiesArrive) {
  std::vector<uint32_t> values(768);
  std::iota(values.begin(), values.end(), 0u);
  auto* to = device<uint32_t>(768);
  launch(copies, {.threads = 64, .shared_bytes = 3072}, nullptr, outcome_, device(values), to);
  const auto got = host(to, 768);
  for (uint32_t i = 0; i < 768; ++i) EXPECT_EQ(got[i], i / 64 * 64 + (i + 5) % 64);
}

/// Rounds of: every block adds its number to a cell of all, all wait, every block checks the cell.
GPU_KERNEL(64, 1) grid_barrier(uint32_t* arrived, uint32_t* cells, uint32_t* wrong, uint32_t rounds) {
  for (uint32_t r = 0; r < rounds; ++r) {
    if (thread() == 0) {
      atomic_add(cells + r, block() + 1);
      fence();
      atomic_add(arrived, 1u);
      while (load_flag(arrived) < blocks() * (r + 1)) pause();
    }
    sync_block();
    if (load_flag(cells + r) != blocks() * (blocks() + 1) / 2) atomic_add(wrong, 1u);
  }
}

TEST_F(GpuShim, BlocksThatRunTogetherMayWaitForEachOther) {
  auto* counters = device(std::vector<uint32_t>(2 + 20));
  const LaunchShape shape{.blocks = 6, .threads = 64, .together = true};
  launch(grid_barrier, shape, nullptr, outcome_, counters, counters + 2, counters + 1, 20);
  EXPECT_EQ(host(counters, 2), (std::vector<uint32_t>{120, 0}));
}

struct Integers {
  int32_t unsigned_dot, signed_dot;
  uint32_t picked;
  friend bool operator==(const Integers&, const Integers&) = default;
};
GPU_KERNEL(64, 1) integers(const uint32_t* words, Integers* out) {
  const auto a = words[thread()], b = words[thread() + 1];
  out[thread()] = {dot4(5, a, b), dot4_signed(-5, a, b), pick_bytes(a, b, words[thread() + 2])};
}

TEST_F(GpuShim, DotsAndPicks) {
  std::mt19937 random(9);
  std::vector<uint32_t> words(66);
  for (auto& word : words) word = static_cast<uint32_t>(random()) & 0xffff7777;  // of a selector 16 bits count
  words[0] = 0xff020080, words[1] = 0x80037f01;
  auto* out = device<Integers>(64);
  launch(integers, {.threads = 64}, nullptr, outcome_, device(words), out);
  const auto got = host(out, 64);
  for (size_t i = 0; i < 64; ++i) {
    Integers want{5, -5, 0};
    for (uint32_t j = 0; j < 32; j += 8) {
      const auto u = static_cast<uint8_t>(words[i] >> j);
      const auto s = static_cast<int8_t>(words[i + 1] >> j);
      want.unsigned_dot += u * s;
      want.signed_dot += static_cast<int8_t>(u) * s;
      const uint64_t both = uint64_t{words[i + 1]} << 32 | words[i];
      want.picked |= static_cast<uint32_t>(both >> (words[i + 2] >> j / 2) % 8 * 8 & 0xff) << j;
    }
    EXPECT_EQ(got[i], want) << i;
  }
}

/// Whether a half is its own float's half; what lies half way to the next one is the even one's, and less is this
/// one's.
GPU_DEVICE bool rounds_to_even(uint16_t half) {
  const float x = half_to_float(half);
  const bool largest = (half & 0x7fff) == 0x7bff;
  const float next = largest ? (x < 0 ? -65536.0f : 65536.0f) : half_to_float(static_cast<uint16_t>(half + 1));
  const float middle = (x + next) / 2;
  const auto less = std::bit_cast<float>(std::bit_cast<uint32_t>(middle) - 1);
  return float_to_half(x) == half && float_to_half(less) == half && float_to_half(middle) == half + half % 2;
}
GPU_KERNEL(1024, 1) halves(float* floats, uint16_t* halves) {
  const auto i = block() * threads() + thread();
  floats[i] = half_to_float(halves[i]);
  const bool finite = (halves[i] & 0x7c00) != 0x7c00;
  halves[i] = !finite || rounds_to_even(halves[i]) ? 1 : 0;
}

TEST_F(GpuShim, HalvesRoundToNearestEvenAndOverflow) {
  std::vector<uint16_t> all(65536);
  std::iota(all.begin(), all.end(), uint16_t{0});
  auto* floats = device<float>(65536);
  auto* p = device(all);
  launch(halves, {.blocks = 64, .threads = 1024}, nullptr, outcome_, floats, p);
  const auto got = host(floats, 65536);
  const auto right = host(p, 65536);
  for (uint32_t i = 0; i < 65536; ++i) {
    const float want = onebit::half_to_float(static_cast<uint16_t>(i));
    ASSERT_TRUE(std::isnan(want) ? std::isnan(got[i])
                                 : std::bit_cast<uint32_t>(got[i]) == std::bit_cast<uint32_t>(want));
    ASSERT_TRUE(right[i]) << i;
  }
}

/// What the numerics contract counts on (docs/numerics.md, 1 and 6), on the host and on the device.
constexpr uint32_t kOperations = 10;
ONEBIT_HOST_DEVICE inline void operations(float x, float y, float z, float* out) {
  out[0] = x * y + z;  // two roundings
  out[1] = std::fma(x, y, z);
  out[2] = x / y;
  out[3] = std::sqrt(x < 0.0f ? -x : x);
  out[4] = x * 0x1p-120f;  // often denormal
  out[5] = out[4] + y * 0x1p-130f;
  out[6] = exp_f32(x);
  out[7] = log_f32(y);
  out[8] = static_cast<float>(static_cast<int32_t>(std::bit_cast<uint32_t>(x)));
  out[9] = std::fma(out[4], y, out[5]);
}
GPU_KERNEL(256, 1) floats(const float* in, float* out) {
  const auto i = block() * 256 + thread();
  operations(in[i], in[i + 1], in[i + 2], out + i * kOperations);
}

TEST_F(GpuShim, FloatsFollowTheContract) {
  std::mt19937 random(5);
  std::vector<float> in(256 * 256 + 2);
  for (auto& x : in) {
    // Exponents from -24 to 23, and now and then a denormal, zero or one.
    const auto bits = static_cast<uint32_t>(random());
    const auto kind = static_cast<uint32_t>(random()) % 64;
    x = std::bit_cast<float>((bits & 0x807fffffu) | (103 + (bits >> 23 & 0xff) % 48) << 23);
    if (kind == 0) x = static_cast<float>(bits % 3) * 0x1p-127f;
    if (kind == 1) x = 1.0f;
  }
  auto* out = device<float>(256 * 256 * kOperations);
  launch(floats, {.blocks = 256, .threads = 256}, nullptr, outcome_, device(in), out);
  const auto got = host(out, 256 * 256 * kOperations);
  for (size_t i = 0; i + 2 < in.size(); ++i) {
    float want[kOperations];
    operations(in[i], in[i + 1], in[i + 2], want);
    for (uint32_t k = 0; k < kOperations; ++k) {
      const float g = got[i * kOperations + k];
      ASSERT_TRUE(std::bit_cast<uint32_t>(g) == std::bit_cast<uint32_t>(want[k]) ||
                  (std::isnan(g) && std::isnan(want[k])))
          << k << " of " << in[i] << ", " << in[i + 1] << ", " << in[i + 2] << ": " << g << ", not " << want[k];
    }
  }
}

TEST_F(GpuShim, GraphsRepeatWhatTheyRecorded) {
  const auto stream = new_stream(outcome_);
  std::vector<uint32_t> values(64);
  std::iota(values.begin(), values.end(), 0u);
  auto* p = device(values);
  auto* result = static_cast<uint32_t*>(allocate_pinned(256, outcome_));
  begin_graph(stream, outcome_);
  launch(rotate, {.threads = 64, .shared_bytes = 256}, stream, outcome_, p, 3);
  copy_to_host(result, p, 256, stream, outcome_);
  const auto graph = end_graph(stream, outcome_);
  EXPECT_EQ(host(p, 64), values);
  const auto begin = new_event(outcome_), end = new_event(outcome_);
  record(begin, stream, outcome_);
  for (int i = 0; i < 2; ++i) launch_graph(graph, stream, outcome_);
  record(end, stream, outcome_);
  wait_for(stream, outcome_);
  EXPECT_GE(seconds_between(begin, end, outcome_), 0.0);
  EXPECT_TRUE(outcome_.ok()) << outcome_.text();
  std::rotate(values.begin(), values.begin() + 6, values.end());
  EXPECT_EQ(std::vector<uint32_t>(result, result + 64), values);
  free_graph(graph);
  end_event(begin), end_event(end);
  end_stream(stream);
  free_pinned(result);
}

GPU_KERNEL(32, 1) clock(uint64_t* out) {
  if (thread() == 0) out[block()] = clock_ns();
}

TEST_F(GpuShim, DevicesDescribeThemselves) {
  const auto p = device_properties(0, outcome_);
  EXPECT_FALSE(p.name.empty());
  EXPECT_FALSE(p.architecture.empty());
  EXPECT_GE(p.multiprocessors, 1u);
  EXPECT_GE(p.shared_bytes, 48u << 10);
  EXPECT_GE(p.memory_bytes, p.free_bytes);
  EXPECT_GE(resident_blocks(write_indices, 256, 1024, outcome_), 1u);
  auto* out = device(std::vector<uint64_t>(2));
  for (uint32_t i = 0; i < 2; ++i) launch(clock, {.threads = 32}, nullptr, outcome_, out + i);
  const auto times = host(out, 2);
  EXPECT_LE(times[0], times[1]);
  EXPECT_GT(times[0], 0u);
}

TEST_F(GpuShim, TooMuchMemoryIsAnErrorThatPasses) {
  EXPECT_EQ(allocate_device(size_t{1} << 50, outcome_), nullptr);
  EXPECT_TRUE(outcome_.out_of_memory()) << outcome_.text();
  outcome_.clear();
  EXPECT_EQ(host(device(std::vector<int>{7}), 1)[0], 7);
}

}  // namespace
}  // namespace onebit::gpu
