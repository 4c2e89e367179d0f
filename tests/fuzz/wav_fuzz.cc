// A WAV file of any bytes: read the same whole and in parts, within its own length, and what is read can be written.
#include <algorithm>
#include <cstdlib>

#include "voice/audio.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace onebit::voice;
  if (size == 0) return 0;
  const size_t part = bytes[0] % 61 + 1;  // how it is cut
  const std::string_view file(reinterpret_cast<const char*>(bytes) + 1, size - 1);
  const auto whole = parse_wav(file, "fuzz");
  WavStream stream("fuzz");
  std::vector<int16_t> samples;
  bool sound = true;
  for (size_t at = 0; at < file.size() && sound; at += part)
    sound = stream.push(file.substr(at, part), samples).has_value();
  sound = sound && stream.finish().has_value();
  if (sound != whole.has_value()) std::abort();
  if (!whole) return 0;
  if (samples != whole->samples || stream.rate() != whole->rate || samples.size() > file.size()) std::abort();
  if (whole->rate < kLowestRate || whole->rate > kHighestRate) std::abort();
  const auto again = parse_wav(wav_bytes(whole->rate, samples), "fuzz");
  if (!again || again->samples != samples) std::abort();
  if (samples.size() < 4096 &&
      resampled(*whole, 16000).samples.size() != (samples.size() * 16000 + whole->rate - 1) / whole->rate)
    std::abort();
  return 0;
}
