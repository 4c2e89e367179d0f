// Speech to text, whoever does it.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <stop_token>
#include <string>

#include "base/result.h"

namespace onebit::voice {

/// Hears one utterance at a time: begin(), feed() …, then finish() or the next begin(). For one thread. After an error
/// the next begin() may succeed.
class Recognizer {
 public:
  virtual ~Recognizer() = default;

  /// Samples a second that feed() takes.
  static constexpr uint32_t kRate = 16000;

  /// A new utterance; what was heard of the last one is forgotten.
  virtual Status begin() = 0;
  virtual Status feed(std::span<const int16_t> samples) = 0;
  /// The best guess so far; empty where there is none yet, or where the engine has none before the end.
  virtual std::string partial() = 0;
  /// What finish() would say if the utterance ended here. feed() may go on after it. `stop` ends the wait for another
  /// program, as an error.
  virtual Result<std::string> settle(const std::stop_token& stop) = 0;
  /// The text of the whole utterance, in no particular case; empty where nothing was understood. It costs nothing where
  /// nothing was fed since settle().
  virtual Result<std::string> finish(const std::stop_token& stop) = 0;
  /// "pocketsphinx", "whisper", "openai".
  virtual std::string name() const = 0;
};

struct RecognizerOptions {
  std::string engine = "pocketsphinx";  // or "whisper" (whisper.cpp's server), or "openai" (its transcription protocol)
  // pocketsphinx
  std::string acoustic_model{}, language_model{}, dictionary{};  // empty: the en-us ones that Debian has
  // whisper, openai
  std::string url{};  // http://HOST:PORT, with the path where it is not the engine's usual one
  std::string key{};  // bearer token; empty: none
  std::string model = "whisper-1";
  std::string language{};                    // such as "en"; empty: the server finds out
  std::chrono::milliseconds timeout{20000};  // for a transcription
  // all
  std::chrono::seconds longest{600};  // an utterance beyond it is an error
};

/// Errors: no such engine, one that was not built in, its models are not there, a URL that is none.
Result<std::unique_ptr<Recognizer>> make_recognizer(const RecognizerOptions& options);

/// Where the program was built with pocketsphinx.
bool have_pocketsphinx();

}  // namespace onebit::voice
