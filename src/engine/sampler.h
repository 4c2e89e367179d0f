// From logits to the next token (docs/numerics.md, 8): the same choice on every machine.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "backend/backend.h"
#include "base/result.h"
#include "format/model_config.h"

namespace onebit {

/// Applied in this order: logit bias, penalties, DRY, temperature, top-k, typical-p, top-p, min-p, XTC. The defaults
/// are greedy decoding with nothing changed.
struct SamplingParams {
  float temperature = 0.0f;         // 0: the most likely token, ties to the lower id
  uint32_t top_k = 0;               // keep the k most likely; 0: all
  float top_p = 1.0f;               // keep the fewest most likely that reach this probability; 1: all
  float typical_p = 1.0f;           // keep the fewest closest to the expected surprise that reach it; 1: all
  float min_p = 0.0f;               // drop those below this fraction of the most likely one's probability
  float repetition_penalty = 1.0f;  // CTRL (Keskar et al. 2019): over prompt and answer
  float frequency_penalty = 0.0f;   // subtracted once per occurrence in the answer
  float presence_penalty = 0.0f;    // subtracted once from every token of the answer
  /// "Don't repeat yourself": a token that would lengthen a repetition of at least dry_allowed_length tokens loses
  /// dry_multiplier · dry_base^(length - dry_allowed_length) from its logit. No repetition reaches over a breaker.
  float dry_multiplier = 0.0f;  // 0: off
  float dry_base = 1.75f;
  uint32_t dry_allowed_length = 2;
  uint32_t dry_last_n = 0;              // tokens that are looked back at; 0: all
  std::vector<TokenId> dry_breakers{};  // ascending
  /// "Exclude top choices": with this probability all but the least likely of those from the threshold on are dropped.
  float xtc_probability = 0.0f;  // 0: off
  float xtc_threshold = 0.1f;
  std::vector<std::pair<TokenId, float>> logit_bias{};
  uint64_t seed = 0;
  uint32_t choice = 0;  // which of several answers to one request
};

/// Names the parameter that is out of range, what it is and what is allowed.
Status validate(const SamplingParams& params, uint32_t vocabulary);

struct TokenLogprob {
  TokenId id = 0;
  float logprob = 0.0f;
};

/// One answer's sampler: knows which tokens came before.
class Sampler {
 public:
  /// `params` must be valid; `prompt` counts for the repetition penalty and for DRY.
  Sampler(SamplingParams params, std::span<const TokenId> prompt);

  /// The token for `position`, from the model's raw logits [vocabulary]; remembers it. Where `allowed` is not empty, a
  /// bit for each token, the others have no part in anything: as if the vocabulary had only these.
  TokenId sample(std::span<const float> logits, uint32_t position, std::span<const uint64_t> allowed = {});

  /// How many of the best logits (Logits::best_of) are enough to choose the same token, but where decided_by() finds
  /// otherwise; 0: all logits are needed. The same for every position.
  uint32_t candidates() const;
  /// Whether these, candidates() of the best raw logits, decide. Seldom not: the k largest of l / T are not those of l
  /// where the division rounds several values of l to the k-th and one that is not among these could have a lower id.
  bool decided_by(std::span<const Logits::Candidate> best) const;
  /// The same from the best that decide.
  TokenId sample(std::span<const Logits::Candidate> best, uint32_t position);

 private:
  bool greedy() const;
  bool adjusts() const;
  bool keeps_all() const;
  void adjust(std::vector<float>& logits) const;
  void penalise_repetitions(std::vector<float>& logits) const;
  TokenId draw(std::span<const float> logits, TokenId most_likely, uint32_t position) const;
  TokenId draw_allowed(std::span<const float> logits, std::span<const uint64_t> allowed, TokenId most_likely,
                       uint32_t position) const;
  TokenId draw(std::span<const Logits::Candidate> best, uint32_t position) const;
  TokenId remember(TokenId chosen);

  SamplingParams params_;
  std::unordered_map<TokenId, uint32_t> answer_counts_;
  std::unordered_map<TokenId, uint32_t> prompt_counts_;
  std::vector<TokenId> history_;  // prompt and answer; for DRY only
};

/// Index of the largest value, ties to the lower one.
TokenId argmax(std::span<const float> logits);

/// log softmax of the raw logits: (l - max) - log(lane sum of exp(l - max)).
class LogSoftmax {
 public:
  explicit LogSoftmax(std::span<const float> logits);
  float operator()(TokenId id) const { return (logits_[static_cast<size_t>(id)] - max_) - log_sum_; }
  /// The n most likely, ties to the lower id.
  std::vector<TokenLogprob> top(size_t n) const;

 private:
  std::span<const float> logits_;
  float max_ = 0.0f, log_sum_ = 0.0f;
};

}  // namespace onebit
