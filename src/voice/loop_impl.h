// What a loop consists of. Three threads: one hears (recogniser), one thinks (language model), one speaks; push() runs
// the detector on its caller's. All that they share is under one mutex, which the listener is called under too, so that
// events come in the order of what they tell.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "voice/audio.h"
#include "voice/loop.h"
#include "voice/sentences.h"

namespace onebit::voice {

using Clock = Event::Clock;

/// One answer, from its question to the end of its speech.
struct LoopAnswer {
  uint64_t turn = 0;
  std::string question;
  std::stop_source stop{};
  bool committed = false;  // the turn is over and this is its question; before that nothing of it is told
  bool taken = false;      // by the thread that thinks
  bool text_done = false;  // all text is there, or there was an error
  bool ended = false;      // what ends a turn was told, or it was dropped
  std::optional<Error> error{};
  std::string text{};
  std::optional<std::string> cut{};  // what was heard of the text, where it was stopped
  SentenceSplitter splitter{};
  size_t split = 0;  // bytes of the text that are in sentences
  struct Sentence {
    std::string text;
    size_t end;  // of it, in `text`
  };
  std::deque<Sentence> sentences{};  // to be spoken
  uint64_t begun = 0;                // sentences that were taken from there
  bool speaking = false;
  struct Held {
    Event event;
    std::vector<int16_t> audio;
  };
  std::vector<Held> held{};  // until it is committed
  uint64_t made = 0;         // samples of speech
  struct Mark {
    uint64_t samples;  // made until the sentence's end
    size_t text_end;
  };
  std::vector<Mark> marks{};
  Clock::time_point play_end{};  // when the last of what was told will have been played

  /// Until it is dropped.
  bool wanted() const { return !stop.stop_requested(); }
};

struct Loop::Impl {
  Impl(std::shared_ptr<Recognizer> r, std::shared_ptr<LanguageModel> m, std::shared_ptr<Speaker> s, LoopOptions o,
       Listener l);
  ~Impl();

  // What goes from push() to the thread that hears.
  struct Task {
    enum class Kind { kBegin, kFeed, kSettle, kResume, kFinish, kAbort };
    Kind kind;
    uint64_t turn;
    std::vector<int16_t> samples{};
  };

  // input: under input_mutex
  void push(std::span<const int16_t> samples);
  void take(std::span<const int16_t> frame);
  void change(const VadChange& change);
  void open_turn();
  void feed(std::span<const int16_t> samples);
  bool close_turn();
  void add(Task::Kind kind);
  void overflow();

  // the thread that hears
  void hear();
  void hear_task(Task& task);
  void settle(uint64_t turn);
  void finish(uint64_t turn);

  // under mutex
  void emit(Event::Kind kind, uint64_t turn, std::string text = {}, uint64_t sample = 0);
  void tell(LoopAnswer& answer, Event event, std::vector<int16_t> audio = {});
  void deliver(LoopAnswer& answer, const Event& event);
  void propose(uint64_t turn, const std::string& question, bool commit);
  void commit(LoopAnswer& answer);
  void drop(LoopAnswer& answer);
  void stop_answer();
  void fail_turn(uint64_t turn, const Error& error);
  void end_answer(LoopAnswer& answer);
  void close_answer();
  bool busy_answer() const;
  bool playing() const;
  bool idle() const;
  std::string heard(const LoopAnswer& answer) const;

  // the threads that think and speak
  void think();
  void answer(const std::shared_ptr<LoopAnswer>& answer, std::unique_lock<std::mutex>& lock);
  bool take_text(LoopAnswer& answer, std::string_view piece);
  void split_rest(LoopAnswer& answer);
  void add_sentences(LoopAnswer& answer, std::vector<std::string> pieces);
  void speak();
  bool may_speak() const;
  bool too_far_ahead() const;
  void speak_sentence(LoopAnswer& answer, std::unique_lock<std::mutex>& lock);
  bool take_audio(LoopAnswer& answer, std::span<const int16_t> samples, std::vector<int16_t>& whole);

  const std::shared_ptr<Recognizer> recognizer;
  const std::shared_ptr<LanguageModel> model;
  const std::shared_ptr<Speaker> speaker;
  const LoopOptions options;
  const Listener listener;

  std::mutex input_mutex;  // before `mutex`
  Resampler resampler;
  Vad vad;
  std::vector<int16_t> fresh, recent, held;  // of this push; before speech; since a pause
  uint64_t position = 0, turn_samples = 0;
  uint64_t open = 0;  // turn that is being said; 0: none
  bool paused = false;

  mutable std::mutex mutex;
  std::condition_variable changed;
  std::atomic<uint64_t> pending{0};  // samples in tasks
  std::deque<Task> tasks;
  bool hearing = false, thinking = false, quit = false;
  std::stop_source settling, ending;  // of a recogniser in another program: in a pause; with the loop
  uint64_t turns = 0;                 // that were begun
  std::string partial;                // of the thread that hears, as is:
  std::vector<int16_t> unheard;       // of the serial loop: all of a turn
  std::optional<uint64_t> failed_turn;
  std::shared_ptr<LoopAnswer> current;
  std::deque<std::pair<std::string, std::string>> to_remember;
  std::thread hears, thinks, speaks;  // the last: they end first
};

}  // namespace onebit::voice
