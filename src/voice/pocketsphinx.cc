// CMU's pocketsphinx, in this process.
#include <pocketsphinx.h>
#include <sphinxbase/err.h>
#include <sys/stat.h>

#include <algorithm>

#include "voice/engines.h"

namespace onebit::voice {
namespace {

constexpr const char* kModels = ONEBIT_POCKETSPHINX_MODELS;

struct FreeDecoder {
  void operator()(ps_decoder_t* decoder) const { ps_free(decoder); }
};
struct FreeConfig {
  void operator()(cmd_ln_t* config) const { cmd_ln_free_r(config); }
};

/// Words without the marks of variants and sentence ends: "read(2)" as "read".
std::string plain_words(const char* hypothesis) {
  std::string out;
  std::string_view rest = hypothesis == nullptr ? "" : hypothesis;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find(' '), rest.size());
    auto word = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (const size_t variant = word.find('('); variant != std::string_view::npos && variant > 0)
      word = word.substr(0, variant);
    if (word.empty() || word.front() == '<' || word.front() == '[' || word.starts_with("++")) continue;
    out += out.empty() ? "" : " ";
    out += word;
  }
  return out;
}

class PocketSphinx : public Recognizer {
 public:
  PocketSphinx(std::unique_ptr<ps_decoder_t, FreeDecoder> decoder, std::chrono::seconds longest)
      : decoder_(std::move(decoder)), most_samples_(static_cast<uint64_t>(longest.count()) * kRate) {}

  Status begin() override {
    end_segment();
    said_.clear();
    heard_ = 0;
    return {};
  }

  Status feed(std::span<const int16_t> samples) override {
    heard_ += samples.size();
    if (heard_ > most_samples_) return fail("the utterance is longer than {} s", most_samples_ / kRate);
    if (!in_segment_) {
      ps_start_stream(decoder_.get());
      if (ps_start_utt(decoder_.get()) < 0) return fail("pocketsphinx cannot begin an utterance");
      in_segment_ = true;
      in_segment_samples_ = 0;
    }
    in_segment_samples_ += samples.size();
    while (!samples.empty()) {
      const auto part = samples.first(std::min<size_t>(samples.size(), kRate / 10));
      samples = samples.subspan(part.size());
      if (ps_process_raw(decoder_.get(), part.data(), part.size(), 0, 0) < 0)
        return fail("pocketsphinx cannot go on with the utterance");
    }
    // Its search keeps all of a segment's states: a speaker who never pauses must not fill the memory.
    if (in_segment_samples_ > kMostSegment) end_segment();
    return {};
  }

  std::string partial() override {
    return in_segment_ ? joined(plain_words(ps_get_hyp(decoder_.get(), nullptr))) : said_;
  }

  Result<std::string> settle(const std::stop_token&) override {
    end_segment();
    return said_;
  }

  Result<std::string> finish(const std::stop_token& stop) override { return settle(stop); }
  std::string name() const override { return "pocketsphinx"; }

 private:
  static constexpr uint64_t kMostSegment = uint64_t{30} * kRate;

  std::string joined(const std::string& more) const {
    return said_ + (said_.empty() || more.empty() ? "" : " ") + more;
  }

  /// The last passes over what was heard since the last pause; its words join those before.
  void end_segment() {
    if (!in_segment_) return;
    in_segment_ = false;
    ps_end_utt(decoder_.get());
    said_ = joined(plain_words(ps_get_hyp(decoder_.get(), nullptr)));
  }

  std::unique_ptr<ps_decoder_t, FreeDecoder> decoder_;
  const uint64_t most_samples_;
  uint64_t heard_ = 0, in_segment_samples_ = 0;
  bool in_segment_ = false;
  std::string said_;
};

bool is_there(const std::string& path) {
  struct stat found{};
  return ::stat(path.c_str(), &found) == 0;
}

}  // namespace

bool have_pocketsphinx() {
  return true;
}

Result<std::unique_ptr<Recognizer>> make_pocketsphinx(const RecognizerOptions& options) {
  const auto or_default = [](const std::string& given, const char* usual) {
    return given.empty() ? std::string(kModels) + usual : given;
  };
  const auto acoustic = or_default(options.acoustic_model, "/en-us/en-us");
  const auto language = or_default(options.language_model, "/en-us/en-us.lm.bin");
  const auto dictionary = or_default(options.dictionary, "/en-us/cmudict-en-us.dict");
  for (const auto& path : {acoustic, language, dictionary})
    if (!is_there(path))
      return fail("{}: not there: pocketsphinx needs it (Debian's pocketsphinx-en-us has the usual ones)", path);
  err_set_callback(nullptr, nullptr);  // it would write on standard error; a log file would be open in each thread
  err_set_logfp(nullptr);              // nor what its settings are
  const std::unique_ptr<cmd_ln_t, FreeConfig> config(
      cmd_ln_init(nullptr, ps_args(), 1, "-hmm", acoustic.c_str(), "-lm", language.c_str(), "-dict", dictionary.c_str(),
                  "-samprate", "16000", "-remove_silence", "no", nullptr));
  if (!config) return fail("pocketsphinx cannot take its settings");
  std::unique_ptr<ps_decoder_t, FreeDecoder> decoder(ps_init(config.get()));
  if (!decoder) return fail("{}: pocketsphinx cannot load its models", acoustic);
  return std::make_unique<PocketSphinx>(std::move(decoder), options.longest);
}

}  // namespace onebit::voice
