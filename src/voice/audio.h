// Sound as this project has it: 16-bit linear PCM, one channel. WAV files of it, and the change of its rate.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace onebit::voice {

/// Lowest and highest rate that is taken, in samples a second.
inline constexpr uint32_t kLowestRate = 4000, kHighestRate = 192000;

struct Audio {
  uint32_t rate = 16000;         // samples a second
  std::vector<int16_t> samples;  // [time]

  double seconds() const { return static_cast<double>(samples.size()) / rate; }
};

/// A RIFF WAVE file that comes in parts, as it is read or as a program writes it into a pipe. Takes PCM of 8, 16, 24
/// and 32 bits and float32, also in the extensible form; several channels become their mean.
class WavStream {
 public:
  /// `name` begins errors.
  explicit WavStream(std::string name) : name_(std::move(name)) {}

  /// Appends to `samples` what is complete. Errors: not a WAV file, a format that is not taken. After one, only errors.
  Status push(std::string_view bytes, std::vector<int16_t>& samples);
  /// At the end of the file. Errors: it was cut short: there is no data, or less than its header promises. A header of
  /// a stream, which promises 0xffffffff or as many as a file cannot have, is content with what came.
  Status finish();

  /// 0 until the header is read.
  uint32_t rate() const { return rate_; }

 private:
  enum class Part { kRiff, kChunk, kFormat, kSkip, kData, kEnd };

  Status step(size_t& at, std::vector<int16_t>& samples, bool& more);
  Status take_format(std::string_view body);
  void take_frames(std::string_view frames, std::vector<int16_t>& samples) const;
  tl::unexpected<Error> refuse(std::string why);

  std::string name_, kept_, failed_;
  Part part_ = Part::kRiff;
  uint64_t left_ = 0;     // of the chunk
  bool padded_ = false;   // a byte follows it
  bool endless_ = false;  // its length was not known when it was begun
  uint32_t rate_ = 0, channels_ = 0, bytes_ = 0;
  bool float_ = false;
};

/// A whole file's bytes.
Result<Audio> parse_wav(std::string_view bytes, const std::string& name);
/// Files of at most `most_bytes`.
Result<Audio> read_wav(const std::string& path, size_t most_bytes = size_t{256} << 20);

/// A WAV file of these samples.
std::string wav_bytes(uint32_t rate, std::span<const int16_t> samples);
Status write_wav(const std::string& path, const Audio& audio);

/// Changes the rate of a stream: a windowed sinc that passes what both rates can carry. Rates from kLowestRate to
/// kHighestRate.
class Resampler {
 public:
  Resampler(uint32_t from, uint32_t to);

  /// Appends to `out` what can be computed so far.
  void push(std::span<const int16_t> in, std::vector<int16_t>& out);
  /// Appends the rest; after it another stream may begin. Of n samples ceil(n * to / from) come out in all.
  void finish(std::vector<int16_t>& out);

 private:
  void compute(uint64_t end, std::vector<int16_t>& out);

  uint32_t from_ = 1, to_ = 1;      // without their common factor
  uint32_t half_ = 0;               // input samples that count on either side
  std::vector<float> table_;        // [kPhases + 1, 2 * half_]
  std::vector<float> input_;        // from sample first_ on
  int64_t first_ = 0;               // index of input_[0]; below zero: silence before the stream
  uint64_t taken_ = 0, given_ = 0;  // samples in, samples out
};

Audio resampled(const Audio& audio, uint32_t rate);

/// The root of the mean square in dB of full scale; -100 for silence.
double level_db(std::span<const int16_t> samples);

}  // namespace onebit::voice
