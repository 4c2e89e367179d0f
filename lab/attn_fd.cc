// Split-KV attention beside what it replaced: a task for each head that walks over all blocks itself. Both use the same
// inner loop (kernels/cpu/attention.inl.h) and must give the same bits. Shapes of bitnet-b1.58-2B-4T, one new token.
//
//   attn_fd [THREADS]: one line of JSON for each KV type and context length
#include <cstdio>
#include <cstring>

#include "attention_lab.h"

namespace onebit::lab {
namespace {

class TaskAHead final : public LayeredAttention {
 public:
  TaskAHead(const CpuModel& m, const PagedKv& kv, uint32_t length) : m_(m), kv_(kv), length_(length) {}

 protected:
  void walk(Walker& walker) override {
    for (uint32_t layer = 0; layer < kLayers; ++layer) {
      float* y = out.data() + size_t{layer} * kHeads * kHeadDim;
      walker.phase(kHeads, [&](uint32_t head) { whole_head(layer, head, y + size_t{head} * kHeadDim); });
    }
  }

 private:
  /// All blocks of one head, folded as the contract orders it.
  void whole_head(uint32_t layer, uint32_t head, float* y) const {
    alignas(64) float slots[3][kHeadDim + 16];
    alignas(64) int8_t q8[kHeadDim];
    const float* query = q.data() + size_t{head} * kHeadDim;
    const int8_t* q8_row = q8;
    float q_scale = 0;
    int32_t sum = 0;
    m_.kernels.quantize(query, kHeadDim, q8, kHeadDim, &q_scale, &sum);
    const uint32_t blocks = (length_ + 63) / 64;
    const auto fold = [&](int from, int into, bool first) {
      if (first)
        std::memcpy(slots[into], slots[from], sizeof slots[0]);
      else
        m_.kernels.fold(&slots[into][kHeadDim], &slots[into][kHeadDim + 1], slots[into], &slots[from][kHeadDim],
                        &slots[from][kHeadDim + 1], slots[from], kHeadDim);
    };
    for (uint32_t b = 0; b < blocks; ++b) {
      const uint32_t count = length_ - b * 64 < 64 ? length_ - b * 64 : 64;
      float *m = &slots[0][kHeadDim], *l = &slots[0][kHeadDim + 1], *o = slots[0];
      m_.kernels.attend(m_.kv.format, {.kv = kv_.page(b).view(m_.kv, layer, head / (kHeads / kKvHeads)),
                                       .head_dim = kHeadDim,
                                       .queries = 1,
                                       .score_factor = m_.score_factor,
                                       .q = &query,
                                       .q8 = &q8_row,
                                       .q_scale = &q_scale,
                                       .count = &count,
                                       .m = &m,
                                       .l = &l,
                                       .o = &o});
      fold(0, 1, b % 16 == 0);
      if (b % 16 == 15 || b + 1 == blocks) fold(1, 2, b < 16);
    }
    m_.kernels.divide(slots[2], &slots[2][kHeadDim + 1], kHeadDim, y);
  }

  const CpuModel& m_;
  const PagedKv& kv_;
  uint32_t length_;
};

void measure(KvType type, uint32_t length, unsigned threads) {
  const CpuModel m(shape(length), type, cpu::best_kernels());
  PagedKv kv(m.kv);
  fill(kv, m, length);
  SplitAttention split(m, threads, kv, length);
  TaskAHead single(m, kv, length);
  ThreadPool pool(threads);
  double best_split = 1e9, best_single = 1e9, low = 1e9, high = 0;
  for (int round = 0; round < 15; ++round) {  // in turn; the first brings everything into memory
    const double split_us = microseconds_a_layer(pool, split), single_us = microseconds_a_layer(pool, single);
    best_split = std::min(best_split, split_us);
    best_single = std::min(best_single, single_us);
    if (round == 0) continue;
    low = std::min(low, single_us / split_us);
    high = std::max(high, single_us / split_us);
  }
  const bool same = std::memcmp(split.out.data(), single.out.data(), split.out.size() * sizeof(float)) == 0;
  std::printf(
      "{\"kv\": \"%s\", \"threads\": %u, \"length\": %u, \"split_us\": %.2f, \"single_us\": %.2f, \"ratio\": %.3f, "
      "\"ratios_seen\": [%.3f, %.3f], \"rounds\": 14, \"same_bits\": %s}\n",
      std::string(name_of(type)).c_str(), threads, length, best_split, best_single, best_single / best_split, low, high,
      same ? "true" : "false");
  std::fflush(stdout);
  if (!same) std::exit(1);
}

}  // namespace
}  // namespace onebit::lab

int main(int argc, char** argv) {
  const unsigned threads = argc > 1 ? static_cast<unsigned>(std::atoi(argv[1])) : onebit::available_processors();
  for (const auto type : {onebit::KvType::kF16, onebit::KvType::kQ8})
    for (uint32_t length = 256; length <= 32768; length *= 2) onebit::lab::measure(type, length, threads);
}
