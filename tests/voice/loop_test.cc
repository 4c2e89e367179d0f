// The logic of turns, with engines that do as they are told.
#include "voice/loop.h"

#include <gtest/gtest.h>

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <fstream>
#include <mutex>
#include <thread>

#include "tests/voice/sound.h"

namespace onebit::voice {
namespace {

using Kind = Event::Kind;
using namespace std::chrono_literals;
using sound::hum;
using sound::joined;
using sound::noise;
using sound::silence;

/// Says what it was told to, and fails where it was told to.
class FakeRecognizer : public Recognizer {
 public:
  struct Utterance {
    std::string text, settled{};  // settled: another text in a pause
    bool begin_fails = false, feed_fails = false, finish_fails = false;
  };
  explicit FakeRecognizer(std::deque<Utterance> utterances) : utterances_(std::move(utterances)) {}

  Status begin() override {
    now_ = {};
    if (!utterances_.empty()) {
      now_ = utterances_.front();
      utterances_.pop_front();
    }
    fed = 0;
    if (now_.begin_fails) return fail("begin fails");
    return {};
  }
  Status feed(std::span<const int16_t> samples) override {
    fed += samples.size();
    while (blocked) std::this_thread::sleep_for(1ms);
    if (now_.feed_fails) return fail("feed fails");
    return {};
  }
  std::string partial() override { return fed > 8000 && !now_.text.empty() ? now_.text.substr(0, 3) : ""; }
  Result<std::string> settle(const std::stop_token&) override {
    return now_.settled.empty() ? now_.text : now_.settled;
  }
  Result<std::string> finish(const std::stop_token&) override {
    if (now_.finish_fails) return fail("finish fails");
    return now_.text;
  }
  std::string name() const override { return "fake"; }

  std::atomic<bool> blocked{false};
  std::atomic<size_t> fed{0};

 private:
  std::deque<Utterance> utterances_;
  Utterance now_;
};

/// Answers with pieces; may wait at one of them, go on for ever, or fail.
class FakeModel : public LanguageModel {
 public:
  Status answer(const std::string& question, const Sink& sink, const std::stop_token& stop) override {
    {
      const std::lock_guard lock(mutex);
      asked.push_back(question);
    }
    if (hangs) {
      while (!stop.stop_requested()) std::this_thread::sleep_for(1ms);
      ++stopped;
      return {};
    }
    do {
      for (size_t i = 0; i < pieces.size(); ++i) {
        while (i == wait_at && !go_on && !stop.stop_requested()) std::this_thread::sleep_for(1ms);
        if (!sink(pieces[i])) {
          ++stopped;
          return {};
        }
        ++told;
      }
    } while (endless);
    if (fails) return fail("the model fails");
    return {};
  }
  void remember(const std::string& question, const std::string& heard) override {
    const std::lock_guard lock(mutex);
    remembered.emplace_back(question, heard);
  }

  size_t questions() {
    const std::lock_guard lock(mutex);
    return asked.size();
  }

  std::vector<std::string> pieces{"One is", " here. ", "Two is here. ", "Three", "."};
  size_t wait_at = 1000;
  std::atomic<bool> go_on{false}, endless{false}, fails{false}, hangs{false};
  std::atomic<int> stopped{0}, told{0};
  std::mutex mutex;
  std::vector<std::string> asked;
  std::vector<std::pair<std::string, std::string>> remembered;
};

/// 100 ms of sound for each byte of text, in parts of 50 ms.
class FakeSpeaker : public Speaker {
 public:
  uint32_t rate() const override { return 16000; }
  std::string name() const override { return "fake"; }
  Status speak(std::string_view text, const AudioSink& sink, const std::stop_token&) override {
    spoken += 1;
    if (fails) return fail("the speaker fails");
    const auto part = hum(50);
    for (size_t i = 0; i < text.size() * 2; ++i)
      if (!sink(part)) return {};
    return {};
  }
  std::atomic<bool> fails{false};
  std::atomic<int> spoken{0};
};

struct Seen {
  Kind kind;
  uint64_t turn;
  std::string text;
  size_t samples;
  Event::Clock::time_point at;
};

class LoopTest : public testing::Test {
 protected:
  Loop& start(std::deque<FakeRecognizer::Utterance> utterances, LoopOptions options = {}) {
    recognizer = std::make_shared<FakeRecognizer>(std::move(utterances));
    loop = std::make_unique<Loop>(recognizer, model, speaker, options, [this](const Event& event) {
      const std::lock_guard lock(mutex);
      seen.push_back({event.kind, event.turn, event.text, event.audio.size(), event.at});
      changed.notify_all();
    });
    return *loop;
  }
  void push(std::span<const int16_t> samples) {
    for (size_t at = 0; at < samples.size(); at += 320)
      loop->push(samples.subspan(at, std::min<size_t>(320, samples.size() - at)));
  }
  void say_something() { push(joined({silence(500), hum(1000), silence(800)})); }
  bool wait() { return loop->wait_idle(20s); }
  bool wait_for(Kind kind, size_t times = 1) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, 20s, [&] { return count_locked(kind) >= times; });
  }
  size_t count_locked(Kind kind) const {
    return static_cast<size_t>(std::count_if(seen.begin(), seen.end(), [&](const Seen& s) { return s.kind == kind; }));
  }
  size_t count(Kind kind) {
    const std::lock_guard lock(mutex);
    return count_locked(kind);
  }
  /// Without repetitions in a row.
  std::vector<Kind> kinds(uint64_t turn) {
    const std::lock_guard lock(mutex);
    std::vector<Kind> out;
    for (const auto& s : seen)
      if (s.turn == turn && (out.empty() || out.back() != s.kind)) out.push_back(s.kind);
    return out;
  }
  std::string text(Kind kind, uint64_t turn) {
    const std::lock_guard lock(mutex);
    std::string out;
    for (const auto& s : seen)
      if (s.kind == kind && s.turn == turn) out += s.text;
    return out;
  }

  std::shared_ptr<FakeRecognizer> recognizer;
  std::shared_ptr<FakeModel> model = std::make_shared<FakeModel>();
  std::shared_ptr<FakeSpeaker> speaker = std::make_shared<FakeSpeaker>();
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<Seen> seen;
  std::unique_ptr<Loop> loop;  // the first to go
};

TEST_F(LoopTest, ATurn) {
  start({{"hello world"}});
  push(joined({silence(500), hum(1000)}));
  ASSERT_TRUE(wait_for(Kind::kPartial));
  push(silence(800));
  ASSERT_TRUE(wait());
  const auto k = kinds(1);
  ASSERT_GE(k.size(), 6u);
  EXPECT_EQ(k[0], Kind::kSpeechStarted);
  EXPECT_EQ(k[1], Kind::kPartial);
  EXPECT_TRUE(std::find(k.begin(), k.end(), Kind::kSpeechStopped) < std::find(k.begin(), k.end(), Kind::kFinal));
  EXPECT_TRUE(std::find(k.begin(), k.end(), Kind::kFinal) < std::find(k.begin(), k.end(), Kind::kText));
  EXPECT_EQ(k.back(), Kind::kDone);
  EXPECT_EQ(text(Kind::kFinal, 1), "hello world");
  EXPECT_EQ(text(Kind::kText, 1), "One is here. Two is here. Three.");
  EXPECT_EQ(text(Kind::kSentence, 1), "One is here. Two is here. Three.");
  EXPECT_EQ(count(Kind::kSentence), 3u);
  size_t samples = 0;
  for (const auto& s : seen) samples += s.samples;
  EXPECT_EQ(samples, std::string("One is here.Two is here.Three.").size() * 1600);
  for (size_t i = 1; i < seen.size(); ++i) EXPECT_EQ(seen[i].turn, 1u);
}

TEST_F(LoopTest, TheAnswerIsBegunInThePauseAndToldAtTheEnd) {
  start({{"hello"}});
  push(joined({silence(500), hum(1000), silence(400)}));  // a pause that is not yet the end
  for (int i = 0; i < 2000 && model->told < 5; ++i) std::this_thread::sleep_for(5ms);
  EXPECT_EQ(model->told, 5) << "the model has answered what it was asked in the pause";
  for (int i = 0; i < 2000 && speaker->spoken < 1; ++i) std::this_thread::sleep_for(5ms);
  EXPECT_EQ(speaker->spoken, 1) << "one sentence is spoken on a guess";
  EXPECT_EQ(count(Kind::kText) + count(Kind::kAudio) + count(Kind::kFinal), 0u);
  push(silence(400));
  ASSERT_TRUE(wait());
  EXPECT_EQ(model->asked, std::vector<std::string>{"hello"}) << "it was not asked again";
  EXPECT_EQ(text(Kind::kText, 1), "One is here. Two is here. Three.");
}

TEST_F(LoopTest, AnotherFinalTextIsAnsweredInstead) {
  start({{"hello world", "hello"}});
  say_something();
  ASSERT_TRUE(wait());
  EXPECT_EQ(model->asked.back(), "hello world");
  EXPECT_EQ(text(Kind::kText, 1), "One is here. Two is here. Three.") << "nothing of the dropped answer is told";
  EXPECT_EQ(count(Kind::kDone), 1u);
}

TEST_F(LoopTest, SpeechThatGoesOnAfterAPauseIsOneTurn) {
  start({{"hello world"}});
  push(joined({silence(500), hum(800), silence(400)}));
  for (int i = 0; i < 2000 && model->told < 5; ++i) std::this_thread::sleep_for(5ms);
  const size_t before = recognizer->fed;
  push(joined({hum(800), silence(800)}));
  ASSERT_TRUE(wait());
  EXPECT_GT(recognizer->fed, before + 16 * 1000) << "what was said after the pause, and the pause";
  EXPECT_EQ(count(Kind::kFinal), 1u);
  EXPECT_EQ(text(Kind::kText, 1), "One is here. Two is here. Three.");
  EXPECT_EQ(model->asked.size(), 2u) << "what was begun in the pause was dropped";
}

TEST_F(LoopTest, TheFirstSentenceIsHeardWhileTheRestIsWritten) {
  model->wait_at = 3;
  start({{"hello"}});
  say_something();
  ASSERT_TRUE(wait_for(Kind::kAudio, 5));
  EXPECT_EQ(count(Kind::kDone), 0u);
  model->go_on = true;
  ASSERT_TRUE(wait_for(Kind::kDone));
}

TEST_F(LoopTest, TheSerialLoopMakesOneAfterTheOther) {
  LoopOptions options;
  options.stream = false;
  start({{"hello"}}, options);
  say_something();
  ASSERT_TRUE(wait());
  EXPECT_EQ(speaker->spoken, 1);
  EXPECT_EQ(count(Kind::kAudio), 1u);
  EXPECT_EQ(kinds(1).back(), Kind::kDone);
  EXPECT_EQ(model->asked.size(), 1u);
}

TEST_F(LoopTest, SpeakingStopsTheAnswer) {
  model->endless = true;
  model->pieces = {"This goes on and on. "};
  LoopOptions options;
  options.ahead = 2s;
  start({{"hello"}, {"stop"}}, options);
  say_something();
  ASSERT_TRUE(wait_for(Kind::kAudio, 20));
  push(hum(200));
  ASSERT_TRUE(wait_for(Kind::kInterrupted));
  for (int i = 0; i < 2000 && model->stopped < 1; ++i) std::this_thread::sleep_for(5ms);
  EXPECT_EQ(model->stopped, 1) << "its generation ends";
  model->endless = false;
  push(joined({hum(800), silence(800)}));
  ASSERT_TRUE(wait_for(Kind::kDone));
  {
    const std::lock_guard lock(mutex);
    const auto interrupted =
        std::find_if(seen.begin(), seen.end(), [](const Seen& s) { return s.kind == Kind::kInterrupted; });
    EXPECT_EQ(interrupted->turn, 1u);
    EXPECT_TRUE(std::none_of(interrupted, seen.end(),
                             [](const Seen& s) { return s.turn == 1 && s.kind != Kind::kInterrupted; }));
  }
  EXPECT_EQ(text(Kind::kFinal, 2), "stop");
  EXPECT_EQ(text(Kind::kText, 2), "This goes on and on. ");
  const std::lock_guard lock(model->mutex);
  ASSERT_EQ(model->remembered.size(), 1u);
  EXPECT_EQ(model->remembered[0].first, "hello");
  EXPECT_LT(model->remembered[0].second.size(), std::string("This goes on and on. ").size())
      << "no more than was played";
}

TEST_F(LoopTest, SpeakingStopsWhatIsStillPlayed) {
  start({{"hello"}, {"more"}});
  say_something();
  ASSERT_TRUE(wait_for(Kind::kDone));  // all is made; it plays for 3 s
  push(joined({hum(1000), silence(800)}));
  ASSERT_TRUE(wait_for(Kind::kDone, 2));
  EXPECT_EQ(count(Kind::kInterrupted), 1u);
  EXPECT_EQ(kinds(1).back(), Kind::kInterrupted);
}

TEST_F(LoopTest, WithoutBargeInNothingIsHeardMeanwhile) {
  LoopOptions options;
  options.barge_in = false;
  start({{"hello"}, {"more"}}, options);
  say_something();
  ASSERT_TRUE(wait_for(Kind::kDone));
  push(joined({hum(500), silence(800)}));
  EXPECT_EQ(count(Kind::kSpeechStarted), 1u);
  EXPECT_EQ(count(Kind::kInterrupted), 0u);
}

TEST_F(LoopTest, ErrorsEndTheTurnAndNotTheLoop) {
  start({{"a", "", true}, {"b", "", false, true}, {"c", "", false, false, true}, {"d"}, {"e"}, {"f"}});
  for (int i = 0; i < 3; ++i) say_something();
  ASSERT_TRUE(wait());
  EXPECT_EQ(text(Kind::kError, 1), "begin fails");
  EXPECT_EQ(text(Kind::kError, 2), "feed fails");
  EXPECT_EQ(text(Kind::kError, 3), "finish fails");
  model->fails = true;
  say_something();
  ASSERT_TRUE(wait());
  EXPECT_EQ(text(Kind::kError, 4), "the model fails");
  model->fails = false;
  speaker->fails = true;
  say_something();
  ASSERT_TRUE(wait());
  EXPECT_EQ(text(Kind::kError, 5), "the speaker fails");
  speaker->fails = false;
  say_something();
  ASSERT_TRUE(wait());
  EXPECT_EQ(kinds(6).back(), Kind::kDone);
  EXPECT_EQ(text(Kind::kText, 6), "One is here. Two is here. Three.");
  EXPECT_EQ(count(Kind::kError), 5u);
  EXPECT_EQ(count(Kind::kDone), 1u);
}

TEST_F(LoopTest, NoSpeechIsNoTurnAndNothingUnderstoodNoAnswer) {
  start({{""}});
  push(noise(10000, -45));
  ASSERT_TRUE(wait());
  EXPECT_TRUE(seen.empty());
  push(joined({hum(600), noise(1000, -45)}));
  ASSERT_TRUE(wait());
  EXPECT_EQ(text(Kind::kFinal, 1), "");
  EXPECT_EQ(kinds(1).back(), Kind::kDone);
  EXPECT_TRUE(model->asked.empty());
}

TEST_F(LoopTest, TurnsByAButton) {
  LoopOptions options;
  options.detect_turns = false;
  start({{"hello"}, {"forgotten"}, {"again"}}, options);
  EXPECT_FALSE(loop->end_turn()) << "nothing was said";
  push(joined({hum(500), silence(2000), hum(500)}));
  EXPECT_EQ(count(Kind::kSpeechStopped), 0u) << "a silence ends nothing";
  EXPECT_TRUE(loop->end_turn());
  ASSERT_TRUE(wait());
  EXPECT_EQ(text(Kind::kFinal, 1), "hello");
  push(hum(500));
  for (int i = 0; i < 2000 && recognizer->fed != 8000; ++i) std::this_thread::sleep_for(5ms);
  loop->clear_input();
  push(hum(500));
  EXPECT_TRUE(loop->end_turn());
  ASSERT_TRUE(wait());
  EXPECT_EQ(kinds(2).back(), Kind::kInterrupted);
  EXPECT_EQ(text(Kind::kFinal, 3), "again");
}

TEST_F(LoopTest, TextIsAnsweredAndCanBeInterrupted) {
  model->endless = true;
  start({});
  loop->say("tell me");
  ASSERT_TRUE(wait_for(Kind::kAudio));
  loop->interrupt();
  ASSERT_TRUE(wait_for(Kind::kInterrupted));
  ASSERT_TRUE(wait());
  EXPECT_EQ(model->stopped, 1);
  loop->interrupt();
  EXPECT_EQ(count(Kind::kInterrupted), 1u) << "there is nothing to stop";
}

TEST_F(LoopTest, OnlyTranscripts) {
  LoopOptions options;
  options.answer = false;
  start({{"hello"}}, options);
  say_something();
  ASSERT_TRUE(wait());
  EXPECT_EQ(text(Kind::kFinal, 1), "hello");
  EXPECT_EQ(kinds(1).back(), Kind::kDone);
  EXPECT_TRUE(model->asked.empty());
}

TEST_F(LoopTest, WithoutASpeakerAnswersAreText) {
  speaker = nullptr;
  start({{"hello"}});
  say_something();
  ASSERT_TRUE(wait());
  EXPECT_EQ(text(Kind::kText, 1), "One is here. Two is here. Three.");
  EXPECT_EQ(kinds(1).back(), Kind::kDone);
}

TEST_F(LoopTest, AModelThatHangsIsStoppedBySpeechAndByTheEnd) {
  model->hangs = true;
  start({{"hello"}, {"again"}});
  say_something();
  for (int i = 0; i < 2000 && model->questions() == 0; ++i) std::this_thread::sleep_for(5ms);
  push(hum(500));
  for (int i = 0; i < 2000 && model->stopped < 1; ++i) std::this_thread::sleep_for(5ms);
  EXPECT_GE(model->stopped, 1);
  EXPECT_EQ(kinds(1).back(), Kind::kInterrupted);
  push(silence(800));
  loop.reset();  // must not wait for it
  EXPECT_GE(model->stopped, 1);
}

TEST_F(LoopTest, AModelThatFloodsIsHeldBack) {
  model->endless = true;
  model->pieces = {"Again. "};
  LoopOptions options;
  options.ahead = 1s;
  start({{"hello"}}, options);
  say_something();
  ASSERT_TRUE(wait_for(Kind::kAudio, 10));
  std::this_thread::sleep_for(300ms);
  const int told = model->told;
  EXPECT_LT(told, 200) << "it waits for the speech, which waits for the play";
  const auto limit = [&] {
    LoopOptions o;
    o.ahead = 0s;
    o.most_answer_bytes = 700;
    return o;
  }();
  loop.reset();
  seen.clear();
  start({{"hello"}}, limit);
  say_something();
  ASSERT_TRUE(wait_for(Kind::kDone));
  EXPECT_EQ(text(Kind::kText, 1).size(), 700u);
}

uint64_t resident_bytes() {
  std::ifstream in("/proc/self/statm");
  uint64_t all = 0, resident = 0;
  in >> all >> resident;
  return resident * static_cast<uint64_t>(::getpagesize());
}

TEST_F(LoopTest, TenMinutesOfNoiseAndOfSpeechStayWithinBounds) {
  LoopOptions options;
  options.longest_speech = 60s;
  model->pieces = {"Yes."};
  start({{"a"}, {"b"}, {"c"}, {"d"}, {"e"}, {"f"}, {"g"}, {"h"}, {"i"}, {"j"}, {"k"}, {"l"}}, options);
  const auto second = noise(1000, -45);
  const auto speech = joined({hum(700), silence(300)});  // with gaps too short to end it
  push(speech);
  const auto before = resident_bytes();
  for (int i = 0; i < 600; ++i) push(second);
  ASSERT_TRUE(wait());
  for (int i = 0; i < 600; ++i) {
    push(speech);
    while (loop->pending() > 20) std::this_thread::sleep_for(1ms);
  }
  push(silence(1000));
  ASSERT_TRUE(wait());
  EXPECT_GE(count(Kind::kFinal), 10u) << "speech without an end is answered in parts";
  EXPECT_LT(count(Kind::kFinal), 14u);
  EXPECT_LT(resident_bytes(), before + (64 << 20));
}

TEST_F(LoopTest, ARecogniserThatIsTooSlowLosesTheTurn) {
  start({{"lost"}, {"hello"}});
  recognizer->blocked = true;
  const auto speech = joined({hum(700), silence(300)});
  for (int i = 0; i < 90; ++i) {
    push(speech);
    ASSERT_LE(loop->pending(), 61);
  }
  ASSERT_TRUE(wait_for(Kind::kError));
  EXPECT_NE(text(Kind::kError, 1).find("faster than fake understands it"), std::string::npos);
  recognizer->blocked = false;
  push(silence(1000));
  ASSERT_TRUE(wait());
  say_something();
  ASSERT_TRUE(wait_for(Kind::kDone));
}

TEST_F(LoopTest, ItCanEndAtAnyMoment) {
  for (int i = 0; i < 30; ++i) {
    model->endless = i % 2 == 0;
    start({{"hello"}});
    const auto clip = joined({silence(300), hum(1000), silence(800)});
    push(std::span<const int16_t>(clip).first(clip.size() * static_cast<size_t>(i + 1) / 30));
    if (i % 3 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(i));
    loop.reset();
  }
}

}  // namespace
}  // namespace onebit::voice
