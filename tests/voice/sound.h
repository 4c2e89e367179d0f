// Sounds for tests.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <random>
#include <span>
#include <vector>

namespace onebit::voice::sound {

inline constexpr uint32_t kSoundRate = 16000;

inline size_t samples_of_ms(double ms) {
  return static_cast<size_t>(ms * kSoundRate / 1000);
}

/// White noise of so many dB of full scale.
inline std::vector<int16_t> noise(double ms, double db, uint32_t seed = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal(0, 32768 * std::pow(10, db / 20));
  std::vector<int16_t> out(samples_of_ms(ms));
  for (auto& sample : out) sample = static_cast<int16_t>(std::clamp(normal(random), -32768.0, 32767.0));
  return out;
}

inline std::vector<int16_t> silence(double ms) {
  return std::vector<int16_t>(samples_of_ms(ms));
}

/// What a detector takes for a voice: a tone that swells four times a second.
inline std::vector<int16_t> hum(double ms, double db = -20) {
  std::vector<int16_t> out(samples_of_ms(ms));
  const double peak = 32768 * std::pow(10, db / 20) * std::sqrt(2.0);
  for (size_t i = 0; i < out.size(); ++i) {
    const double t = static_cast<double>(i) / kSoundRate;
    out[i] = static_cast<int16_t>(peak * (0.75 + 0.25 * std::cos(8 * M_PI * t)) * std::sin(2 * M_PI * 400 * t));
  }
  return out;
}

inline std::vector<int16_t> joined(std::initializer_list<std::vector<int16_t>> parts) {
  std::vector<int16_t> out;
  for (const auto& part : parts) out.insert(out.end(), part.begin(), part.end());
  return out;
}

/// The sum of both, as long as `a`; `b` begins again where it is shorter.
inline std::vector<int16_t> mixed(std::span<const int16_t> a, std::span<const int16_t> b) {
  std::vector<int16_t> out(a.begin(), a.end());
  for (size_t i = 0; i < out.size(); ++i)
    out[i] = static_cast<int16_t>(std::clamp(a[i] + b[i % b.size()], -32768, 32767));
  return out;
}

}  // namespace onebit::voice::sound
