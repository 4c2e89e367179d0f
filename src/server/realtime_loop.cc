// The loop of a conversation by voice, and what it tells.
#include <boost/asio/post.hpp>

#include "server/realtime.h"
#include "server/run_on.h"

namespace onebit::server {
namespace {

constexpr float kFloorDb = 14, kLeastFloorDb = 2;  // of the detector, for a threshold of 1; at least

voice::LoopOptions loop_options(const RealtimeSettings& s) {
  voice::LoopOptions options;
  options.input_rate = kRealtimeRate;
  options.detect_turns = s.turn_detection;
  options.answer = s.turn_detection && s.create_response;
  options.barge_in = s.interrupt_response;
  options.before = voice::Milliseconds(s.prefix_padding_ms);
  options.vad.silence = voice::Milliseconds(s.silence_duration_ms);
  options.vad.pause = std::min(options.vad.pause, options.vad.silence);
  options.vad.above_floor_db = std::max(kLeastFloorDb, kFloorDb * static_cast<float>(s.threshold));
  return options;
}

}  // namespace

void RealtimeSession::set_model(const RealtimeSettings& s) {
  const bool bounded = limits_.most_tokens > 0 && (s.most_tokens == 0 || s.most_tokens > limits_.most_tokens);
  model_->set({s.instructions, static_cast<float>(s.temperature), bounded ? limits_.most_tokens : s.most_tokens});
}

/// Makes the loop where there is none.
asio::awaitable<std::optional<ApiError>> RealtimeSession::want_loop() {
  if (loop_) co_return std::nullopt;
  std::unique_ptr<voice::Loop> made;
  const uint64_t number = ++loops_;
  const auto make = [&]() -> std::optional<ApiError> {
    if (!recognizer_) {
      auto taken = voice_.take_recognizer();
      if (!taken) return api_error(500, "voice_failed", taken.error().message);
      recognizer_ = *std::move(taken);
    }
    std::shared_ptr<voice::Speaker> speaker;
    if (settings_.audio) {
      auto speaks = voice_.make_speaker(settings_.voice, settings_.speed, kRealtimeRate);
      if (!speaks) return speaks.error();
      speaker = *std::move(speaks);
    }
    const auto listener = [this, number](const voice::Event& event) { hear(event, number); };
    made = std::make_unique<voice::Loop>(recognizer_, model_, speaker, loop_options(settings_), listener);
    return std::nullopt;
  };
  auto error = co_await run_on(voice_.long_work(), make);
  loop_ = std::move(made);
  co_return error;
}

/// Ends the loop, and with it what is under way.
asio::awaitable<void> RealtimeSession::drop_loop() {
  if (!loop_) co_return;
  ++loops_;  // what it still tells is not heard
  old_loop_ = std::move(loop_);
  const auto end = [this] { old_loop_.reset(); };
  co_await run_on(voice_.long_work(), end);
  if (teller_.answering()) metrics_.voice_answer("cancelled");
  teller_.loop_ended(fresh_);
  awaited_ = 0;
  respond_wanted_ = false;
  flush();
}

void RealtimeSession::end_now() {
  ++loops_;
  loop_.reset();
  old_loop_.reset();
}

/// By the loop's threads.
void RealtimeSession::hear(const voice::Event& event, uint64_t loop) {
  const auto self = weak_from_this().lock();
  if (!self) return;
  bool first = false;
  {
    const std::lock_guard lock(heard_mutex_);
    first = heard_.empty();
    heard_.push_back({event, {event.audio.begin(), event.audio.end()}, loop});
  }
  if (!first) return;
  asio::post(*executor_, [self] {
    self->hear_all();
    self->flush();
  });
}

void RealtimeSession::hear_all() {
  if (hearing_) return;  // whoever does it goes on until there is no more
  hearing_ = true;
  while (true) {
    std::vector<Heard> all;
    {
      const std::lock_guard lock(heard_mutex_);
      all.swap(heard_);
    }
    if (all.empty()) break;
    for (auto& heard : all) {
      heard.event.audio = heard.audio;
      if (loop_ && heard.loop == loops_) hear_one(heard.event);
    }
  }
  hearing_ = false;
}

void RealtimeSession::hear_one(const voice::Event& event) {
  using Kind = voice::Event::Kind;
  const bool answers = answers_turns(settings_), spoken = teller_.is_spoken(event.turn);
  if (event.kind == Kind::kSpeechStarted && !question_.empty()) model_->add("user", std::exchange(question_, {}));
  if (event.kind == Kind::kSpeechStopped && !answers) ++awaited_;
  count(event);
  const bool was_answering = teller_.answering();
  teller_.hear(event, settings_, answers, fresh_);
  if (was_answering && !teller_.answering() && own_settings_) {
    set_model(settings_);
    own_settings_ = false;
  }
  const bool over = event.kind == Kind::kFinal || event.kind == Kind::kError;
  if (answers || !spoken || !over || awaited_ == 0) return;
  if (event.kind == Kind::kFinal && !event.text.empty()) question_ += (question_.empty() ? "" : " ") + event.text;
  if (--awaited_ == 0 && std::exchange(respond_wanted_, false)) answer_question();
}

/// For the metrics.
void RealtimeSession::count(const voice::Event& event) {
  using Kind = voice::Event::Kind;
  if (event.kind == Kind::kSpeechStopped) speech_end_ = event.at;
  if (event.kind == Kind::kAudio && speech_end_) {
    metrics_.voice_first_audio(std::chrono::duration<double>(Clock::now() - *speech_end_).count());
    speech_end_.reset();
  }
  if (!teller_.is_answering(event.turn)) return;
  if (event.kind == Kind::kDone) metrics_.voice_answer("completed");
  if (event.kind == Kind::kInterrupted) metrics_.voice_answer("cancelled");
  if (event.kind == Kind::kError) metrics_.voice_answer("failed");
}

void RealtimeSession::answer_question() {
  if (question_.empty())
    return refuse(api_error(400, "nothing_to_answer", "there are no words of a user that have no answer yet"), "");
  loop_->say(std::exchange(question_, {}));
  hear_all();
}

}  // namespace onebit::server
