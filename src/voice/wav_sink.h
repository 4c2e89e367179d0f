// WAV that another program gives in parts, told as samples of the wanted rate.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "voice/audio.h"
#include "voice/speaker.h"

namespace onebit::voice {

class WavSink {
 public:
  /// `name` begins errors.
  WavSink(const std::string& name, uint32_t rate, const AudioSink& sink)
      : name_(name), wav_(name), rate_(rate), sink_(sink) {}

  /// False: no more is wanted, or it is no WAV: finish() tells.
  bool push(std::string_view part) {
    in_.clear();
    state_ = wav_.push(part, in_);
    return state_.has_value() && tell(in_, false);
  }
  /// No error where the sink wanted no more.
  Status finish() {
    if (!state_ || ended_) return state_;
    RETURN_IF_ERROR(wav_.finish());
    tell({}, true);
    return state_;
  }

 private:
  bool tell(std::span<const int16_t> samples, bool last) {
    if (!resampler_ && wav_.rate() != 0) resampler_.emplace(wav_.rate(), rate_);
    if (!resampler_) return true;
    out_.clear();
    resampler_->push(samples, out_);
    if (last) resampler_->finish(out_);
    told_ += out_.size();
    if (told_ > uint64_t{rate_} * static_cast<uint64_t>(Speaker::kLongest.count())) {
      state_ = fail("{}: gave more than {} s of speech for one text", name_, Speaker::kLongest.count());
      return false;
    }
    if (!out_.empty() && !sink_(out_)) ended_ = true;
    return !ended_;
  }

  std::string name_;
  WavStream wav_;
  uint32_t rate_;
  const AudioSink& sink_;
  std::optional<Resampler> resampler_;
  std::vector<int16_t> in_, out_;
  uint64_t told_ = 0;
  Status state_{};
  bool ended_ = false;
};

}  // namespace onebit::voice
