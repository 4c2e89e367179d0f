// Where in a stream of sound somebody speaks: energy in the band of voices against a noise floor that adapts.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

namespace onebit::voice {

using Milliseconds = std::chrono::milliseconds;

struct VadOptions {
  uint32_t rate = 16000;       // of the stream, from 8000
  Milliseconds onset{60};      // of sound until it is taken for speech
  Milliseconds pause{200};     // of silence until a pause is told of
  Milliseconds silence{600};   // of silence until speech has ended
  float above_floor_db = 7;    // louder than the noise floor by so much: speech may begin; half of it: it goes on
  float least_level_db = -52;  // of full scale, in the band: what is softer is no speech
};

struct VadChange {
  enum class Kind {
    kBegin,   // speech began at `at`
    kPause,   // nothing is heard since `at`; the speech may go on
    kResume,  // the speech goes on after a pause, at `at`
    kEnd,     // it has ended at `at`
  };
  Kind kind = Kind::kBegin;
  uint64_t at = 0;     // sample of the stream where it happened
  uint64_t known = 0;  // samples that had been heard when it was known
};

/// Of one stream, in parts of any length: the same changes however it is cut.
class Vad {
 public:
  explicit Vad(const VadOptions& options = {});

  /// Appends what changed.
  void push(std::span<const int16_t> samples, std::vector<VadChange>& changes);
  /// Whether speech is under way, pauses included.
  bool speaking() const { return speaking_; }
  /// Samples heard.
  uint64_t position() const { return position_; }
  /// What is taken for noise, dB of full scale in the band.
  float floor_db() const { return floor_; }
  /// Speech that is under way is over without a change being told; what was learned of the noise is kept.
  void end_speech();

  static constexpr uint32_t kFrameMs = 10;

 private:
  struct Biquad {
    float b0, b1, b2, a1, a2, z1 = 0, z2 = 0;
    float operator()(float x);
  };
  void frame(std::vector<VadChange>& changes);
  void follow_floor(float level);

  VadOptions options_;
  Biquad high_pass_, low_pass_;
  uint32_t frame_samples_;
  double energy_ = 0;      // of the frame so far
  uint32_t in_frame_ = 0;  // samples of it
  uint64_t position_ = 0;
  float smooth_ = 0, floor_ = -100;
  uint64_t frames_ = 0;
  std::deque<std::pair<uint64_t, float>> lows_;  // frame and level, rising: what may be the lowest of the last seconds
  bool speaking_ = false, paused_ = false;
  uint32_t loud_ = 0, quiet_ = 0;  // frames in a row
  uint64_t quiet_since_ = 0;       // sample
};

}  // namespace onebit::voice
