// CMU's flite, in this process.
#include <flite/flite.h>

#include <array>
#include <cctype>
#include <mutex>

#include "base/utf8.h"
#include "voice/audio.h"
#include "voice/engines.h"

extern "C" {
cst_voice* register_cmu_us_slt(const char* folder);
cst_voice* register_cmu_us_rms(const char* folder);
cst_voice* register_cmu_us_awb(const char* folder);
cst_voice* register_cmu_us_kal16(const char* folder);
}

namespace onebit::voice {
namespace {

/// flite counts the users of its values without a lock, so that one utterance at a time is made in a process.
std::mutex& flite_mutex() {
  static std::mutex mutex;
  return mutex;
}

struct FliteVoice {
  const char* name;
  cst_voice* (*open)(const char*);
};
constexpr std::array<FliteVoice, 4> kFliteVoices{{{"slt", register_cmu_us_slt},
                                                  {"rms", register_cmu_us_rms},
                                                  {"awb", register_cmu_us_awb},
                                                  {"kal", register_cmu_us_kal16}}};

/// flite writes past its buffers where a sign is repeated some hundred times: none comes more than three times in a
/// row, and no word is longer than a buffer by far.
std::string bounded_words(std::string_view text) {
  constexpr size_t kLongestWord = 60, kMostSigns = 3;
  std::string out;
  size_t word = 0, signs = 0;
  for (const char c : text) {
    const bool sign = c != ' ' && std::isalnum(static_cast<unsigned char>(c)) == 0;
    signs = sign ? signs + 1 : 0;
    if (signs > kMostSigns) continue;
    word = c == ' ' ? 0 : word + 1;
    if (word > kLongestWord) {
      out += ' ';
      word = 1;
    }
    out += c;
  }
  return out;
}

/// In the letters that flite knows: ASCII, typographic signs as plain ones, others left out.
std::string ascii_text(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const auto c = utf8_front(text);
    text.remove_prefix(std::max<size_t>(c.length, 1));
    switch (c.length == 0 ? U' ' : c.code_point) {
      case U'‘':
      case U'’':
        out += '\'';
        break;
      case U'“':
      case U'”':
      case U'«':
      case U'»':
        out += '"';
        break;
      case U'–':
      case U'—':
        out += " - ";
        break;
      case U'…':
        out += "...";
        break;
      case U'à':
      case U'á':
      case U'â':
      case U'ä':
      case U'ã':
      case U'å':
        out += 'a';
        break;
      case U'ç':
        out += 'c';
        break;
      case U'è':
      case U'é':
      case U'ê':
      case U'ë':
        out += 'e';
        break;
      case U'ì':
      case U'í':
      case U'î':
      case U'ï':
        out += 'i';
        break;
      case U'ñ':
        out += 'n';
        break;
      case U'ò':
      case U'ó':
      case U'ô':
      case U'ö':
      case U'õ':
      case U'ø':
        out += 'o';
        break;
      case U'ù':
      case U'ú':
      case U'û':
      case U'ü':
        out += 'u';
        break;
      default:
        out += c.code_point >= ' ' && c.code_point < 0x7f ? static_cast<char>(c.code_point) : ' ';
    }
  }
  return out;
}

/// What flite's callback works for.
struct Telling {
  const AudioSink& sink;
  const std::stop_token& stop;
  Resampler resampler;
  std::vector<int16_t> out{};
  bool ended = false;

  void give(std::span<const int16_t> samples, bool last) {
    out.clear();
    resampler.push(samples, out);
    if (last) resampler.finish(out);
    if (!out.empty() && !ended) ended = !sink(out);
  }
};

int on_samples(const cst_wave* wave, int start, int size, int last, cst_audio_streaming_info* info) {
  auto& telling = *static_cast<Telling*>(info->userdata);
  if (telling.ended || telling.stop.stop_requested()) return CST_AUDIO_STREAM_STOP;
  telling.give({wave->samples + start, static_cast<size_t>(std::max(size, 0))}, last != 0);
  return telling.ended ? CST_AUDIO_STREAM_STOP : CST_AUDIO_STREAM_CONT;
}

class Flite : public Speaker {
 public:
  Flite(cst_voice* voice, const SpeakerOptions& options)
      : voice_(voice),
        voice_rate_(static_cast<uint32_t>(get_param_int(voice->features, "sample_rate", 16000))),
        rate_(options.rate),
        stretch_(get_param_float(voice->features, "duration_stretch", 1.0f) / static_cast<float>(options.speed)) {}

  uint32_t rate() const override { return rate_; }
  std::string name() const override { return "flite"; }

  Status speak(std::string_view text, const AudioSink& sink, const std::stop_token& stop) override {
    if (text.size() > kMostTextBytes) return fail("a text of {} bytes is too long to be said at once", text.size());
    const auto plain = bounded_words(ascii_text(text));
    if (plain.find_first_not_of(' ') == std::string::npos) return {};
    Telling telling{sink, stop, Resampler(voice_rate_, rate_)};
    const std::lock_guard lock(flite_mutex());
    cst_utterance* utterance = new_utterance();
    utt_set_input_text(utterance, plain.c_str());
    utt_init(utterance, voice_);
    feat_set_float(utterance->features, "duration_stretch", stretch_);
    auto* info = new_audio_streaming_info();  // the utterance's from now on
    info->asc = on_samples;
    info->min_buffsize = static_cast<int>(voice_rate_ / 20);
    info->userdata = &telling;
    feat_set(utterance->features, "streaming_info", audio_streaming_info_val(info));
    const bool made = utt_synth(utterance) != nullptr;
    delete_utterance(utterance);
    if (!made && !telling.ended && !stop.stop_requested()) return fail("flite cannot say \"{}\"", printable(plain));
    return {};
  }

 private:
  cst_voice* voice_;
  uint32_t voice_rate_, rate_;
  float stretch_;
};

}  // namespace

bool have_flite() {
  return true;
}

Result<std::unique_ptr<Speaker>> make_flite(const SpeakerOptions& options) {
  const std::lock_guard lock(flite_mutex());
  static const int ready = flite_init();
  static_cast<void>(ready);
  const std::string wanted = options.voice.empty() ? "slt" : options.voice;
  static std::array<cst_voice*, kFliteVoices.size()> opened{};
  for (size_t i = 0; i < kFliteVoices.size(); ++i) {
    if (wanted != kFliteVoices[i].name) continue;
    if (opened[i] == nullptr) opened[i] = kFliteVoices[i].open(nullptr);
    if (opened[i] == nullptr) return fail("flite cannot open its voice {}", wanted);
    return std::make_unique<Flite>(opened[i], options);
  }
  return fail("flite has no voice '{}': it has slt, rms, awb and kal", options.voice);
}

}  // namespace onebit::voice
