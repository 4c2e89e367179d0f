#include "eval/roofline.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>

#include "kernels/cpu/select.h"

namespace onebit {
namespace {

using Clock = std::chrono::steady_clock;

/// Far more than caches hold.
constexpr size_t kBuffer = size_t{512} << 20, kChunk = 64 << 10;

uint64_t bytes_of(const IntegerMatrix& w) {
  return w.data.size() + w.scales.size_bytes();
}

/// Runs body(thread) on so many threads at once; seconds until all are done.
template <class Body>
double timed(unsigned threads, Body body) {
  std::atomic<unsigned> ready{0};
  std::vector<std::thread> others;
  const auto begin_together = [&](unsigned thread) {
    ++ready;
    while (ready < threads) std::this_thread::yield();
    body(thread);
  };
  Clock::time_point begin;
  for (unsigned i = 1; i < threads; ++i) others.emplace_back(begin_together, i);
  while (ready + 1 < threads) std::this_thread::yield();
  begin = Clock::now();
  begin_together(0);
  for (auto& other : others) other.join();
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

struct Free {
  void operator()(uint8_t* p) const { std::free(p); }
};
using Buffer = std::unique_ptr<uint8_t, Free>;

Buffer make_buffer() {
  constexpr size_t kHugePage = size_t{2} << 20;
  Buffer buffer(static_cast<uint8_t*>(std::aligned_alloc(kHugePage, kBuffer)));
  if (!buffer) throw std::bad_alloc();
  ::madvise(buffer.get(), kBuffer, MADV_HUGEPAGE);
  std::memset(buffer.get(), 1, kBuffer);
  return buffer;
}

std::atomic<uint32_t> g_seen;  // keeps results that nobody wants from being left out

}  // namespace

TokenBytes token_bytes(const ModelWeights& weights, KvType kv_type, uint32_t positions) {
  const auto& c = weights.config;
  TokenBytes bytes;
  for (const auto& w : weights.layers)
    for (const auto* m : {&w.attn_q, &w.attn_k, &w.attn_v, &w.attn_output, &w.ffn_gate, &w.ffn_up, &w.ffn_down}) {
      bytes.ternary += bytes_of(*m);
      bytes.ternary_weights += uint64_t{m->rows} * m->columns;
    }
  if (const auto* integer = std::get_if<IntegerMatrix>(&weights.head)) bytes.head = bytes_of(*integer);
  if (const auto* half = std::get_if<HalfMatrix>(&weights.head)) bytes.head = half->data.size_bytes();
  const uint64_t element = kv_type == KvType::kF32 ? 4 : kv_type == KvType::kF16 ? 2 : 1;
  const uint64_t scales = kv_type == KvType::kQ8 ? 2 * sizeof(float) : 0;
  bytes.kv =
      uint64_t{c.layers} * c.kv_heads * (uint64_t{positions} + 1) * (uint64_t{2} * c.head_dim * element + scales);
  const uint64_t norms = uint64_t{c.layers} * (uint64_t{2} * c.hidden + c.query_width() + c.ffn) + c.hidden;
  bytes.other = norms * sizeof(float) + uint64_t{c.hidden} * 2 + uint64_t{c.head_dim} * sizeof(float);
  return bytes;
}

double measure_read_bandwidth(unsigned threads, unsigned rounds, std::chrono::seconds most) {
  const auto deadline = Clock::now() + most;
  const auto& kernels = cpu::best_kernels();
  const auto buffer = make_buffer();
  double best = 0;
  for (unsigned round = 0; round < rounds; ++round)
    for (const size_t ahead : {size_t{0}, size_t{4} << 10, size_t{8} << 10})
      for (const bool shared_out : {true, false})  // in small chunks as they come, or a half each
        for (unsigned t = 1; t <= threads; ++t) {
          if (t == 1 && !shared_out) continue;
          std::atomic<size_t> next{0};
          const double seconds = timed(t, [&](unsigned thread) {
            uint32_t seen = 0;
            if (shared_out) {
              for (size_t at = next.fetch_add(kChunk); at < kBuffer; at = next.fetch_add(kChunk))
                seen ^= kernels.read_bytes(buffer.get() + at, kChunk, ahead);
            } else {
              const size_t part = kBuffer / t / 512 * 512;
              seen ^= kernels.read_bytes(buffer.get() + thread * part, part, ahead);
            }
            g_seen ^= seen;
          });
          best = std::max(best, static_cast<double>(kBuffer) / seconds);
          if (Clock::now() >= deadline) return best;
        }
  return best;
}

double measure_dot_peak(unsigned threads, unsigned rounds) {
  const auto& kernels = cpu::best_kernels();
  constexpr uint64_t kRounds = 4000000;
  double best = 0;
  for (unsigned round = 0; round < rounds; ++round) {
    std::atomic<uint64_t> products{0};
    const double seconds = timed(threads, [&](unsigned) { products += kernels.dot_peak(kRounds); });
    best = std::max(best, static_cast<double>(products) / seconds);
  }
  return best;
}

}  // namespace onebit
