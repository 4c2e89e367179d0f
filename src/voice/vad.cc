#include "voice/vad.h"

#include <algorithm>
#include <cmath>

namespace onebit::voice {
namespace {

constexpr float kHighPassHz = 150, kLowPassHz = 3400;
constexpr uint32_t kFloorFrames = 300;  // 3 s: no voice goes on for longer without a gap

struct Coefficients {
  float cosine, alpha, gain;
};

Coefficients butterworth(float hz, uint32_t rate) {
  const double w = 2 * M_PI * std::min(static_cast<double>(hz), rate * 0.45) / rate;
  const double alpha = std::sin(w) / std::sqrt(2.0);
  return {static_cast<float>(std::cos(w)), static_cast<float>(alpha), static_cast<float>(1 / (1 + alpha))};
}

uint32_t frames_in(Milliseconds time) {
  return static_cast<uint32_t>(std::clamp<int64_t>(time.count() / Vad::kFrameMs, 1, 100000));
}

}  // namespace

float Vad::Biquad::operator()(float x) {
  const float y = b0 * x + z1;
  z1 = b1 * x - a1 * y + z2;
  z2 = b2 * x - a2 * y;
  return y;
}

Vad::Vad(const VadOptions& options) : options_(options) {
  options_.rate = std::max(options_.rate, 8000u);
  frame_samples_ = options_.rate * kFrameMs / 1000;
  const auto [hc, ha, hg] = butterworth(kHighPassHz, options_.rate);
  high_pass_ = {(1 + hc) / 2 * hg, -(1 + hc) * hg, (1 + hc) / 2 * hg, -2 * hc * hg, (1 - ha) * hg};
  const auto [lc, la, lg] = butterworth(kLowPassHz, options_.rate);
  low_pass_ = {(1 - lc) / 2 * lg, (1 - lc) * lg, (1 - lc) / 2 * lg, -2 * lc * lg, (1 - la) * lg};
}

void Vad::push(std::span<const int16_t> samples, std::vector<VadChange>& changes) {
  for (const int16_t sample : samples) {
    const float x = low_pass_(high_pass_(static_cast<float>(sample) / 32768.0f));
    energy_ += static_cast<double>(x) * static_cast<double>(x);
    ++position_;
    if (++in_frame_ == frame_samples_) frame(changes);
  }
}

/// The lowest smoothed level of the last seconds: voices have gaps in which only the noise is heard.
void Vad::follow_floor(float level) {
  smooth_ = frames_ == 0 ? level : smooth_ + 0.3f * (level - smooth_);
  while (!lows_.empty() && lows_.back().second >= smooth_) lows_.pop_back();
  lows_.emplace_back(frames_, smooth_);
  while (lows_.front().first + kFloorFrames < frames_) lows_.pop_front();
  floor_ = lows_.front().second + 1;  // the lowest of many is below their mean
  ++frames_;
}

void Vad::frame(std::vector<VadChange>& changes) {
  const double mean = energy_ / frame_samples_;
  const float level = mean < 1e-10 ? -100.0f : static_cast<float>(10 * std::log10(mean));
  energy_ = 0;
  in_frame_ = 0;
  follow_floor(level);
  const float above = options_.above_floor_db * (speaking_ && !paused_ ? 0.5f : 1.0f);
  const bool loud = level > std::max(floor_ + above, options_.least_level_db);
  const uint64_t begin = position_ - frame_samples_;
  if (loud) {
    ++loud_;
  } else {
    loud_ = 0;
    if (quiet_ == 0) quiet_since_ = begin;
  }
  const uint32_t needed = frames_in(options_.onset);
  const auto tell = [&](VadChange::Kind kind, uint64_t at) { changes.push_back({kind, at, position_}); };
  if (!speaking_) {
    quiet_ = loud ? 0 : quiet_ + 1;
    if (loud_ < needed) return;
    speaking_ = true;
    paused_ = false;
    quiet_ = 0;
    tell(VadChange::Kind::kBegin, position_ - uint64_t{needed} * frame_samples_);
    return;
  }
  // A click in the silence does not end it: only as much sound as speech begins with does.
  const uint32_t goes_on = paused_ ? needed : std::min(needed, 2u);
  if (loud_ >= goes_on) {
    quiet_ = 0;
    if (paused_) tell(VadChange::Kind::kResume, position_ - uint64_t{goes_on} * frame_samples_);
    paused_ = false;
    return;
  }
  if (loud && quiet_ == 0) return;
  ++quiet_;
  if (!paused_ && quiet_ >= frames_in(options_.pause)) {
    paused_ = true;
    tell(VadChange::Kind::kPause, quiet_since_);
  }
  if (quiet_ >= frames_in(options_.silence)) {
    tell(VadChange::Kind::kEnd, quiet_since_);
    end_speech();
  }
}

void Vad::end_speech() {
  speaking_ = paused_ = false;
  loud_ = quiet_ = 0;
}

}  // namespace onebit::voice
