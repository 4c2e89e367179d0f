#include "engine/sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "backend/best_of_row.h"
#include "engine/philox.h"
#include "kernels/cpu/select.h"
#include "kernels/exp_log.h"
#include "kernels/reference.h"

namespace onebit {
namespace {

struct Candidate {
  TokenId id;
  float logit;
  float weight;  // exp(logit - max)
};

/// Below, logits divided by it could be infinite; and the likeliest is all but certain.
constexpr float kLeastTemperature = 1e-5f;

bool more_likely(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

Status check_range(const char* name, float value, float low, float high) {
  if (!(value >= low && value <= high)) return fail("{} is {}, expected {} to {}", name, value, low, high);
  return {};
}

/// Keeps the candidates up to `last` in order of likelihood; those that stay keep their order, by id.
void keep_up_to(std::vector<Candidate>& candidates, const Candidate& last) {
  std::erase_if(candidates, [&](const Candidate& c) { return more_likely(last, c); });
}

void keep_top_k(std::vector<Candidate>& candidates, size_t k) {
  if (k == 0 || k >= candidates.size()) return;
  auto ranked = candidates;
  std::nth_element(ranked.begin(), ranked.begin() + static_cast<ptrdiff_t>(k - 1), ranked.end(), more_likely);
  keep_up_to(candidates, ranked[k - 1]);
}

/// By ascending id: the same for every way of getting here.
double total_weight(const std::vector<Candidate>& candidates) {
  double total = 0;
  for (const auto& c : candidates) total += double{c.weight};
  return total;
}

/// Items in the order of `before`, each only sorted once it is asked for: most callers stop early.
template <class T, class Before>
class Ranking {
 public:
  Ranking(std::vector<T> items, Before before) : items_(std::move(items)), before_(before) {}
  size_t size() const { return items_.size(); }
  const T& operator[](size_t i) {
    if (i >= sorted_) {
      const auto from = items_.begin() + static_cast<ptrdiff_t>(sorted_);
      sorted_ = std::min(items_.size(), std::max<size_t>(64, 8 * sorted_));
      std::partial_sort(from, items_.begin() + static_cast<ptrdiff_t>(sorted_), items_.end(), before_);
    }
    return items_[i];
  }

 private:
  std::vector<T> items_;
  Before before_;
  size_t sorted_ = 0;
};

/// The fewest most likely whose weights sum to at least `p` of all.
void keep_top_p(std::vector<Candidate>& candidates, float p) {
  if (p >= 1.0f) return;
  const double enough = double{p} * total_weight(candidates);
  Ranking ranked(candidates, more_likely);
  double sum = 0;
  for (size_t i = 0; i < ranked.size(); ++i) {
    sum += double{ranked[i].weight};
    if (sum >= enough) return keep_up_to(candidates, ranked[i]);
  }
}

/// Locally typical sampling (Meister et al. 2022): the fewest whose surprise is closest to the expected one.
void keep_typical(std::vector<Candidate>& candidates, float p) {
  if (p >= 1.0f) return;
  const double total = total_weight(candidates);
  const auto surprise = [&](const Candidate& c) {
    return -double{log_f32(static_cast<float>(std::max(double{c.weight} / total, 1e-30)))};
  };
  double expected = 0;
  for (const auto& c : candidates) expected += double{c.weight} / total * surprise(c);
  struct Typical {
    double distance;
    const Candidate* candidate;
  };
  std::vector<Typical> items;
  items.reserve(candidates.size());
  for (const auto& c : candidates) items.push_back({std::abs(surprise(c) - expected), &c});
  Ranking ranked(std::move(items), [](const Typical& a, const Typical& b) {
    return a.distance != b.distance ? a.distance < b.distance : a.candidate->id < b.candidate->id;
  });
  std::vector<Candidate> kept;
  double sum = 0;
  for (size_t i = 0; i < ranked.size() && (i == 0 || sum < double{p} * total); ++i) {
    kept.push_back(*ranked[i].candidate);
    sum += double{kept.back().weight};
  }
  std::sort(kept.begin(), kept.end(), [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
  candidates = std::move(kept);
}

/// XTC: of those with at least `threshold` of the whole, only the least likely stays.
void drop_top_choices(std::vector<Candidate>& candidates, float threshold) {
  const double least = double{threshold} * total_weight(candidates);
  const Candidate* last = nullptr;
  for (const auto& c : candidates)
    if (double{c.weight} >= least && (last == nullptr || more_likely(*last, c))) last = &c;
  if (last == nullptr) return;
  const Candidate stays = *last;
  std::erase_if(candidates, [&](const Candidate& c) { return more_likely(c, stays); });
}

/// The candidate in which the running sum of weights, by ascending id, passes u of the whole.
TokenId pick(const std::vector<Candidate>& candidates, double u) {
  const double wanted = u * total_weight(candidates);
  double sum = 0;
  for (const auto& c : candidates) {
    sum += double{c.weight};
    if (sum > wanted) return c.id;
  }
  return candidates.back().id;
}

/// The same of all tokens.
TokenId pick_of_all(const std::vector<float>& weights, double u) {
  double total = 0, sum = 0;
  for (const float w : weights) total += double{w};
  const double wanted = u * total;
  for (size_t id = 0; id < weights.size(); ++id) {
    sum += double{weights[id]};
    if (sum > wanted) return static_cast<TokenId>(id);
  }
  return static_cast<TokenId>(weights.size() - 1);
}

double random_number(const SamplingParams& params, uint32_t position, uint32_t number) {
  return uniform_random(params.seed, params.choice, position, number);
}

/// What the parameters leave of candidates that stand by ascending id, and the choice among them.
TokenId draw_of(std::vector<Candidate> candidates, const SamplingParams& params, TokenId most_likely,
                uint32_t position) {
  keep_top_k(candidates, params.top_k);
  keep_typical(candidates, params.typical_p);
  keep_top_p(candidates, params.top_p);
  std::erase_if(candidates, [&](const Candidate& c) { return c.weight < params.min_p; });
  if (candidates.empty()) return most_likely;  // typical-p may have left nothing that min-p keeps
  if (params.xtc_probability > 0.0f && random_number(params, position, 1) < double{params.xtc_probability})
    drop_top_choices(candidates, params.xtc_threshold);
  return pick(candidates, random_number(params, position, 0));
}

/// exp(l - max) of each, by the instruction set that gen-2 uses; the bits are exp_f32's.
std::vector<float> exp_below(std::span<const float> logits, float max) {
  static const cpu::Kernels& kernels = *cpu::chosen_kernels().value_or(&cpu::best_kernels());
  std::vector<float> result(logits.size());
  kernels.exp_below(logits.data(), max, static_cast<uint32_t>(logits.size()), result.data());
  return result;
}

/// Ids whose bits are set, ascending.
template <class F>
void for_each_allowed(std::span<const uint64_t> allowed, F with) {
  for (size_t w = 0; w < allowed.size(); ++w)
    for (uint64_t bits = allowed[w]; bits != 0; bits &= bits - 1)
      with(64 * w + static_cast<size_t>(std::countr_zero(bits)));
}

/// The likeliest of those, ties to the lower id.
TokenId argmax_allowed(std::span<const float> logits, std::span<const uint64_t> allowed) {
  constexpr size_t kNone = SIZE_MAX;
  size_t best = kNone;
  for_each_allowed(allowed, [&](size_t id) {
    if (best == kNone || logits[id] > logits[best]) best = id;
  });
  return static_cast<TokenId>(best);
}

}  // namespace

Status validate(const SamplingParams& p, uint32_t vocabulary) {
  RETURN_IF_ERROR(check_range("temperature", p.temperature, 0.0f, 100.0f));
  RETURN_IF_ERROR(check_range("top_p", p.top_p, 0.0f, 1.0f));
  RETURN_IF_ERROR(check_range("typical_p", p.typical_p, 0.0f, 1.0f));
  RETURN_IF_ERROR(check_range("min_p", p.min_p, 0.0f, 1.0f));
  RETURN_IF_ERROR(check_range("dry_multiplier", p.dry_multiplier, 0.0f, 100.0f));
  RETURN_IF_ERROR(check_range("dry_base", p.dry_base, 1.0f, 100.0f));
  RETURN_IF_ERROR(check_range("xtc_probability", p.xtc_probability, 0.0f, 1.0f));
  RETURN_IF_ERROR(check_range("xtc_threshold", p.xtc_threshold, 0.0f, 1.0f));
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
  if (params_.repetition_penalty != 1.0f)
    for (const TokenId id : prompt) ++prompt_counts_[id];
  if (params_.dry_multiplier > 0.0f) history_.assign(prompt.begin(), prompt.end());
}

bool Sampler::greedy() const {
  return params_.temperature < kLeastTemperature;
}

bool Sampler::adjusts() const {
  return !params_.logit_bias.empty() || params_.repetition_penalty != 1.0f || params_.frequency_penalty != 0.0f ||
         params_.presence_penalty != 0.0f || params_.dry_multiplier > 0.0f;
}

/// Nothing takes candidates away.
bool Sampler::keeps_all() const {
  return params_.top_k == 0 && params_.typical_p >= 1.0f && params_.top_p >= 1.0f && params_.min_p == 0.0f &&
         params_.xtc_probability == 0.0f;
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
  if (params_.frequency_penalty != 0.0f || params_.presence_penalty != 0.0f)
    for (const auto& [id, count] : answer_counts_)
      logits[static_cast<size_t>(id)] -=
          static_cast<float>(count) * params_.frequency_penalty + params_.presence_penalty;
  if (params_.dry_multiplier > 0.0f) penalise_repetitions(logits);
}

/// For each earlier place: how many tokens before it are also the last ones, by the Z function of the reversed text.
void Sampler::penalise_repetitions(std::vector<float>& logits) const {
  const auto breaks = [&](TokenId id) {
    return std::binary_search(params_.dry_breakers.begin(), params_.dry_breakers.end(), id);
  };
  size_t n = history_.size();
  if (params_.dry_last_n > 0) n = std::min<size_t>(n, params_.dry_last_n);
  const auto back = [&](size_t i) { return history_[history_.size() - 1 - i]; };  // i tokens before the last
  size_t unbroken = 0;
  while (unbroken < n && !breaks(back(unbroken))) ++unbroken;
  std::vector<size_t> z(n, 0);
  std::unordered_map<TokenId, size_t> longest;  // by the token that followed
  for (size_t i = 1, left = 0, right = 0; i < n; ++i) {
    if (i < right) z[i] = std::min(right - i, z[i - left]);
    while (i + z[i] < n && back(z[i]) == back(i + z[i])) ++z[i];
    if (i + z[i] > right) {
      left = i;
      right = i + z[i];
    }
    const size_t length = std::min(z[i], unbroken);
    if (length >= params_.dry_allowed_length && length > 0 && !breaks(back(i - 1)))
      longest[back(i - 1)] = std::max(longest[back(i - 1)], length);
  }
  for (const auto& [id, length] : longest) {
    constexpr double kMost = 1e6;
    double penalty = double{params_.dry_multiplier};
    for (size_t i = params_.dry_allowed_length; i < length && penalty < kMost; ++i) penalty *= double{params_.dry_base};
    logits[static_cast<size_t>(id)] -= static_cast<float>(penalty);
  }
}

TokenId Sampler::draw(std::span<const float> logits, TokenId most_likely, uint32_t position) const {
  std::vector<float> scaled(logits.begin(), logits.end());
  for (float& l : scaled) l /= params_.temperature;
  const auto weights = exp_below(scaled, scaled[static_cast<size_t>(most_likely)]);
  if (keeps_all()) return pick_of_all(weights, random_number(params_, position, 0));
  std::vector<Candidate> candidates(logits.size());
  for (size_t id = 0; id < logits.size(); ++id) candidates[id] = {static_cast<TokenId>(id), scaled[id], weights[id]};
  return draw_of(std::move(candidates), params_, most_likely, position);
}

TokenId Sampler::draw(std::span<const Logits::Candidate> best, uint32_t position) const {
  std::vector<Logits::Candidate> by_id(best.begin(), best.end());
  std::sort(by_id.begin(), by_id.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  std::vector<float> scaled;
  scaled.reserve(by_id.size());
  for (const auto& c : by_id) scaled.push_back(c.logit / params_.temperature);
  const auto weights = exp_below(scaled, best[0].logit / params_.temperature);
  std::vector<Candidate> candidates(by_id.size());
  for (size_t i = 0; i < by_id.size(); ++i) candidates[i] = {by_id[i].id, scaled[i], weights[i]};
  return draw_of(std::move(candidates), params_, best[0].id, position);
}

/// The same of those whose bits are set: at least one.
TokenId Sampler::draw_allowed(std::span<const float> logits, std::span<const uint64_t> allowed, TokenId most_likely,
                              uint32_t position) const {
  std::vector<Candidate> candidates;
  std::vector<float> scaled;
  for_each_allowed(allowed, [&](size_t id) {
    scaled.push_back(logits[id] / params_.temperature);
    candidates.push_back({static_cast<TokenId>(id), scaled.back(), 0.0f});
  });
  const auto weights = exp_below(scaled, logits[static_cast<size_t>(most_likely)] / params_.temperature);
  for (size_t i = 0; i < candidates.size(); ++i) candidates[i].weight = weights[i];
  return draw_of(std::move(candidates), params_, most_likely, position);
}

TokenId Sampler::sample(std::span<const float> raw, uint32_t position, std::span<const uint64_t> allowed) {
  std::vector<float> adjusted;
  if (adjusts()) {
    adjusted.assign(raw.begin(), raw.end());
    adjust(adjusted);
    raw = adjusted;
  }
  if (!allowed.empty()) {
    const TokenId most_likely = argmax_allowed(raw, allowed);
    return remember(greedy() ? most_likely : draw_allowed(raw, allowed, most_likely, position));
  }
  const TokenId most_likely = argmax(raw);
  return remember(greedy() ? most_likely : draw(raw, most_likely, position));
}

uint32_t Sampler::candidates() const {
  if (adjusts()) return 0;
  if (greedy()) return 1;
  if (params_.top_k == 0 || params_.top_k > kMostBest) return 0;
  // Division by a power of two rounds nothing; by others, one more shows that the k-th place is not tied.
  int exponent = 0;
  const bool exact = std::frexp(params_.temperature, &exponent) == 0.5f;
  const uint32_t enough = params_.top_k + (exact ? 0 : 1);
  return enough <= kMostBest ? enough : 0;
}

bool Sampler::decided_by(std::span<const Logits::Candidate> best) const {
  if (greedy() || best.size() < candidates()) return true;  // fewer: the whole vocabulary
  const float t = params_.temperature, last = best[params_.top_k - 1].logit;
  if (best.back().logit / t < last / t) return true;
  // All others may tie with the k-th: then only where no other value comes to the same are they behind it by their ids.
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  return std::nextafter(last, kInfinity) / t > last / t && std::nextafter(last, -kInfinity) / t < last / t;
}

TokenId Sampler::sample(std::span<const Logits::Candidate> best, uint32_t position) {
  return remember(greedy() ? best[0].id : draw(best, position));
}

TokenId Sampler::remember(TokenId chosen) {
  ++answer_counts_[chosen];
  if (params_.dry_multiplier > 0.0f) history_.push_back(chosen);
  return chosen;
}

TokenId argmax(std::span<const float> logits) {
  const auto at = std::find(logits.begin(), logits.end(), largest(logits));
  return at == logits.end() ? 0 : static_cast<TokenId>(at - logits.begin());  // a NaN is nowhere
}

LogSoftmax::LogSoftmax(std::span<const float> logits) : logits_(logits) {
  max_ = logits[static_cast<size_t>(argmax(logits))];
  log_sum_ = log_f32(reference::lane_sum(exp_below(logits, max_)));
}

std::vector<TokenLogprob> LogSoftmax::top(size_t n) const {
  if (n == 0) return {};
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
