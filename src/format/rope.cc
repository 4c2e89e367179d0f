#include "format/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace onebit {
namespace {

/// Long waves are stretched by the factor, short ones stay, those between are in between.
double llama3_frequency(double frequency, const RopeScaling& s) {
  const double turns = s.original_context * frequency / (2 * std::numbers::pi);  // within the original context
  if (turns < s.low_frequency) return frequency / s.factor;
  if (turns > s.high_frequency) return frequency;
  const double smooth = (turns - s.low_frequency) / (s.high_frequency - s.low_frequency);
  return (1 - smooth) * frequency / s.factor + smooth * frequency;
}

/// The (fractional) pair whose wave turns so often within the original context.
double yarn_pair(double turns, const ModelConfig& c, const RopeScaling& s) {
  return c.head_dim * std::log(s.original_context / (turns * 2 * std::numbers::pi)) / (2 * std::log(c.rope_theta));
}

void scale_yarn(std::vector<double>& frequencies, const ModelConfig& c, const RopeScaling& s) {
  const double low = std::max(std::floor(yarn_pair(s.beta_fast, c, s)), 0.0);
  double high = std::min(std::ceil(yarn_pair(s.beta_slow, c, s)), c.head_dim - 1.0);
  if (low == high) high += 0.001;
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double stretched = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    frequencies[i] = frequencies[i] / s.factor * stretched + frequencies[i] * (1 - stretched);
  }
}

double magnitude_of(const RopeScaling& s) {
  if (s.kind != RopeScaling::Kind::kYarn) return 1;
  if (s.attention_factor != 0) return s.attention_factor;
  return s.factor <= 1 ? 1 : 0.1 * std::log(s.factor) + 1;
}

}  // namespace

std::vector<double> rope_frequencies(const ModelConfig& config, const RopeScaling& scaling) {
  std::vector<double> frequencies(config.head_dim / 2);
  for (uint32_t i = 0; i < config.head_dim / 2; ++i) {
    double& frequency = frequencies[i];
    frequency = std::pow(config.rope_theta, -2.0 * i / config.head_dim);
    if (scaling.kind == RopeScaling::Kind::kLinear) frequency /= scaling.factor;
    if (scaling.kind == RopeScaling::Kind::kLlama3) frequency = llama3_frequency(frequency, scaling);
  }
  if (scaling.kind == RopeScaling::Kind::kYarn) scale_yarn(frequencies, config, scaling);
  return frequencies;
}

std::vector<float> rope_tables(const ModelConfig& config, const RopeScaling& scaling) {
  const uint32_t half = config.head_dim / 2;
  const size_t n = size_t{config.context} * half;
  const auto frequencies = rope_frequencies(config, scaling);
  const double magnitude = magnitude_of(scaling);
  std::vector<float> tables(2 * n);
  for (uint32_t i = 0; i < half; ++i)
    for (uint32_t position = 0; position < config.context; ++position) {
      const double angle = position * frequencies[i];
      tables[size_t{position} * half + i] = static_cast<float>(magnitude * std::cos(angle));
      tables[n + size_t{position} * half + i] = static_cast<float>(magnitude * std::sin(angle));
    }
  return tables;
}

}  // namespace onebit
