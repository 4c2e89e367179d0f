#include "engine/sampler.h"

#include <algorithm>
#include <cmath>

#include "engine/philox.h"
#include "kernels/exp_log.h"
#include "kernels/reference.h"

namespace onebit {
namespace {

struct Candidate {
  TokenId id;
  float logit;
  float weight;  // exp(logit - max)
};

bool more_likely(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

Status check_range(const char* name, float value, float low, float high) {
  if (!(value >= low && value <= high)) return fail("{} is {}, expected {} to {}", name, value, low, high);
  return {};
}

/// The k most likely, in any order.
void keep_top_k(std::vector<Candidate>& candidates, size_t k) {
  if (k == 0 || k >= candidates.size()) return;
  std::nth_element(candidates.begin(), candidates.begin() + static_cast<ptrdiff_t>(k), candidates.end(), more_likely);
  candidates.resize(k);
}

/// The fewest most likely whose weights sum to at least `p` of all.
void keep_top_p(std::vector<Candidate>& candidates, float p) {
  if (p >= 1.0f) return;
  std::sort(candidates.begin(), candidates.end(), more_likely);
  double total = 0;
  for (const auto& c : candidates) total += double{c.weight};
  double sum = 0;
  size_t kept = 0;
  while (kept < candidates.size() && (kept == 0 || sum < double{p} * total)) sum += double{candidates[kept++].weight};
  candidates.resize(kept);
}

/// The candidate in which the running sum of weights, by ascending id, passes u of the whole.
TokenId draw(std::vector<Candidate>& candidates, double u) {
  std::sort(candidates.begin(), candidates.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  double total = 0;
  for (const auto& c : candidates) total += double{c.weight};
  double sum = 0;
  for (const auto& c : candidates) {
    sum += double{c.weight};
    if (sum > u * total) return c.id;
  }
  return candidates.back().id;
}

}  // namespace

Status validate(const SamplingParams& p, uint32_t vocabulary) {
  RETURN_IF_ERROR(check_range("temperature", p.temperature, 0.0f, 100.0f));
  RETURN_IF_ERROR(check_range("top_p", p.top_p, 0.0f, 1.0f));
  RETURN_IF_ERROR(check_range("min_p", p.min_p, 0.0f, 1.0f));
  RETURN_IF_ERROR(check_range("repetition_penalty", p.repetition_penalty, 0.01f, 100.0f));
  RETURN_IF_ERROR(check_range("frequency_penalty", p.frequency_penalty, -100.0f, 100.0f));
  RETURN_IF_ERROR(check_range("presence_penalty", p.presence_penalty, -100.0f, 100.0f));
  for (const auto& [id, bias] : p.logit_bias) {
    if (id < 0 || static_cast<uint32_t>(id) >= vocabulary)
      return fail("logit_bias: token id {} is outside the vocabulary of {}", id, vocabulary);
    RETURN_IF_ERROR(check_range("logit_bias", bias, -1000.0f, 1000.0f));
  }
  return {};
}

Sampler::Sampler(SamplingParams params, std::span<const TokenId> prompt) : params_(std::move(params)) {
  for (const TokenId id : prompt) ++prompt_counts_[id];
}

void Sampler::adjust(std::vector<float>& logits) const {
  for (const auto& [id, bias] : params_.logit_bias) logits[static_cast<size_t>(id)] += bias;
  const auto penalise = [&](TokenId id) {
    float& l = logits[static_cast<size_t>(id)];
    l = l > 0.0f ? l / params_.repetition_penalty : l * params_.repetition_penalty;
  };
  if (params_.repetition_penalty != 1.0f) {
    for (const auto& [id, count] : prompt_counts_) penalise(id);
    for (const auto& [id, count] : answer_counts_)
      if (!prompt_counts_.contains(id)) penalise(id);
  }
  if (params_.frequency_penalty == 0.0f && params_.presence_penalty == 0.0f) return;
  for (const auto& [id, count] : answer_counts_)
    logits[static_cast<size_t>(id)] -= static_cast<float>(count) * params_.frequency_penalty + params_.presence_penalty;
}

TokenId Sampler::sample(std::span<const float> raw, uint32_t position) {
  std::vector<float> logits(raw.begin(), raw.end());
  adjust(logits);
  TokenId chosen = argmax(logits);
  if (params_.temperature > 0.0f) {
    const float max = logits[static_cast<size_t>(chosen)] / params_.temperature;
    std::vector<Candidate> candidates;
    candidates.reserve(logits.size());
    for (size_t id = 0; id < logits.size(); ++id) {
      const float l = logits[id] / params_.temperature;
      candidates.push_back({static_cast<TokenId>(id), l, exp_f32(l - max)});
    }
    keep_top_k(candidates, params_.top_k);
    keep_top_p(candidates, params_.top_p);
    std::erase_if(candidates, [&](const Candidate& c) { return c.weight < params_.min_p; });
    chosen = draw(candidates, uniform_random(params_.seed, params_.choice, position, 0));
  }
  ++answer_counts_[chosen];
  return chosen;
}

TokenId argmax(std::span<const float> logits) {
  return static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

LogSoftmax::LogSoftmax(std::span<const float> logits) : logits_(logits) {
  max_ = logits[static_cast<size_t>(argmax(logits))];
  std::vector<float> weights(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) weights[i] = exp_f32(logits[i] - max_);
  log_sum_ = log_f32(reference::lane_sum(weights));
}

std::vector<TokenLogprob> LogSoftmax::top(size_t n) const {
  std::vector<TokenId> ids(logits_.size());
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<TokenId>(i);
  n = std::min(n, ids.size());
  const auto less = [&](TokenId a, TokenId b) {
    const float x = logits_[static_cast<size_t>(a)], y = logits_[static_cast<size_t>(b)];
    return x != y ? x > y : a < b;
  };
  std::partial_sort(ids.begin(), ids.begin() + static_cast<ptrdiff_t>(n), ids.end(), less);
  std::vector<TokenLogprob> result;
  result.reserve(n);
  for (size_t i = 0; i < n; ++i) result.push_back({ids[i], (*this)(ids[i])});
  return result;
}

}  // namespace onebit
