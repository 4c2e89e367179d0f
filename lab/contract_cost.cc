// What the contract costs attention: the product's, whose sums and folds have one order, beside a variant free to add
// as it likes (a running maximum over all blocks, sums in lanes, nothing folded). Both on one thread, same inner
// products. Integer products are exact in any order, so only attention and the norms are bound by an order at all.
//
//   contract_cost: one line of JSON for each KV type and context length
#include <cmath>
#include <cstdio>

#include "attention_lab.h"
// clang-format off: attention needs the lanes first
#include "kernels/cpu/simd_avx512.h"
#include "kernels/cpu/attention.inl.h"
// clang-format on

namespace onebit::lab {
namespace {

constexpr int kGroup = kHeads / kKvHeads;

/// Results of the queries that share a KV head.
struct Running {
  alignas(64) float o[kGroup][kHeadDim] = {};
  float m[kGroup], l[kGroup] = {};
  Running() {
    for (auto& v : m) v = -INFINITY;
  }
};

/// p = exp(s - m) for the maximum so far, to which o and l are brought where it grew.
void exponentials_so_far(float* s, uint32_t count, Running& r, int i) {
  for (uint32_t t = count; t < kKvBlock; ++t) s[t] = -INFINITY;
  auto largest = Simd::splat_f32(r.m[i]);
  for (uint32_t t = 0; t < kKvBlock; t += 16) largest = Simd::max(largest, Simd::load_f32(s + t));
  const float m = Simd::reduce_max(largest);
  if (m > r.m[i]) {
    const float factor = std::exp(r.m[i] - m);
    r.l[i] *= factor;
    for (uint32_t d = 0; d < kHeadDim; d += 16)
      Simd::store_f32(r.o[i] + d, Simd::mul(Simd::load_f32(r.o[i] + d), Simd::splat_f32(factor)));
    r.m[i] = m;
  }
  auto sum = Simd::zero_f32();
  for (uint32_t t = 0; t < kKvBlock; t += 16) {
    const auto p = exp_negative(Simd::sub(Simd::load_f32(s + t), Simd::splat_f32(m)));
    Simd::store_f32(s + t, p);
    sum = Simd::add(sum, p);
  }
  r.l[i] += _mm512_reduce_add_ps(sum);
}

template <KvFormat format>
void attend_free(const AttendBlock& b, Running& r) {
  alignas(64) float p[kGroup][kKvBlock];
  score_positions<format, kGroup, Simd::kScoreVectors>(b, 0, 0, b.count[0], p);
  for (int i = 0; i < kGroup; ++i) {
    exponentials_so_far(p[i], b.count[0], r, i);
    if constexpr (format == KvFormat::kQ8)
      for (uint32_t t = 0; t < kKvBlock; t += 16)
        Simd::store_f32(p[i] + t, Simd::mul(Simd::load_f32(p[i] + t), Simd::load_f32(b.kv.v_scale + t)));
  }
  weigh_values<format, kGroup>(b, 0, 0, b.count[0], p);
}

/// One KV head of a layer, over all blocks, to y [kGroup · head_dim].
template <KvFormat format>
void whole_kv_head(const CpuModel& m, const PagedKv& kv, uint32_t length, uint32_t layer, uint32_t head, const float* q,
                   float* y) {
  alignas(64) int8_t q8[kGroup][kHeadDim];
  const float* q_rows[kGroup];
  const int8_t* q8_rows[kGroup];
  float q_scale[kGroup];
  float* o[kGroup];
  Running r;
  for (int i = 0; i < kGroup; ++i) {
    int32_t sum = 0;
    q_rows[i] = q + size_t(i) * kHeadDim;
    q8_rows[i] = q8[i];
    o[i] = r.o[i];
    if (format == KvFormat::kQ8) m.kernels.quantize(q_rows[i], kHeadDim, q8[i], kHeadDim, &q_scale[i], &sum);
  }
  for (uint32_t block = 0; block * kKvBlock < length; ++block) {
    const uint32_t count = std::min(kKvBlock, length - block * kKvBlock);
    attend_free<format>({.kv = kv.page(block).view(m.kv, layer, head),
                         .head_dim = kHeadDim,
                         .queries = kGroup,
                         .score_factor = m.score_factor,
                         .q = q_rows,
                         .q8 = q8_rows,
                         .q_scale = q_scale,
                         .count = &count,
                         .o = o},
                        r);
  }
  for (int i = 0; i < kGroup; ++i) m.kernels.divide(r.o[i], &r.l[i], kHeadDim, y + size_t(i) * kHeadDim);
}

class FreeAttention final : public LayeredAttention {
 public:
  FreeAttention(const CpuModel& m, const PagedKv& kv, uint32_t length) : m_(m), kv_(kv), length_(length) {}

 protected:
  void walk(Walker& walker) override {
    for (uint32_t layer = 0; layer < kLayers; ++layer)
      walker.phase(kKvHeads, [&](uint32_t head) {
        const size_t at = size_t{head} * kGroup * kHeadDim;
        float* y = out.data() + size_t{layer} * kHeads * kHeadDim + at;
        if (m_.kv.format == KvFormat::kF16)
          whole_kv_head<KvFormat::kF16>(m_, kv_, length_, layer, head, q.data() + at, y);
        else
          whole_kv_head<KvFormat::kQ8>(m_, kv_, length_, layer, head, q.data() + at, y);
      });
  }

 private:
  const CpuModel& m_;
  const PagedKv& kv_;
  uint32_t length_;
};

void measure(KvType type, uint32_t length) {
  const CpuModel m(shape(length), type, *cpu::avx512_kernels());
  PagedKv kv(m.kv);
  fill(kv, m, length);
  SplitAttention contract(m, 1, kv, length);
  FreeAttention free(m, kv, length);
  ThreadPool pool(1);
  double best_contract = 1e9, best_free = 1e9, low = 1e9, high = 0, difference = 0;
  for (int round = 0; round < 25; ++round) {  // in turn; the first brings everything into memory
    const double contract_us = microseconds_a_layer(pool, contract), free_us = microseconds_a_layer(pool, free);
    best_contract = std::min(best_contract, contract_us);
    best_free = std::min(best_free, free_us);
    if (round == 0) continue;
    low = std::min(low, contract_us / free_us);
    high = std::max(high, contract_us / free_us);
  }
  for (size_t i = 0; i < free.out.size(); ++i)
    difference = std::max(difference, std::fabs(double{free.out[i]} - contract.out[i]));
  std::printf(
      "{\"kv\": \"%s\", \"length\": %u, \"contract_us\": %.2f, \"free_us\": %.2f, \"ratio\": %.3f, "
      "\"ratios_seen\": [%.3f, %.3f], \"rounds\": 24, \"largest_difference\": %.2g}\n",
      std::string(name_of(type)).c_str(), length, best_contract, best_free, best_contract / best_free, low, high,
      difference);
  std::fflush(stdout);
  if (difference > 1e-3) std::exit(1);
}

}  // namespace
}  // namespace onebit::lab

int main() {
  if (onebit::cpu::avx512_kernels() == nullptr) {
    std::fputs("contract_cost: this machine has no AVX-512\n", stderr);
    return 0;
  }
  for (const auto type : {onebit::KvType::kF16, onebit::KvType::kQ8})
    for (uint32_t length = 64; length <= 16384; length *= 4) onebit::lab::measure(type, length);
}
