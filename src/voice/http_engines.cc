// Recognisers and speakers in other programs, over HTTP: whisper.cpp's server and what speaks OpenAI's audio protocol.
#include <nlohmann/json.hpp>
#include <optional>
#include <random>

#include "base/utf8.h"
#include "voice/audio.h"
#include "voice/engines.h"
#include "voice/wav_sink.h"

namespace onebit::voice {
namespace {

constexpr uint64_t kMostTextReply = 1 << 20;
constexpr uint64_t kMostSpeechReply = 128 << 20;

/// A form as browsers send it.
class Form {
 public:
  Form() {
    std::random_device random;
    boundary_ = fmt::format("1bit-{:08x}{:08x}{:08x}{:08x}", random(), random(), random(), random());
  }
  void add(std::string_view name, std::string_view value) {
    body_ += fmt::format("--{}\r\nContent-Disposition: form-data; name=\"{}\"\r\n\r\n{}\r\n", boundary_, name, value);
  }
  void add_wav(std::string_view name, std::string_view bytes) {
    body_ += fmt::format(
        "--{}\r\nContent-Disposition: form-data; name=\"{}\"; filename=\"speech.wav\"\r\nContent-Type: "
        "audio/wav\r\n\r\n",
        boundary_, name);
    body_ += bytes;
    body_ += "\r\n";
  }
  HttpPost post(const std::string& path) && {
    body_ += "--" + boundary_ + "--\r\n";
    return {path, "multipart/form-data; boundary=" + boundary_, std::move(body_)};
  }

 private:
  std::string boundary_, body_;
};

class HttpRecognizer : public Recognizer {
 public:
  HttpRecognizer(Endpoint endpoint, const RecognizerOptions& options)
      : endpoint_(std::move(endpoint)), options_(options) {}

  Status begin() override {
    samples_.clear();
    settled_.reset();
    return {};
  }
  Status feed(std::span<const int16_t> samples) override {
    if (samples_.size() + samples.size() > static_cast<size_t>(options_.longest.count()) * kRate)
      return fail("the utterance is longer than {} s", options_.longest.count());
    if (!samples.empty()) settled_.reset();
    samples_.insert(samples_.end(), samples.begin(), samples.end());
    return {};
  }
  std::string partial() override { return settled_.value_or(std::string()); }

  Result<std::string> settle(const std::stop_token& stop) override {
    if (settled_) return *settled_;
    if (samples_.empty()) return std::string();
    Form form;
    form.add_wav("file", wav_bytes(kRate, samples_));
    form.add("response_format", "json");
    form.add("temperature", "0");
    if (options_.engine == "openai") form.add("model", options_.model);
    if (!options_.language.empty()) form.add("language", options_.language);
    ASSIGN_OR_RETURN(const auto reply, endpoint_.client.post(std::move(form).post(endpoint_.path),
                                                             {.most_bytes = kMostTextReply, .stop = stop}));
    if (reply.status != 200) return refused(options_.url, reply);
    const auto json = nlohmann::json::parse(reply.body, nullptr, false);
    const auto text = json.is_object() ? json.find("text") : json.end();
    if (!json.is_object() || text == json.end() || !text->is_string())
      return fail("{}: answered no transcription: {}", options_.url, printable(reply.body));
    settled_ = trim_white_space(utf8_replace_invalid(text->get<std::string>()));
    // What whisper writes where nobody speaks.
    if (settled_->starts_with('[') && settled_->ends_with(']')) settled_->clear();
    return *settled_;
  }
  Result<std::string> finish(const std::stop_token& stop) override { return settle(stop); }
  std::string name() const override { return options_.engine; }

 private:
  Endpoint endpoint_;
  RecognizerOptions options_;
  std::vector<int16_t> samples_;
  std::optional<std::string> settled_;
};

class HttpSpeaker : public Speaker {
 public:
  HttpSpeaker(Endpoint endpoint, const SpeakerOptions& options) : endpoint_(std::move(endpoint)), options_(options) {}

  uint32_t rate() const override { return options_.rate; }
  std::string name() const override { return "openai"; }

  Status speak(std::string_view text, const AudioSink& sink, const std::stop_token& stop) override {
    if (text.size() > kMostTextBytes) return fail("a text of {} bytes is too long to be said at once", text.size());
    const nlohmann::json wanted{{"model", options_.model},
                                {"input", utf8_replace_invalid(std::string(text))},
                                {"voice", options_.voice.empty() ? "alloy" : options_.voice},
                                {"response_format", "wav"},
                                {"speed", options_.speed}};
    WavSink wav(options_.url, options_.rate, sink);
    bool ended = false;
    const HttpBounds bounds{.most_bytes = kMostSpeechReply,
                            .sink = [&](std::string_view part) { return !(ended = !wav.push(part)); },
                            .stop = stop};
    const auto reply = endpoint_.client.post({endpoint_.path, "application/json", wanted.dump()}, bounds);
    if (stop.stop_requested()) return {};
    if (!reply && !ended) return tl::unexpected(reply.error());
    if (reply && reply->status != 200) return refused(options_.url, *reply);
    return wav.finish();
  }

 private:
  Endpoint endpoint_;
  SpeakerOptions options_;
};

}  // namespace

Result<Endpoint> open_endpoint(const std::string& url, const std::string& key, std::chrono::milliseconds timeout,
                               const std::string& usual) {
  if (url.empty()) return fail("this engine is a server: its URL is needed");
  ASSIGN_OR_RETURN(auto client, HttpClient::open(url, key, timeout));
  // A base such as http://HOST:PORT or …/v1 is what other clients are given; a whole path is taken as it is.
  const auto& prefix = client.prefix();
  if (prefix.empty()) return Endpoint{std::move(client), usual};
  if (prefix.ends_with("/v1") && usual.starts_with("/v1/")) return Endpoint{std::move(client), usual.substr(3)};
  return Endpoint{std::move(client), ""};
}

tl::unexpected<Error> refused(const std::string& url, const HttpReply& reply) {
  return fail("{}: answered with status {}: {}", url, reply.status, printable(reply.body, 200));
}

Result<std::unique_ptr<Recognizer>> make_http_recognizer(const RecognizerOptions& options) {
  const auto* usual = options.engine == "whisper" ? "/inference" : "/v1/audio/transcriptions";
  ASSIGN_OR_RETURN(auto endpoint, open_endpoint(options.url, options.key, options.timeout, usual));
  return std::make_unique<HttpRecognizer>(std::move(endpoint), options);
}

Result<std::unique_ptr<Speaker>> make_http_speaker(const SpeakerOptions& options) {
  ASSIGN_OR_RETURN(auto endpoint, open_endpoint(options.url, options.key, options.timeout, "/v1/audio/speech"));
  return std::make_unique<HttpSpeaker>(std::move(endpoint), options);
}

}  // namespace onebit::voice
