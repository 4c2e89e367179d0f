// A conversation by voice: sound in, sound out, and in between a recogniser, a language model and a speaker that work
// at the same time. docs/voice.md draws it.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>

#include "base/result.h"
#include "voice/recognizer.h"
#include "voice/speaker.h"
#include "voice/vad.h"

namespace onebit::voice {

/// What answers. The loop calls it from one thread at a time, not always the same.
class LanguageModel {
 public:
  virtual ~LanguageModel() = default;
  /// Gets each piece of the answer, valid UTF-8; false: no more is wanted. It may wait for speech to catch up.
  using Sink = std::function<bool(std::string_view piece)>;
  /// Streams the answer to what was said and returns when it is whole, is no longer wanted (no error), or failed. An
  /// answer may be begun and dropped for another question: it must leave no trace in the conversation until remember().
  virtual Status answer(const std::string& question, const Sink& sink, const std::stop_token& stop) = 0;
  /// An exchange that took place: `heard` is the answer as far as it was played.
  virtual void remember(const std::string& question, const std::string& heard) = 0;
};

/// What happens in a loop, in this order within a turn: kSpeechStarted, kPartial …, kSpeechStopped, kFinal, then kText,
/// kSentence and kAudio in any order, then one of kDone, kInterrupted and kError. A turn in which nothing was
/// understood ends with kDone after an empty kFinal. Events of one turn may stand among another's: its kSpeechStarted
/// comes before the last turn's kInterrupted, which may follow a kDone whose audio is still being played.
struct Event {
  enum class Kind {
    kSpeechStarted,  // `sample`: where in the microphone's stream. Whoever plays an answer stops
    kSpeechStopped,  // `sample`: the end of the speech, known `silence` later
    kPartial,        // `text`: what is understood so far, whole
    kFinal,          // `text`: what was said
    kText,           // `text`: a part of the answer
    kSentence,       // `text`: a sentence whose audio comes next
    kAudio,          // `audio`: a part of the answer's speech, in the speaker's rate
    kDone,           // the answer's audio has all been told
    kInterrupted,    // by speech or interrupt(), while the answer was made or played; `text`: as far as it was played
    kError,          // `text`: a sentence for the user; the turn is over, and the loop goes on
  };
  using Clock = std::chrono::steady_clock;
  Kind kind = Kind::kDone;
  uint64_t turn = 0;       // from 1
  Clock::time_point at{};  // when it was so, also where it is told later: speech made before the turn was certain
  uint64_t sample = 0;     // samples since the loop began, in the recogniser's rate
  std::string text{};
  std::span<const int16_t> audio{};  // valid during the call
};
std::string_view name_of(Event::Kind kind);

struct LoopOptions {
  uint32_t input_rate = 16000;  // of what push() gets
  VadOptions vad{};          // `pause`: after it the answer is begun on what was understood; `rate` is set by the loop
  bool detect_turns = true;  // false: no detector: a turn is what comes until end_turn()
  bool answer = true;        // false: turns are understood and not answered; say() is
  bool barge_in = true;      // false: while an answer plays, nothing is heard
  bool speculate = true;     // false: an answer is begun only at the end of speech
  bool stream = true;        // false: the serial loop, for comparison: whole transcript, whole answer, whole speech
  Milliseconds before{300};  // of sound before speech was noticed that the recogniser gets too
  std::chrono::seconds longest_speech{120};  // then the turn is taken to have ended
  std::chrono::seconds ahead{30};            // of speech that may be made before it would have been played; 0: any
  uint32_t most_answer_bytes = 64 << 10;     // of text; the answer ends there
};

/// Any thread may call it; one at a time may push.
class Loop {
 public:
  /// Called by one thread at a time, in order. It must not wait for long and must not call the loop, but for pending().
  using Listener = std::function<void(const Event&)>;

  /// Recogniser, model and speaker are used by the loop's threads alone until it is destroyed; the next loop may have
  /// them then. Without a recogniser nothing is heard, without a model nothing answered, without a speaker answers are
  /// text only.
  Loop(std::shared_ptr<Recognizer> recognizer, std::shared_ptr<LanguageModel> model, std::shared_ptr<Speaker> speaker,
       LoopOptions options, Listener listener);
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;
  /// Ends what is under way. No listener is called after it.
  ~Loop();

  /// The microphone's next samples. Never waits: what the recogniser is too slow for, beyond kMostPending, is dropped,
  /// and the turn ends with an error.
  void push(std::span<const int16_t> samples);
  /// Speech ends here, whatever the detector thinks: a button was let go. The turn is answered. False: nothing was
  /// said.
  bool end_turn();
  /// What was said since the last turn is forgotten; its turn ends with kInterrupted.
  void clear_input();
  /// A turn of text instead of speech: `text` is answered.
  void say(const std::string& text);
  /// Stops the answer, as barge-in does.
  void interrupt();

  /// Seconds of sound that wait for the recogniser.
  double pending() const;
  /// Waits until nothing is under way: all that was pushed is understood and answered (not played). False: time is up.
  bool wait_idle(std::chrono::milliseconds most);

  static constexpr std::chrono::seconds kMostPending{60};

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace onebit::voice
