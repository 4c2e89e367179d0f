// From logits to the next token (docs/numerics.md, 8): the same choice on every machine.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "format/model_config.h"

namespace onebit {

/// Applied in this order: logit bias, penalties, temperature, top-k, top-p, min-p. The defaults are
/// greedy decoding with nothing changed.
struct SamplingParams {
  float temperature = 0.0f;         // 0: the most likely token, ties to the lower id
  uint32_t top_k = 0;               // keep the k most likely; 0: all
  float top_p = 1.0f;               // keep the fewest most likely that reach this probability; 1: all
  float min_p = 0.0f;               // drop those below this fraction of the most likely one's probability
  float repetition_penalty = 1.0f;  // CTRL (Keskar et al. 2019): over prompt and answer
  float frequency_penalty = 0.0f;   // subtracted once per occurrence in the answer
  float presence_penalty = 0.0f;    // subtracted once from every token of the answer
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
  /// `params` must be valid; `prompt` counts for the repetition penalty.
  Sampler(SamplingParams params, std::span<const TokenId> prompt);

  /// The token for `position`, from the model's raw logits [vocabulary]; remembers it.
  TokenId sample(std::span<const float> logits, uint32_t position);

 private:
  void adjust(std::vector<float>& logits) const;

  SamplingParams params_;
  std::unordered_map<TokenId, uint32_t> answer_counts_;
  std::unordered_map<TokenId, uint32_t> prompt_counts_;
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
