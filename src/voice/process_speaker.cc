// espeak-ng, or any program that reads a text and writes a WAV file: a process a text.
#include <cmath>

#include "base/process.h"
#include "voice/audio.h"
#include "voice/engines.h"
#include "voice/wav_sink.h"

namespace onebit::voice {
namespace {

constexpr double kWordsAMinute = 175;

class ProcessSpeaker : public Speaker {
 public:
  ProcessSpeaker(std::vector<std::string> program, const SpeakerOptions& options)
      : program_(std::move(program)), rate_(options.rate), timeout_(options.timeout) {}

  uint32_t rate() const override { return rate_; }
  std::string name() const override { return "espeak-ng"; }

  Status speak(std::string_view text, const AudioSink& sink, const std::stop_token& stop) override {
    if (text.size() > kMostTextBytes) return fail("a text of {} bytes is too long to be said at once", text.size());
    WavSink wav(program_.front(), rate_, sink);
    const ProcessBounds bounds{.timeout = timeout_, .stop = stop};
    RETURN_IF_ERROR(run_process(program_, text, [&](std::string_view part) { return wav.push(part); }, bounds));
    return stop.stop_requested() ? Status() : wav.finish();
  }

 private:
  std::vector<std::string> program_;
  uint32_t rate_;
  std::chrono::milliseconds timeout_;
};

}  // namespace

Result<std::unique_ptr<Speaker>> make_process_speaker(const SpeakerOptions& options) {
  auto program = options.program;
  if (program.empty()) {
    const std::string voice = options.voice.empty() ? "en" : options.voice;
    if (voice.starts_with('-')) return fail("'{}' is no voice of espeak-ng", voice);
    program = {"espeak-ng", "--stdin", "--stdout",
               "-b",        "1",       "-v",
               voice,       "-s",      std::to_string(std::lround(kWordsAMinute * options.speed))};
  }
  return std::make_unique<ProcessSpeaker>(std::move(program), options);
}

}  // namespace onebit::voice
