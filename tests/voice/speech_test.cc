// Real voices through a real recogniser and the bundled model.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <mutex>
#include <set>
#include <sstream>
#include <thread>

#include "tests/voice/sound.h"
#include "voice/audio.h"
#include "voice/engine_model.h"
#include "voice/loop.h"

namespace onebit::voice {
namespace {

using sound::joined;
using sound::mixed;
using sound::noise;
using sound::silence;

std::vector<int16_t> said(const std::string& voice, const std::string& text, double speed = 1, uint32_t rate = 16000) {
  SpeakerOptions options;
  options.voice = voice;
  options.speed = speed;
  options.rate = rate;
  const auto speaker = make_speaker(options);
  std::vector<int16_t> samples;
  if (speaker)
    static_cast<void>((*speaker)->speak(
        text,
        [&](std::span<const int16_t> part) { return samples.insert(samples.end(), part.begin(), part.end()), true; },
        {}));
  return samples;
}

std::vector<std::string> words(std::string text) {
  for (auto& c : text)
    c = std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '\'' ? static_cast<char>(std::tolower(c)) : ' ';
  std::istringstream in(text);
  std::vector<std::string> out;
  for (std::string word; in >> word;) out.push_back(word);
  return out;
}

size_t word_errors(const std::string& expected, const std::string& got) {
  const auto a = words(expected), b = words(got);
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t changed = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({changed, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

constexpr std::array kQuestions{"What is the capital of France?",
                                "What is the capital of Germany?",
                                "Tell me a story about a dog.",
                                "How far away is the moon?",
                                "What is the largest planet in the solar system?",
                                "How can I sleep better at night?",
                                "What happens when water freezes?",
                                "Which city is the capital of England?"};

class Speech : public testing::Test {
 protected:
  void SetUp() override {
    if (!have_flite()) GTEST_SKIP() << "built without flite (flite1-dev)";
  }
};

TEST_F(Speech, EveryVoiceSpeaksAtEverySpeedAndRate) {
  for (const auto& voice : voices_of("flite")) {
    const auto usual = said(voice, kQuestions[0]).size();
    EXPECT_GT(usual, 16000u);
    EXPECT_NEAR(static_cast<double>(said(voice, kQuestions[0], 2).size()), static_cast<double>(usual) / 2,
                static_cast<double>(usual) * 0.15)
        << voice;
    EXPECT_NEAR(static_cast<double>(said(voice, kQuestions[0], 1, 24000).size()), static_cast<double>(usual) * 1.5, 10)
        << voice;
  }
  EXPECT_FALSE(make_speaker({.voice = "nobody"}));
  EXPECT_FALSE(make_speaker({.speed = 0}));
  EXPECT_FALSE(make_speaker({.rate = 3}));
}

TEST_F(Speech, AnyTextIsNoHarm) {
  const auto speaker = make_speaker({});
  ASSERT_TRUE(speaker);
  std::string all;
  for (int c = 1; c < 256; ++c) all += static_cast<char>(c);
  const std::vector<std::string> texts{"",
                                       " ",
                                       all,
                                       "é à ü “quoted” — dash…",
                                       "東京",
                                       std::string(4000, 'a'),
                                       std::string(4000, '.'),
                                       std::string(3000, '9'),
                                       "$1,234,567.89 on 12/31/1999 at 23:59",
                                       "\xff\xfe",
                                       "...",
                                       "(((",
                                       "A.B.C.D."};
  for (const auto& text : texts) {
    size_t samples = 0;
    const auto status = (*speaker)->speak(
        text, [&](std::span<const int16_t> part) { return (samples += part.size()) < 16000 * 60; }, {});
    EXPECT_TRUE(status) << status.error().message;
  }
  EXPECT_FALSE((*speaker)->speak(std::string(5000, 'a'), [](std::span<const int16_t>) { return true; }, {}));
}

TEST_F(Speech, TheSinkAndAStopEndIt) {
  const auto speaker = make_speaker({});
  ASSERT_TRUE(speaker);
  size_t parts = 0;
  EXPECT_TRUE((*speaker)->speak(kQuestions[2], [&](std::span<const int16_t>) { return ++parts < 3; }, {}));
  EXPECT_EQ(parts, 3u);
  std::stop_source stop;
  parts = 0;
  EXPECT_TRUE((*speaker)->speak(
      kQuestions[2], [&](std::span<const int16_t>) { return ++parts, stop.request_stop(); }, stop.get_token()));
  EXPECT_EQ(parts, 1u);
}

TEST_F(Speech, ManySpeakersAtOnce) {
  std::vector<std::thread> threads;
  const auto alone = said("slt", kQuestions[1]).size();
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&, i] {
      for (int j = 0; j < 3; ++j) {
        if (i % 2 == 0)
          EXPECT_EQ(said("slt", kQuestions[1]).size(), alone);  // the same length; its noise is drawn anew
        else
          EXPECT_FALSE(said("rms", kQuestions[2]).empty());
      }
    });
  for (auto& thread : threads) thread.join();
}

class Understanding : public Speech {
 protected:
  void SetUp() override {
    Speech::SetUp();
    if (IsSkipped()) return;
    if (!have_pocketsphinx()) GTEST_SKIP() << "built without pocketsphinx (libpocketsphinx-dev)";
    auto made = make_recognizer({});
    if (!made) GTEST_SKIP() << made.error().message;
    recognizer = std::move(*made);
  }
  std::string understood(std::span<const int16_t> samples, size_t part = 1600) {
    EXPECT_TRUE(recognizer->begin());
    for (size_t at = 0; at < samples.size(); at += part)
      EXPECT_TRUE(recognizer->feed(samples.subspan(at, std::min(part, samples.size() - at))));
    return recognizer->finish({}).value_or("an error");
  }

  std::shared_ptr<Recognizer> recognizer;
};

TEST_F(Understanding, CleanVoicesNearlyWordForWord) {
  for (const char* voice : {"slt", "rms"}) {
    size_t errors = 0, all = 0;
    for (const char* question : kQuestions) {
      const auto got = understood(joined({silence(300), said(voice, question), silence(300)}));
      errors += word_errors(question, got);
      all += words(question).size();
    }
    EXPECT_LE(errors * 100, all * 15) << voice;
  }
}

TEST_F(Understanding, SettlingMayBeFollowedByMore) {
  const auto first = joined({silence(200), said("slt", kQuestions[0]), silence(300)});
  const auto second = joined({said("slt", kQuestions[1]), silence(300)});
  ASSERT_TRUE(recognizer->begin());
  EXPECT_EQ(recognizer->partial(), "");
  ASSERT_TRUE(recognizer->feed(first));
  EXPECT_FALSE(recognizer->partial().empty());
  const auto settled = recognizer->settle({});
  ASSERT_TRUE(settled);
  EXPECT_EQ(*settled, "what is the capital of france");
  EXPECT_EQ(recognizer->partial(), *settled);
  ASSERT_TRUE(recognizer->feed(second));
  const auto both = recognizer->finish({});
  ASSERT_TRUE(both);
  EXPECT_TRUE(both->starts_with(*settled + " ")) << *both;
  EXPECT_LE(word_errors(std::string(kQuestions[0]) + " " + kQuestions[1], *both), 3u) << *both;
  ASSERT_TRUE(recognizer->begin());
  EXPECT_EQ(*recognizer->finish({}), "") << "the next utterance begins with nothing";
}

TEST_F(Understanding, SilenceIsNothing) {
  EXPECT_EQ(understood(silence(2000)), "");
  EXPECT_EQ(understood({}), "");
}

TEST_F(Understanding, ModelsThatAreNotThereAreNamed) {
  const auto made = make_recognizer({.dictionary = "/nowhere/words.dict"});
  ASSERT_FALSE(made);
  EXPECT_NE(made.error().message.find("/nowhere/words.dict"), std::string::npos);
  const auto bad = make_recognizer({.language_model = "/dev/null"});
  EXPECT_FALSE(bad);
}

/// Mouth to ear, with all that is real.
TEST_F(Understanding, AQuestionIsAnsweredByVoice) {
  auto model = Model::open(std::string(ONEBIT_SOURCE_DIR) + "/models/tiny-bitnet.h1b");
  ASSERT_TRUE(model) << model.error().message;
  EngineModelOptions options;
  options.params.max_tokens = 40;
  const auto answers = std::make_shared<EngineModel>(*model, options);
  std::shared_ptr<Speaker> speaker = std::move(*make_speaker({}));
  std::mutex mutex;
  std::string final, text;
  std::vector<int16_t> speech;
  std::vector<Event::Kind> ends;
  {
    LoopOptions loop_options;
    loop_options.input_rate = 24000;  // as OpenAI's realtime protocol has it
    loop_options.ahead = std::chrono::seconds(0);
    Loop loop(recognizer, answers, speaker, loop_options, [&](const Event& event) {
      const std::lock_guard lock(mutex);
      if (event.kind == Event::Kind::kFinal) final = event.text;
      if (event.kind == Event::Kind::kText) text += event.text;
      if (event.kind == Event::Kind::kAudio) speech.insert(speech.end(), event.audio.begin(), event.audio.end());
      if (event.kind == Event::Kind::kDone || event.kind == Event::Kind::kError) ends.push_back(event.kind);
    });
    const auto clip = joined({silence(400), mixed(said("slt", kQuestions[0]), noise(1000, -60)), silence(1200)});
    loop.push(resampled({16000, clip}, 24000).samples);
    ASSERT_TRUE(loop.wait_idle(std::chrono::seconds(120)));
  }
  EXPECT_EQ(final, "what is the capital of france");
  EXPECT_NE(text.find("Paris"), std::string::npos) << text;
  ASSERT_EQ(ends, std::vector<Event::Kind>{Event::Kind::kDone});
  const auto heard = understood(joined({silence(300), speech, silence(300)}));
  EXPECT_NE(heard.find("paris"), std::string::npos) << heard;
}

TEST_F(Understanding, NoiseAloneGetsNoAnswer) {
  LoopOptions options;
  options.answer = false;
  std::mutex mutex;
  std::string finals;
  Loop loop(recognizer, nullptr, nullptr, options, [&](const Event& event) {
    const std::lock_guard lock(mutex);
    if (event.kind == Event::Kind::kFinal) finals += event.text;
  });
  for (const double db : {-70.0, -50.0, -35.0}) loop.push(noise(5000, db));
  loop.end_turn();
  ASSERT_TRUE(loop.wait_idle(std::chrono::seconds(120)));
  EXPECT_LE(words(finals).size(), 4u) << finals;
}

}  // namespace
}  // namespace onebit::voice
