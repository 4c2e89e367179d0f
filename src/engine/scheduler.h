// Continuous batching (Orca, Yu et al. 2022): every step takes one token of each answer under way and a part of the
// prompts that wait, whoever came when. By the numerics contract no answer depends on what shares its steps.
#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "backend/backend.h"
#include "engine/pooling.h"
#include "engine/prefix_cache.h"
#include "engine/prompt_pace.h"
#include "engine/request.h"

namespace onebit {

struct SchedulerOptions {
  uint32_t most_running = 64;  // requests that share steps
  uint64_t kv_bytes = 0;       // memory for keys and values; 0: what the backend has, or enough for four full contexts
  bool prefix_cache = true;
  double step_seconds = 0.14;  // of a step that takes prompts while answers are under way
};

/// A number for one thread to write and any to read.
class SharedCount {
 public:
  SharedCount() = default;
  SharedCount(const SharedCount& other) : value_(other.value_.load()) {}
  SharedCount& operator=(const SharedCount& other) { return *this = other.value_.load(); }
  SharedCount& operator=(uint64_t value) {
    value_ = value;
    return *this;
  }
  SharedCount& operator+=(uint64_t by) { return *this = value_ + by; }
  SharedCount& operator++() { return *this += 1; }
  operator uint64_t() const { return value_; }  // NOLINT(google-explicit-constructor)

 private:
  std::atomic<uint64_t> value_{0};
};

/// One for the engine's thread to write and any to read.
struct SchedulerStats {
  SharedCount steps, prompt_tokens, cached_tokens, answer_tokens, preemptions;
  SharedCount queued, running;       // now
  SharedCount batch_rows, all_rows;  // tokens of the last step, and of all
  SharedCount kv_pages, cached_pages, most_kv_pages;

  /// As of one engine.
  SchedulerStats& operator+=(const SchedulerStats& other);
};

/// A request as it is seen from outside: numbers, never its text.
struct SlotInfo {
  uint64_t number = 0;  // by arrival
  bool running = false;
  uint32_t prompt_tokens = 0, cached_tokens = 0;
  uint32_t computed_tokens = 0;  // of the prompt and the answer, those whose keys and values are held
  uint32_t answer_tokens = 0, most_answer_tokens = 0;  // the latter 0: what the context holds
  double seconds = 0;                                  // since its arrival
};

/// For one thread, but for check(), known() and stats().
class Scheduler {
 public:
  /// `backend` and `tokenizer` must outlive it.
  Scheduler(Backend& backend, const Tokenizer& tokenizer, const SchedulerOptions& options = {});

  /// Why a request cannot be run at all: what check_request says, or a prompt with more keys and values than there is
  /// memory for.
  Status check(const Request& request) const;
  /// How many of a prompt's tokens are remembered.
  uint32_t known(std::span<const TokenId> tokens, uint32_t tenant) const {
    return options_.prefix_cache ? cache_.known(tokens, tenant) : 0;
  }
  /// Queues a request that check() allows. It ends at the next step once `*cancelled` is set.
  void add(Request request, std::shared_ptr<RequestListener> listener,
           std::shared_ptr<const std::atomic<bool>> cancelled);

  /// One forward pass for all; false where nobody wants anything.
  bool step();
  /// All requests, those that run first, each group by arrival.
  std::vector<SlotInfo> slots() const;
  /// Keys and values of the longest beginning of `tokens` that is remembered; null where nothing of it is.
  std::unique_ptr<KvCache> remembered(std::span<const TokenId> tokens, uint32_t tenant) {
    return cache_.find(tokens, tenant);
  }
  /// From now on the whole pages of `kv`, which holds `tokens` and came from this scheduler's backend, are remembered;
  /// others are forgotten where there is no room for all.
  void remember(std::span<const TokenId> tokens, const KvCache& kv, uint32_t tenant) {
    cache_.insert(tokens, kv, tenant);
    while (backend_.kv_usage().pages > most_pages_ && cache_.evict()) {
    }
    publish();
  }
  Backend& backend() { return backend_; }
  /// Nobody wants anything for a while: gives back to the system what was kept for the next step. Prefixes stay.
  void rest();
  /// Ends all requests.
  void end_all();

  /// Why no step can be made any more, once the backend's device is lost.
  const std::optional<Error>& loss() const { return loss_; }
  struct Job;
  using Jobs = std::vector<std::unique_ptr<Job>>;
  /// After a loss: all requests, to go on elsewhere with the same bits.
  Jobs release();
  /// A request that another scheduler released and check() allows here.
  void adopt(std::unique_ptr<Job> job);
  /// Ends one that no scheduler can take.
  static void end_with(Job& job, const Error& error);

  const SchedulerStats& stats() const { return stats_; }

  using Clock = std::chrono::steady_clock;
  /// A request on its way.
  struct Job {
    Request request;
    std::shared_ptr<RequestListener> listener;
    std::shared_ptr<const std::atomic<bool>> cancelled;
    std::vector<TokenId> tokens;  // prompt, and what was answered
    std::unique_ptr<Answer> answer;
    std::unique_ptr<KvCache> kv;  // null while queued
    std::vector<GeneratedToken> prompt_logprobs;
    Pool pool{Pooling::kNone};  // of the states so far, where an embedding is wanted
    uint64_t number = 0;        // by arrival, of all schedulers
    Outcome outcome;
    Clock::time_point added, started, first_token;
    bool begun = false;  // was in a step
    bool ended = false;

    /// Tokens that are not computed yet; more than one: a prompt.
    uint32_t waiting() const { return static_cast<uint32_t>(tokens.size()) - kv->length(); }
    bool embeds() const { return request.pooling != Pooling::kNone; }
    /// Nothing of the prompt may be taken from what is remembered: something of each token is wanted.
    bool wants_all_tokens() const { return wants_prompt_logprobs() || request.pooling == Pooling::kMean; }
    bool prompt_told = false;  // its log-probabilities
    /// Every token's logits are wanted while this holds.
    bool wants_prompt_logprobs() const {
      return request.prompt_logprobs && !prompt_told && prompt_logprobs.size() + 1 < request.prompt.size();
    }
  };

 private:
  struct Part {  // of a step
    Job* job;
    uint32_t tokens;
  };

  void end(Job& job, FinishReason reason, std::optional<Error> error = {});
  static void tell_end(Job& job, FinishReason reason, std::optional<Error> error);
  void drop_ended();
  void admit();
  bool fits(const Job& job) const;
  bool shares_with_a_prompt_under_way(const Job& job) const;
  std::vector<Part> plan();
  void plan_prompts(std::vector<Part>& parts, bool answers_under_way);
  uint32_t prompt_budget(bool answers_under_way) const;
  bool make_room(const std::vector<Part>& parts);
  void preempt(Job& job);
  static void forget_computed(Job& job);
  bool lost(const Status& status);
  void forward(std::span<const Part> parts);
  void measure(std::span<const Part> parts, double seconds);
  void take(Job& job, uint32_t tokens, size_t item);
  void take_states(Job& job, size_t item);
  Status compute_logits(const Job& job);
  void take_prompt_logprobs(Job& job, uint32_t tokens, size_t item);
  GenerateParams fitting(const Request& request) const;
  void publish();

  Backend& backend_;
  const Tokenizer& tokenizer_;
  SchedulerOptions options_;
  uint64_t most_pages_;
  PrefixCache cache_;
  PromptPace pace_;
  std::deque<std::unique_ptr<Job>> queue_;
  std::vector<std::unique_ptr<Job>> running_;
  Logits logits_;      // of the step
  Logits all_logits_;  // after one request's tokens, where the best that the step gave did not decide
  uint64_t prompt_steps_ = 0;
  std::optional<Error> loss_;
  SchedulerStats stats_;
};

}  // namespace onebit
