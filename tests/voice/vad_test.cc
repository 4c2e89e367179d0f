#include "voice/vad.h"

#include <gtest/gtest.h>

#include "tests/voice/sound.h"
#include "voice/speaker.h"

namespace onebit::voice {
namespace {

using VadKind = VadChange::Kind;
using sound::hum;
using sound::joined;
using sound::mixed;
using sound::noise;
using sound::silence;

std::vector<VadChange> changes_of(std::span<const int16_t> samples, const VadOptions& options = {}, size_t part = 160) {
  Vad vad(options);
  std::vector<VadChange> changes;
  for (size_t at = 0; at < samples.size(); at += part)
    vad.push(samples.subspan(at, std::min(part, samples.size() - at)), changes);
  return changes;
}

std::vector<VadKind> kinds_of(const std::vector<VadChange>& changes) {
  std::vector<VadKind> kinds;
  for (const auto& change : changes) kinds.push_back(change.kind);
  return kinds;
}

TEST(Vad, NoiseAloneIsNoSpeech) {
  for (const double db : {-100.0, -70.0, -50.0, -40.0, -30.0, -20.0})
    for (uint32_t seed = 1; seed < 4; ++seed)
      EXPECT_TRUE(changes_of(noise(20000, db, seed)).empty()) << db << " dB, seed " << seed;
}

TEST(Vad, NoiseThatComesToStayEndsAsSpeech) {
  // A fan is switched on: taken for speech at first, and for noise soon after.
  const auto changes = changes_of(joined({noise(2000, -60), noise(20000, -35)}));
  EXPECT_EQ(kinds_of(changes), (std::vector<VadKind>{VadKind::kBegin, VadKind::kPause, VadKind::kEnd}));
  EXPECT_LT(changes.back().known, sound::samples_of_ms(2000 + 6000));
}

TEST(Vad, BoundsOfASoundAreFoundInAnyNoise) {
  for (const double db : {-100.0, -60.0, -45.0, -35.0}) {
    const auto clip = mixed(joined({silence(1000), hum(1500), silence(2000)}), noise(4500, db));
    const auto changes = changes_of(clip);
    ASSERT_EQ(kinds_of(changes), (std::vector<VadKind>{VadKind::kBegin, VadKind::kPause, VadKind::kEnd})) << db;
    EXPECT_NEAR(static_cast<double>(changes[0].at) / 16, 1000, 40) << db;
    EXPECT_NEAR(static_cast<double>(changes[2].at) / 16, 2500, 60) << db;
    EXPECT_NEAR(static_cast<double>(changes[2].known - changes[2].at) / 16, 600, 21) << db;
  }
}

TEST(Vad, ThePauseAndTheSilenceAreTheOptions) {
  VadOptions options;
  options.pause = Milliseconds(100);
  options.silence = Milliseconds(1200);
  const auto clip = joined({silence(500), hum(500), silence(800), hum(500), silence(2000)});
  const auto changes = changes_of(clip, options);
  ASSERT_EQ(kinds_of(changes),
            (std::vector<VadKind>{VadKind::kBegin, VadKind::kPause, VadKind::kResume, VadKind::kPause, VadKind::kEnd}));
  EXPECT_NEAR(static_cast<double>(changes[1].known - changes[1].at) / 16, 100, 21);
  EXPECT_NEAR(static_cast<double>(changes[2].at) / 16, 1800, 40);
  EXPECT_NEAR(static_cast<double>(changes[4].known - changes[4].at) / 16, 1200, 21);
  EXPECT_EQ(kinds_of(changes_of(clip)), (std::vector<VadKind>{VadKind::kBegin, VadKind::kPause, VadKind::kEnd,
                                                              VadKind::kBegin, VadKind::kPause, VadKind::kEnd}));
}

TEST(Vad, AClickIsNoSpeechAndDoesNotProlongIt) {
  const auto click = noise(20, -10);
  EXPECT_TRUE(changes_of(joined({silence(1000), click, silence(1000), click, silence(1000)})).empty());
  const auto changes = changes_of(joined({silence(500), hum(800), silence(300), click, silence(1000)}));
  ASSERT_EQ(kinds_of(changes), (std::vector<VadKind>{VadKind::kBegin, VadKind::kPause, VadKind::kEnd}));
  EXPECT_NEAR(static_cast<double>(changes[2].at) / 16, 1300, 60);
}

TEST(Vad, AnyPartsGiveTheSame) {
  const auto clip = mixed(joined({silence(700), hum(900), silence(900), hum(400), silence(900)}), noise(1000, -45));
  const auto whole = changes_of(clip, {}, clip.size());
  ASSERT_EQ(whole.size(), 6u);
  for (const size_t part : {1u, 7u, 159u, 1000u}) {
    const auto changes = changes_of(clip, {}, part);
    ASSERT_EQ(changes.size(), whole.size());
    for (size_t i = 0; i < whole.size(); ++i) {
      EXPECT_EQ(changes[i].kind, whole[i].kind);
      EXPECT_EQ(changes[i].at, whole[i].at);
    }
  }
}

TEST(Vad, AVoiceIsHeardFromItsFirstWordToItsLast) {
  if (!have_flite()) GTEST_SKIP() << "built without flite (flite1-dev)";
  for (const char* name : {"slt", "rms", "awb", "kal"}) {
    SpeakerOptions options;
    options.voice = name;
    const auto speaker = make_speaker(options);
    ASSERT_TRUE(speaker) << speaker.error().message;
    std::vector<int16_t> speech;
    ASSERT_TRUE((*speaker)->speak(
        "What is the capital of France, and how many people live in it?",
        [&](std::span<const int16_t> part) { return speech.insert(speech.end(), part.begin(), part.end()), true; },
        {}));
    size_t first = 0, last = speech.size();
    while (first < last && std::abs(speech[first]) < 500) ++first;
    while (last > first && std::abs(speech[last - 1]) < 500) --last;
    for (const double db : {-90.0, -55.0, -45.0}) {
      const auto clip = mixed(joined({silence(800), speech, silence(1500)}), noise(3000, db));
      const auto changes = changes_of(clip);
      ASSERT_GE(changes.size(), 3u) << name << db;
      EXPECT_EQ(changes.front().kind, VadKind::kBegin);
      EXPECT_EQ(changes.back().kind, VadKind::kEnd) << name << db;
      const auto told = [](uint64_t sample) { return (static_cast<double>(sample) - 800 * 16) / 16; };
      EXPECT_NEAR(told(changes.front().at), static_cast<double>(first) / 16, 300) << name << db;
      EXPECT_NEAR(told(changes.back().at), static_cast<double>(last) / 16, 200) << name << db;
      const auto begins =
          std::count_if(changes.begin(), changes.end(), [](const auto& c) { return c.kind == VadKind::kBegin; });
      EXPECT_EQ(begins, 1) << name << db;
    }
  }
}

}  // namespace
}  // namespace onebit::voice
