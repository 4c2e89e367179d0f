// What the experiments on attention share: the shape of bitnet-b1.58-2B-4T, keys and values at random, and the
// product's attention of one new token.
#pragma once

#include <chrono>
#include <cstdlib>
#include <random>
#include <string>

#include "backend/cpu_attention.h"
#include "base/thread_pool.h"
#include "kernels/cpu/select.h"

namespace onebit::lab {

inline constexpr uint32_t kHeads = 20, kKvHeads = 5, kHeadDim = 128, kLayers = 8;

inline ModelWeights shape(uint32_t context) {
  ModelWeights w;
  w.config.layers = kLayers;
  w.config.heads = kHeads;
  w.config.kv_heads = kKvHeads;
  w.config.head_dim = kHeadDim;
  w.config.context = context;
  return w;
}

/// Every layer's keys and values at random.
inline void fill(PagedKv& kv, const CpuModel& m, uint32_t length) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> x(size_t{4096} + kHeadDim);
  for (auto& v : x) v = normal(random);
  if (!kv.reserve(length)) std::abort();
  kv.extend(length);
  for (uint32_t t = 0; t < length; ++t)
    for (uint32_t layer = 0; layer < kLayers; ++layer)
      for (uint32_t head = 0; head < kKvHeads; ++head) {
        auto* block = kv.page(t / 64).block(m.kv, layer, head);
        const float* k = x.data() + random() % 4096;
        const float* v = x.data() + random() % 4096;
        m.kernels.append_key(m.kv.format, k, kHeadDim, t % 64, block,
                             reinterpret_cast<float*>(block + m.kv.k_scale_offset));
        m.kernels.append_value(m.kv.format, v, kHeadDim, t % 64, block + m.kv.v_offset,
                               reinterpret_cast<float*>(block + m.kv.v_scale_offset));
      }
}

/// Queries of one new token at random: [heads · head_dim].
inline std::vector<float> random_queries() {
  std::vector<float> q(size_t{kHeads} * kHeadDim);
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  for (auto& v : q) v = normal(random);
  return q;
}

/// Attention of one new token in all layers, one after another.
class LayeredAttention : public Program {
 public:
  LayeredAttention() : Program(2 * kLayers) {}
  const std::vector<float> q = random_queries();
  std::vector<float> out = std::vector<float>(size_t{kLayers} * kHeads * kHeadDim);  // [layers][heads · head_dim]
};

/// As the product does it.
class SplitAttention final : public LayeredAttention {
 public:
  SplitAttention(const CpuModel& m, unsigned threads, PagedKv& kv, uint32_t length) : attention_(m, threads) {
    const StepRow row{&kv, 0, length - 1, false};
    attention_.prepare({&row, 1});
    attention_.quantize_query(0, q.data());
  }

 protected:
  void walk(Walker& walker) override {
    for (uint32_t layer = 0; layer < kLayers; ++layer)
      walker.phase(
          attention_.tasks(), [&](uint32_t task) { attention_.run(task, layer, q.data(), q.size(), walker.thread()); },
          [](auto) {}, [&] { attention_.finish(0, out.data() + size_t{layer} * kHeads * kHeadDim); });
  }

 private:
  CpuAttention attention_;
};

inline double microseconds_a_layer(ThreadPool& pool, Program& program) {
  while (!program.idle()) std::this_thread::yield();
  const auto begin = std::chrono::steady_clock::now();
  pool.run(program);
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count() / kLayers;
}

}  // namespace onebit::lab
