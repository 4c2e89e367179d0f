#include "server/voice.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/utf8.h"
#include "server/json_body.h"
#include "server/realtime.h"

namespace onebit::server {
namespace {

/// Clients of OpenAI's insist on its voices: flite's that is nearest to each.
constexpr std::array<std::pair<std::string_view, std::string_view>, 13> kOpenAiVoices{{{"alloy", "slt"},
                                                                                       {"ash", "rms"},
                                                                                       {"ballad", "awb"},
                                                                                       {"cedar", "rms"},
                                                                                       {"coral", "slt"},
                                                                                       {"echo", "rms"},
                                                                                       {"fable", "awb"},
                                                                                       {"marin", "slt"},
                                                                                       {"nova", "slt"},
                                                                                       {"onyx", "rms"},
                                                                                       {"sage", "slt"},
                                                                                       {"shimmer", "slt"},
                                                                                       {"verse", "awb"}}};

constexpr size_t kMostIdleRecognizers = 2;

ApiError none(std::string why) {
  return api_error(501, "no_voice", std::move(why));
}

}  // namespace

Voice::Voice(const VoiceOptions& options) : options_(options) {}

Voice::~Voice() = default;

std::optional<ApiError> Voice::no_recognizer() const {
  if (options_.most == 0) return none("this server has no voice (--voice-sessions 0)");
  if (options_.recognizer.engine == "pocketsphinx" && !voice::have_pocketsphinx())
    return none("this server recognises no speech: it was built without pocketsphinx, and --stt names no server");
  return std::nullopt;
}

std::optional<ApiError> Voice::no_speaker() const {
  if (options_.most == 0) return none("this server has no voice (--voice-sessions 0)");
  if (options_.speaker.engine == "flite" && !voice::have_flite())
    return none("this server does not speak: it was built without flite, and --tts names no other speaker");
  return std::nullopt;
}

ApiResult<Voice::Slot> Voice::enter() {
  if (draining_) return tl::unexpected(api_error(503, "shutting_down", "the server is shutting down", 5));
  if (used_ >= options_.most)
    return tl::unexpected(
        api_error(429, "voice_full", fmt::format("{} are heard or spoken to now, and no more may be", used_), 1));
  return Slot(this);
}

Result<std::shared_ptr<voice::Recognizer>> Voice::take_recognizer() {
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      auto last = std::move(idle_.back());
      idle_.pop_back();
      return last;
    }
  }
  ASSIGN_OR_RETURN(auto made, voice::make_recognizer(options_.recognizer));
  return std::shared_ptr<voice::Recognizer>(std::move(made));
}

void Voice::give_back(std::shared_ptr<voice::Recognizer> recognizer) {
  if (!recognizer || !recognizer->begin()) return;
  const std::lock_guard lock(mutex_);
  if (idle_.size() < kMostIdleRecognizers) idle_.push_back(std::move(recognizer));
}

ApiResult<std::string> Voice::voice_named(const std::string& name) const {
  const auto own = voice::voices_of(options_.speaker.engine);
  if (name.empty() || name == options_.speaker.voice) return options_.speaker.voice;
  if (std::find(own.begin(), own.end(), name) != own.end()) return name;
  const auto* known =
      std::find_if(kOpenAiVoices.begin(), kOpenAiVoices.end(), [&](const auto& pair) { return pair.first == name; });
  if (known != kOpenAiVoices.end() && options_.speaker.engine != "openai")
    return own.empty() ? options_.speaker.voice : std::string(known->second);
  if (own.empty() && name.size() <= 64 &&
      std::all_of(
          name.begin(), name.end(),
          [](unsigned char c) { return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '+' || c == '.'; }) &&
      std::isalnum(static_cast<unsigned char>(name.front())) != 0)
    return name;  // the engine knows
  auto error = api_error(400, "voice_not_found", fmt::format("there is no voice '{}'", printable(name)));
  error.param = "voice";
  if (!own.empty()) error.message += fmt::format(": there are {}", fmt::join(own, ", "));
  return tl::unexpected(std::move(error));
}

ApiResult<std::shared_ptr<voice::Speaker>> Voice::make_speaker(const std::string& name, double speed,
                                                               uint32_t rate) const {
  auto options = options_.speaker;
  const auto own = voice_named(name);
  if (!own) return tl::unexpected(own.error());
  options.voice = *own;
  options.speed = std::clamp(options.speed * speed, 0.25, 4.0);
  options.rate = rate;
  auto made = voice::make_speaker(options);
  if (!made) return tl::unexpected(api_error(500, "voice_failed", made.error().message));
  return std::shared_ptr<voice::Speaker>(*std::move(made));
}

std::string Voice::voices_json() const {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const auto& name : voice::voices_of(options_.speaker.engine)) all.push_back(name);
  if (all.empty() && !options_.speaker.voice.empty()) all.push_back(options_.speaker.voice);
  return dump({{"voices", all},
               {"speaker", options_.speaker.engine},
               {"recognizer", options_.recognizer.engine},
               {"realtime", !no_recognizer().has_value()}});
}

asio::thread_pool& Voice::short_work() {
  if (!short_) short_.emplace(1);
  return *short_;
}

asio::thread_pool& Voice::long_work() {
  if (!long_) long_.emplace(options_.most + 1);
  return *long_;
}

void Voice::drain() {
  draining_ = true;
}

void Voice::cancel_all() {
  for (auto* session : sessions_) session->cut();
}

void Voice::end() {
  draining_ = true;
  ending_ = true;
  for (auto* pool : {&short_, &long_})
    if (*pool) {
      (*pool)->stop();
      (*pool)->join();
    }
  for (auto* session : sessions_) session->end_now();
}

}  // namespace onebit::server
