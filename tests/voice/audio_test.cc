#include "voice/audio.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "tests/support/temp_folder.h"
#include "tests/voice/sound.h"

namespace onebit::voice {
namespace {

using sound::noise;
using sound::silence;

std::string chunk(const std::string& id, const std::string& body, std::optional<uint32_t> told = {}) {
  const uint32_t size = told.value_or(static_cast<uint32_t>(body.size()));
  std::string out = id;
  for (int i = 0; i < 4; ++i) out += static_cast<char>(size >> (8 * i) & 0xff);
  return out + body + (body.size() % 2 != 0 ? std::string(1, '\0') : "");
}

std::string number(uint64_t value, int bytes) {
  std::string out;
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i) & 0xff);
  return out;
}

std::string format(uint32_t code, uint32_t channels, uint32_t rate, uint32_t bits) {
  return number(code, 2) + number(channels, 2) + number(rate, 4) + number(rate * channels * bits / 8, 4) +
         number(channels * bits / 8, 2) + number(bits, 2);
}

std::string wav(const std::string& chunks) {
  return "RIFF" + number(chunks.size() + 4, 4) + "WAVE" + chunks;
}

std::string error_of(const std::string& bytes) {
  const auto audio = parse_wav(bytes, "a.wav");
  return audio ? "" : audio.error().message;
}

TEST(Wav, WhatIsWrittenIsRead) {
  const onebit::test::TempFolder folder;
  const Audio audio{22050, noise(300, -20)};
  ASSERT_TRUE(write_wav(folder.path("a.wav"), audio));
  const auto read = read_wav(folder.path("a.wav"));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->rate, audio.rate);
  EXPECT_EQ(read->samples, audio.samples);
}

TEST(Wav, EveryFormatThatIsTaken) {
  const std::vector<int16_t> expected{0, 16384, -16384};
  const auto pcm = [&](uint32_t bits) {
    std::string data;
    for (const int sample : expected)
      data += bits == 8 ? number(static_cast<uint8_t>(sample / 256 + 128), 1)
                        : number(static_cast<uint64_t>(static_cast<int64_t>(sample) << (bits - 16)),
                                 static_cast<int>(bits / 8));
    return data;
  };
  for (const uint32_t bits : {8u, 16u, 24u, 32u}) {
    const auto audio = parse_wav(wav(chunk("fmt ", format(1, 1, 8000, bits)) + chunk("data", pcm(bits))), "a");
    ASSERT_TRUE(audio) << bits << audio.error().message;
    EXPECT_EQ(audio->samples, expected) << bits;
    EXPECT_EQ(audio->rate, 8000u);
  }
  std::string floats;
  for (const float value : {0.0f, 0.5f, -0.5f, NAN, 7.0f}) {
    uint32_t bits = 0;
    std::memcpy(&bits, &value, 4);
    floats += number(bits, 4);
  }
  const auto float_audio = parse_wav(wav(chunk("fmt ", format(3, 1, 48000, 32)) + chunk("data", floats)), "a");
  ASSERT_TRUE(float_audio);
  EXPECT_EQ(float_audio->samples, (std::vector<int16_t>{0, 16384, -16384, 0, 32767}));
  // Stereo is the mean of both; the extensible form and other chunks before the data change nothing.
  const auto stereo = number(100, 2) + number(300, 2);
  const auto extensible = format(0xfffe, 2, 44100, 16) + number(22, 2) + number(16, 2) + number(3, 4) + number(1, 2) +
                          std::string("\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71", 14);
  const auto both = parse_wav(
      wav(chunk("LIST", "odd") + chunk("fmt ", extensible) + chunk("fact", "1234") + chunk("data", stereo)), "a");
  ASSERT_TRUE(both) << both.error().message;
  EXPECT_EQ(both->samples, std::vector<int16_t>{200});
}

TEST(Wav, WhatIsNoneIsRefusedInASentence) {
  const auto good = chunk("fmt ", format(1, 1, 16000, 16));
  EXPECT_NE(error_of("").find("fewer bytes than a header"), std::string::npos);
  EXPECT_NE(error_of("ID3\x04 and so on").find("not a WAV file"), std::string::npos);
  EXPECT_NE(error_of(wav(good)).find("no sound"), std::string::npos);
  EXPECT_NE(error_of(wav(chunk("data", "1234"))).find("before their format"), std::string::npos);
  EXPECT_NE(error_of(wav(good + chunk("data", "12345678", 4000))).find("3992 bytes of sound are missing"),
            std::string::npos);
  EXPECT_NE(error_of(wav(chunk("fmt ", format(1, 1, 3, 16)) + chunk("data", "12"))).find("rate of 3 Hz"),
            std::string::npos);
  EXPECT_NE(error_of(wav(chunk("fmt ", format(1, 1, 4000000000, 16)))).find("rate of 4000000000 Hz"),
            std::string::npos);
  EXPECT_NE(error_of(wav(chunk("fmt ", format(1, 0, 16000, 16)))).find("0 channels"), std::string::npos);
  EXPECT_NE(error_of(wav(chunk("fmt ", format(1, 1, 16000, 12)))).find("12 bits"), std::string::npos);
  EXPECT_NE(error_of(wav(chunk("fmt ", format(85, 1, 16000, 16)))).find("0x55"), std::string::npos);
  EXPECT_NE(error_of(wav(chunk("fmt ", "short"))).find("too short"), std::string::npos);
  EXPECT_NE(error_of(wav(chunk("fmt ", format(0xfffe, 1, 16000, 16)))).find("extensible"), std::string::npos);
  EXPECT_NE(error_of(wav(chunk("fmt ", std::string(70000, 'x')))).find("too long"), std::string::npos);
}

TEST(Wav, EveryTruncationIsAnErrorOrTheWhole) {
  const auto whole = wav_bytes(16000, noise(5, -20));
  for (size_t n = 0; n < whole.size(); ++n) EXPECT_FALSE(parse_wav(whole.substr(0, n), "a")) << n;
  EXPECT_TRUE(parse_wav(whole, "a"));
  EXPECT_TRUE(parse_wav(whole + "LIST and anything", "a"));
}

TEST(Wav, AStreamOfUnknownLengthEndsWhereItEnds) {
  const auto bytes = wav(chunk("fmt ", format(1, 1, 22050, 16)) + chunk("data", "123456", 0xffffffff));
  const auto audio = parse_wav(bytes, "a");
  ASSERT_TRUE(audio) << audio.error().message;
  EXPECT_EQ(audio->samples.size(), 3u);
}

TEST(Wav, AnyPartsGiveTheSame) {
  const auto samples = noise(50, -20);
  const auto data = wav_bytes(16000, samples).substr(36);
  const auto bytes = wav(chunk("LIST", "odd") + chunk("fmt ", format(1, 1, 16000, 16) + "odd") + data);
  for (const size_t part : {1u, 2u, 3u, 7u, 64u, 1000u}) {
    WavStream stream("a");
    std::vector<int16_t> out;
    for (size_t at = 0; at < bytes.size(); at += part)
      ASSERT_TRUE(stream.push(std::string_view(bytes).substr(at, part), out));
    ASSERT_TRUE(stream.finish());
    EXPECT_EQ(out, samples) << part;
  }
}

/// dB of what differs from a tone of `hz` at `rate` that has the amplitude 8000.
double error_db(std::span<const int16_t> samples, double hz, uint32_t rate) {
  double error = 0, power = 0;
  const size_t margin = samples.size() / 10;
  for (size_t i = margin; i < samples.size() - margin; ++i) {
    const double expected = 8000 * std::sin(2 * M_PI * hz * static_cast<double>(i) / rate);
    error += std::pow(samples[i] - expected, 2);
    power += expected * expected;
  }
  return 10 * std::log10(error / power);
}

std::vector<int16_t> tone(double hz, uint32_t rate, size_t n) {
  std::vector<int16_t> out(n);
  for (size_t i = 0; i < n; ++i)
    out[i] = static_cast<int16_t>(std::lround(8000 * std::sin(2 * M_PI * hz * static_cast<double>(i) / rate)));
  return out;
}

TEST(Resample, TonesKeepPitchPhaseAndLevel) {
  for (const uint32_t from : {8000u, 11025u, 16000u, 22050u, 44100u, 48000u, 96000u, 15999u})
    for (const uint32_t to : {8000u, 16000u, 24000u, 48000u}) {
      const double hz = std::min(from, to) * 0.3;
      const auto out = resampled({from, tone(hz, from, from / 4)}, to);
      EXPECT_EQ(out.rate, to);
      EXPECT_EQ(out.samples.size(), (uint64_t{from / 4} * to + from - 1) / from) << from << " to " << to;
      EXPECT_LT(error_db(out.samples, hz, to), -45) << from << " to " << to;
    }
}

TEST(Resample, WhatTheLowerRateCannotCarryIsGone) {
  const auto out = resampled({48000, tone(12000, 48000, 24000)}, 16000);
  EXPECT_LT(level_db(std::span(out.samples).subspan(100, out.samples.size() - 200)), -70);
}

TEST(Resample, AnyPartsGiveTheSame) {
  const auto in = noise(200, -10);
  const auto whole = resampled({16000, in}, 44100).samples;
  for (const size_t part : {1u, 10u, 161u, 2999u}) {
    Resampler resampler(16000, 44100);
    std::vector<int16_t> out;
    for (int twice = 0; twice < 2; ++twice) {  // another stream after the end of the first
      out.clear();
      for (size_t at = 0; at < in.size(); at += part)
        resampler.push(std::span(in).subspan(at, std::min(part, in.size() - at)), out);
      resampler.finish(out);
      EXPECT_EQ(out, whole) << part;
    }
  }
}

TEST(Resample, NothingAndASampleAreFine) {
  EXPECT_TRUE(resampled({16000, {}}, 8000).samples.empty());
  EXPECT_EQ(resampled({16000, {1000}}, 48000).samples.size(), 3u);
  EXPECT_EQ(resampled({48000, {1000}}, 16000).samples.size(), 1u);
}

TEST(Level, OfFullScale) {
  EXPECT_EQ(level_db(silence(10)), -100);
  EXPECT_NEAR(level_db(noise(1000, -30)), -30, 0.2);
}

}  // namespace
}  // namespace onebit::voice
