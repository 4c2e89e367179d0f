#include "eval/bench.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <random>

namespace onebit {
namespace {

using Clock = std::chrono::steady_clock;

std::vector<double> rates(const BenchResult& r) {
  std::vector<double> all;
  all.reserve(r.seconds.size());
  for (const double s : r.seconds) all.push_back(static_cast<double>(r.tokens) / s);
  return all;
}

/// The sequences of a case and what they are fed. Ids are random: speed does not depend on them.
class Sequences {
 public:
  Sequences(Backend& backend, uint32_t count) : backend_(backend) {
    for (uint32_t i = 0; i < count; ++i) caches_.push_back(backend.new_kv_cache());
  }

  /// `count` tokens for each sequence, in steps as a prompt takes them.
  Status fill(uint32_t count, LogitRows rows) {
    std::vector<TokenId> ids(count);
    for (auto& id : ids) id = next_id();
    const uint32_t chunk = backend_.prefill_chunk();
    for (auto& kv : caches_)
      for (uint32_t at = 0; at < count; at += chunk) {
        const auto part = std::span(ids).subspan(at, std::min(chunk, count - at));
        const BatchItem item{kv.get(), part, at + chunk >= count ? rows : LogitRows::kNone};
        RETURN_IF_ERROR(backend_.forward({&item, 1}, logits_));
      }
    return {};
  }

  /// One token for each sequence.
  Status step() {
    std::vector<TokenId> ids(caches_.size());
    std::vector<BatchItem> batch;
    for (size_t i = 0; i < caches_.size(); ++i) {
      ids[i] = next_id();
      batch.push_back({caches_[i].get(), {&ids[i], 1}, LogitRows::kLast, 1});  // the choice of a token is part of it
    }
    return backend_.forward(batch, logits_);
  }

  void truncate(uint32_t length) {
    for (auto& kv : caches_) kv->truncate(length);
  }

 private:
  TokenId next_id() { return static_cast<TokenId>(random_() % backend_.config().vocabulary); }

  Backend& backend_;
  std::vector<std::unique_ptr<KvCache>> caches_;
  std::mt19937 random_{1};
  Logits logits_;
};

}  // namespace

double BenchResult::mean() const {
  double sum = 0;
  for (const double rate : rates(*this)) sum += rate;
  return sum / static_cast<double>(seconds.size());
}

double BenchResult::deviation() const {
  if (seconds.size() < 2) return 0;
  double squares = 0;
  for (const double rate : rates(*this)) squares += (rate - mean()) * (rate - mean());
  return std::sqrt(squares / static_cast<double>(seconds.size() - 1));
}

double BenchResult::median() const {
  auto all = rates(*this);
  std::sort(all.begin(), all.end());
  const size_t half = all.size() / 2;
  return all.size() % 2 == 1 ? all[half] : (all[half - 1] + all[half]) / 2;
}

Result<BenchResult> run_bench(Backend& backend, const BenchCase& wanted, uint32_t repetitions,
                              const std::function<void(uint32_t)>& progress) {
  const uint64_t positions = uint64_t{wanted.depth} + wanted.prompt + wanted.answer;
  if (positions > backend.config().context)
    return fail("{} positions (depth, prompt and answer) are more than the model's context of {}", positions,
                backend.config().context);
  BenchResult result;
  result.tokens = uint64_t{wanted.batch} * (uint64_t{wanted.prompt} + wanted.answer);
  Sequences sequences(backend, wanted.batch);
  RETURN_IF_ERROR(sequences.fill(wanted.depth, LogitRows::kNone));
  for (uint32_t i = 0; i <= repetitions; ++i) {
    sequences.truncate(wanted.depth);
    const auto begin = Clock::now();
    if (wanted.prompt > 0) RETURN_IF_ERROR(sequences.fill(wanted.prompt, LogitRows::kLast));
    for (uint32_t token = 0; token < wanted.answer; ++token) RETURN_IF_ERROR(sequences.step());
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    if (i > 0) result.seconds.push_back(seconds);  // the first brings weights and pages into memory
    if (progress) progress(i);
  }
  return result;
}

}  // namespace onebit
