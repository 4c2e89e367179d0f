#include "voice/audio.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>

#include "base/atomic_file.h"
#include "base/mapped_file.h"
#include "base/utf8.h"

namespace onebit::voice {
namespace {

constexpr uint32_t kPhases = 256;  // of the table; between them it is interpolated
constexpr uint32_t kZeroCrossings = 16;
constexpr uint32_t kMostChannels = 32;
constexpr size_t kMostFormatBytes = 1 << 10;

template <class T>
T little_endian(std::string_view bytes, size_t at) {
  T value = 0;
  for (size_t i = 0; i < sizeof(T); ++i)
    value =
        static_cast<T>(value | static_cast<T>(static_cast<T>(static_cast<unsigned char>(bytes[at + i])) << (8 * i)));
  return value;
}

template <class T>
void put(std::string& out, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) out += static_cast<char>((value >> (8 * i)) & 0xff);
}

int16_t sample_of(double value) {
  const double scaled = std::nearbyint(value * 32768);
  return static_cast<int16_t>(std::clamp(std::isnan(scaled) ? 0.0 : scaled, -32768.0, 32767.0));
}

/// One sample, from -1 to 1.
double value_of(std::string_view bytes, size_t at, uint32_t width, bool is_float) {
  if (is_float) return static_cast<double>(std::bit_cast<float>(little_endian<uint32_t>(bytes, at)));
  switch (width) {
    case 1:
      return (static_cast<unsigned char>(bytes[at]) - 128) / 128.0;
    case 2:
      return static_cast<int16_t>(little_endian<uint16_t>(bytes, at)) / 32768.0;
    case 3: {
      uint32_t value = 0;
      for (size_t i = 0; i < 3; ++i)
        value |= static_cast<uint32_t>(static_cast<unsigned char>(bytes[at + i])) << (8 * i + 8);
      return static_cast<int32_t>(value) / 2147483648.0;
    }
    default:
      return static_cast<int32_t>(little_endian<uint32_t>(bytes, at)) / 2147483648.0;
  }
}

}  // namespace

tl::unexpected<Error> WavStream::refuse(std::string why) {
  failed_ = std::move(why);
  kept_.clear();
  return fail("{}: {}", name_, failed_);
}

Status WavStream::take_format(std::string_view body) {
  if (body.size() < 16) return refuse("not a WAV file that can be read: its fmt chunk is too short");
  uint32_t format = little_endian<uint16_t>(body, 0);
  channels_ = little_endian<uint16_t>(body, 2);
  rate_ = little_endian<uint32_t>(body, 4);
  const uint32_t bits = little_endian<uint16_t>(body, 14);
  if (format == 0xfffe) {  // extensible: the format proper is the beginning of a GUID
    if (body.size() < 40) return refuse("not a WAV file that can be read: its extensible format is cut short");
    format = little_endian<uint16_t>(body, 24);
    constexpr std::string_view kTail("\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71", 14);
    if (body.substr(26, 14) != kTail) format = 0;
  }
  float_ = format == 3;
  if (format != 1 && format != 3)
    return refuse(fmt::format("its format {:#x} is not read: expected PCM or float samples", format));
  if (float_ ? bits != 32 : bits != 8 && bits != 16 && bits != 24 && bits != 32)
    return refuse(fmt::format("{} bits a sample are not read: expected 8, 16, 24 or 32, or float32", bits));
  if (channels_ < 1 || channels_ > kMostChannels)
    return refuse(fmt::format("{} channels are not read: expected 1 to {}", channels_, kMostChannels));
  if (rate_ < kLowestRate || rate_ > kHighestRate)
    return refuse(fmt::format("its rate of {} Hz is not read: expected {} to {}", rate_, kLowestRate, kHighestRate));
  bytes_ = bits / 8;
  if (little_endian<uint16_t>(body, 12) != channels_ * bytes_)
    return refuse("not a WAV file that can be read: the sizes in its fmt chunk contradict each other");
  return {};
}

void WavStream::take_frames(std::string_view frames, std::vector<int16_t>& samples) const {
  const size_t frame = size_t{channels_} * bytes_;
  samples.reserve(samples.size() + frames.size() / frame);
  for (size_t at = 0; at + frame <= frames.size(); at += frame) {
    if (channels_ == 1 && bytes_ == 2) {
      samples.push_back(static_cast<int16_t>(little_endian<uint16_t>(frames, at)));
      continue;
    }
    double sum = 0;
    for (uint32_t c = 0; c < channels_; ++c) sum += value_of(frames, at + size_t{c} * bytes_, bytes_, float_);
    samples.push_back(sample_of(sum / channels_));
  }
}

/// One part of the file from kept_[at] on; `more` stays false where it is not all there.
Status WavStream::step(size_t& at, std::vector<int16_t>& samples, bool& more) {
  const std::string_view rest = std::string_view(kept_).substr(at);
  switch (part_) {
    case Part::kRiff:
      if (rest.size() < 12 && std::string_view("RIFF").starts_with(rest.substr(0, 4))) return {};
      if (!rest.starts_with("RIFF") || rest.substr(8, 4) != "WAVE")
        return refuse(fmt::format("not a WAV file: it begins with \"{}\"", printable(rest.substr(0, 12))));
      at += 12;
      part_ = Part::kChunk;
      break;
    case Part::kChunk: {
      if (rest.size() < 8) return {};
      left_ = little_endian<uint32_t>(rest, 4);
      padded_ = left_ % 2 != 0;
      const auto id = rest.substr(0, 4);
      if (id == "data" && rate_ == 0)
        return refuse("not a WAV file that can be read: its data come before their format");
      if (id == "fmt " && left_ > kMostFormatBytes)
        return refuse("not a WAV file that can be read: its fmt chunk is too long");
      part_ = id == "data" ? Part::kData : id == "fmt " && rate_ == 0 ? Part::kFormat : Part::kSkip;
      endless_ = left_ >= 0x7f000000;
      at += 8;
      break;
    }
    case Part::kFormat:
      if (rest.size() < left_) return {};
      RETURN_IF_ERROR(take_format(rest.substr(0, left_)));
      part_ = Part::kSkip;  // what was taken
      [[fallthrough]];
    case Part::kSkip: {
      const size_t n = std::min<uint64_t>(left_, rest.size());
      at += n;
      left_ -= n;
      if (left_ > 0) return {};
      if (padded_ && at == kept_.size()) return {};
      at += padded_ ? 1 : 0;
      part_ = Part::kChunk;
      break;
    }
    case Part::kData: {
      const size_t frame = size_t{channels_} * bytes_;
      const size_t n = static_cast<size_t>(std::min<uint64_t>(left_, rest.size())) / frame * frame;
      take_frames(rest.substr(0, n), samples);
      at += n;
      left_ -= n;
      if (left_ >= frame) return {};
      part_ = Part::kEnd;
      break;
    }
    case Part::kEnd:
      at = kept_.size();  // what comes after the sound is not looked at
      return {};
  }
  more = true;
  return {};
}

Status WavStream::push(std::string_view bytes, std::vector<int16_t>& samples) {
  if (!failed_.empty()) return fail("{}: {}", name_, failed_);
  kept_ += bytes;
  size_t at = 0;
  for (bool more = true; more;) {
    more = false;
    RETURN_IF_ERROR(step(at, samples, more));
  }
  kept_.erase(0, at);
  return {};
}

Status WavStream::finish() {
  if (!failed_.empty()) return fail("{}: {}", name_, failed_);
  if (part_ == Part::kEnd || (part_ == Part::kData && endless_)) return {};
  if (part_ == Part::kData)
    return refuse(fmt::format("it was cut short: {} bytes of sound are missing", left_ - kept_.size()));
  return refuse(part_ == Part::kRiff ? "not a WAV file: it has fewer bytes than a header"
                                     : "it was cut short: there is no sound in it");
}

Result<Audio> parse_wav(std::string_view bytes, const std::string& name) {
  WavStream stream(name);
  Audio audio;
  RETURN_IF_ERROR(stream.push(bytes, audio.samples));
  RETURN_IF_ERROR(stream.finish());
  audio.rate = stream.rate();
  return audio;
}

Result<Audio> read_wav(const std::string& path, size_t most_bytes) {
  ASSIGN_OR_RETURN(const auto bytes, read_text_file(path, most_bytes));
  return parse_wav(bytes, path);
}

std::string wav_bytes(uint32_t rate, std::span<const int16_t> samples) {
  const auto data = static_cast<uint32_t>(std::min<uint64_t>(samples.size() * 2, 0xffffffff - 36));
  std::string out = "RIFF";
  out.reserve(44 + data);
  put<uint32_t>(out, 36 + data);
  out += "WAVEfmt ";
  put<uint32_t>(out, 16);
  put<uint16_t>(out, 1);  // PCM
  put<uint16_t>(out, 1);  // channel
  put<uint32_t>(out, rate);
  put<uint32_t>(out, rate * 2);
  put<uint16_t>(out, 2);
  put<uint16_t>(out, 16);
  out += "data";
  put<uint32_t>(out, data);
  for (const int16_t sample : samples.first(data / 2)) put(out, static_cast<uint16_t>(sample));
  return out;
}

Status write_wav(const std::string& path, const Audio& audio) {
  const auto bytes = wav_bytes(audio.rate, audio.samples);
  ASSIGN_OR_RETURN(auto file, AtomicFile::create(path));
  RETURN_IF_ERROR(file.write(std::as_bytes(std::span(bytes))));
  return file.commit();
}

Resampler::Resampler(uint32_t from, uint32_t to) {
  const uint32_t a = std::clamp(from, kLowestRate, kHighestRate), b = std::clamp(to, kLowestRate, kHighestRate);
  const uint32_t common = std::gcd(a, b);
  from_ = a / common;
  to_ = b / common;
  if (from_ == to_) return;
  const double cutoff = std::min(1.0, static_cast<double>(to_) / from_) * 0.95;  // of half the input's rate
  half_ = static_cast<uint32_t>(std::ceil(kZeroCrossings / cutoff));
  table_.resize(size_t{kPhases + 1} * 2 * half_);
  for (uint32_t phase = 0; phase <= kPhases; ++phase) {
    float* row = &table_[size_t{phase} * 2 * half_];
    double sum = 0;
    for (uint32_t i = 0; i < 2 * half_; ++i) {
      // Distance of input sample i from the output's place, which is `phase` after sample half_ - 1.
      const double x = static_cast<double>(i) - (half_ - 1) - static_cast<double>(phase) / kPhases;
      const double window = 0.5 + 0.5 * std::cos(M_PI * std::clamp(x / half_, -1.0, 1.0));
      const double sinc = x == 0 ? 1 : std::sin(M_PI * cutoff * x) / (M_PI * cutoff * x);
      row[i] = static_cast<float>(sinc * window);
      sum += sinc * window;
    }
    for (uint32_t i = 0; i < 2 * half_; ++i) row[i] = static_cast<float>(row[i] / sum);
  }
  first_ = -static_cast<int64_t>(half_);
  input_.assign(half_, 0.0f);
}

/// All outputs before number `end`.
void Resampler::compute(uint64_t end, std::vector<int16_t>& out) {
  for (; given_ < end; ++given_) {
    const uint64_t scaled = given_ * from_;  // place among the inputs, times to_
    const auto whole = static_cast<int64_t>(scaled / to_);
    const double fraction = static_cast<double>(scaled % to_) / to_ * kPhases;
    const auto phase = static_cast<uint32_t>(fraction);
    const auto between = static_cast<float>(fraction - phase);
    const float* a = &table_[size_t{phase} * 2 * half_];
    const float* b = a + 2 * size_t{half_};
    const float* x = &input_[static_cast<size_t>(whole - (static_cast<int64_t>(half_) - 1) - first_)];
    float at_a = 0, at_b = 0;
    for (uint32_t i = 0; i < 2 * half_; ++i) {
      at_a += x[i] * a[i];
      at_b += x[i] * b[i];
    }
    out.push_back(sample_of(static_cast<double>(at_a + (at_b - at_a) * between) / 32768));
  }
  const auto next = static_cast<int64_t>(given_ * from_ / to_) - static_cast<int64_t>(half_);
  if (next > first_) {
    const size_t drop = std::min(static_cast<size_t>(next - first_), input_.size());
    input_.erase(input_.begin(), input_.begin() + static_cast<std::ptrdiff_t>(drop));
    first_ += static_cast<int64_t>(drop);
  }
}

void Resampler::push(std::span<const int16_t> in, std::vector<int16_t>& out) {
  if (from_ == to_) {
    out.insert(out.end(), in.begin(), in.end());
    return;
  }
  while (!in.empty()) {  // in parts, so that a long input is not there twice
    const auto part = in.first(std::min<size_t>(in.size(), 1 << 14));
    in = in.subspan(part.size());
    input_.insert(input_.end(), part.begin(), part.end());
    taken_ += part.size();
    // Output n needs inputs up to floor(n * from / to) + half.
    if (taken_ > half_) compute(((taken_ - half_) * to_ + from_ - 1) / from_, out);
  }
}

void Resampler::finish(std::vector<int16_t>& out) {
  if (from_ == to_) return;
  input_.insert(input_.end(), half_ + 1, 0.0f);
  compute((taken_ * to_ + from_ - 1) / from_, out);
  taken_ = given_ = 0;
  first_ = -static_cast<int64_t>(half_);
  input_.assign(half_, 0.0f);
}

Audio resampled(const Audio& audio, uint32_t rate) {
  Resampler resampler(audio.rate, rate);
  Audio out{rate, {}};
  resampler.push(audio.samples, out.samples);
  resampler.finish(out.samples);
  return out;
}

double level_db(std::span<const int16_t> samples) {
  double sum = 0;
  for (const int16_t sample : samples) sum += static_cast<double>(sample) * sample;
  const double mean = samples.empty() ? 0 : sum / static_cast<double>(samples.size()) / (32768.0 * 32768.0);
  return mean < 1e-10 ? -100 : 10 * std::log10(mean);
}

}  // namespace onebit::voice
