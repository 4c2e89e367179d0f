// Text to speech, whoever does it.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace onebit::voice {

/// Gets samples in the speaker's rate as they are made; false ends the speech. Must not wait for long.
using AudioSink = std::function<bool(std::span<const int16_t> samples)>;

/// For one thread.
class Speaker {
 public:
  virtual ~Speaker() = default;

  /// Samples a second of what the sink gets: the options'.
  virtual uint32_t rate() const = 0;
  /// Says `text` (UTF-8; kMostTextBytes at most). `stop` ends it, and so does the sink; neither is an error. Errors:
  /// what the engine says, a process that fails, hangs or gives more sound than the text can have.
  virtual Status speak(std::string_view text, const AudioSink& sink, const std::stop_token& stop) = 0;
  /// "flite", "espeak-ng", "openai".
  virtual std::string name() const = 0;

  static constexpr size_t kMostTextBytes = 4096;
  /// Of one text's speech.
  static constexpr std::chrono::seconds kLongest{600};
};

struct SpeakerOptions {
  std::string engine = "flite";  // or "espeak-ng" (a program), or "openai" (its speech protocol)
  std::string voice{};           // flite: slt, rms, awb, kal; espeak-ng: en, de, …; openai: alloy, …; empty: the first
  uint32_t rate = 16000;         // of the samples that the sink gets
  double speed = 1.0;            // of speech, 0.25 to 4
  // espeak-ng
  std::vector<std::string>
      program{};  // another program with arguments, which reads text and writes WAV; empty: espeak-ng
  // openai
  std::string url{}, key{};
  std::string model = "tts-1";
  // espeak-ng, openai
  std::chrono::milliseconds timeout{20000};  // for one text
};

/// Errors: no such engine or voice, one that was not built in, a URL that is none.
Result<std::unique_ptr<Speaker>> make_speaker(const SpeakerOptions& options);

/// The voices of an engine that can be named; empty where that is not known here.
std::vector<std::string> voices_of(const std::string& engine);

/// Where the program was built with flite.
bool have_flite();

}  // namespace onebit::voice
