// Sound in requests and answers: OpenAI's transcriptions, speech and realtime conversations.
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/beast/websocket/rfc6455.hpp>

#include "base/utf8.h"
#include "server/await.h"
#include "server/handlers.h"
#include "server/mailbox.h"
#include "server/realtime.h"
#include "server/speech_api.h"
#include "voice/audio.h"
#include "voice/loop.h"
#include "voice/sentences.h"

namespace onebit::server {
namespace {

using VoiceClock = std::chrono::steady_clock;

constexpr double kMostAheadOfHearing = 20;     // seconds of a recording that wait for the recogniser
constexpr size_t kMostUnsentSpeech = 1 << 20;  // bytes that wait for a reader
constexpr std::chrono::milliseconds kWorkTick{5};

/// What work on another thread is asked to stop by.
struct Work {
  std::shared_ptr<Client> client;
  const Voice& voice;
  VoiceClock::time_point deadline;

  bool wanted() const { return !client->gone && !voice.ending() && VoiceClock::now() < deadline; }
};

/// The turns of a recording, as the loop understands them.
class Hearing {
 public:
  void operator()(const voice::Event& event) {
    using Kind = voice::Event::Kind;
    constexpr double kRate = voice::Recognizer::kRate;
    const std::lock_guard lock(mutex_);
    if (event.kind == Kind::kSpeechStarted) times_[event.turn].first = static_cast<double>(event.sample) / kRate;
    if (event.kind == Kind::kSpeechStopped) times_[event.turn].second = static_cast<double>(event.sample) / kRate;
    if (event.kind == Kind::kFinal && !event.text.empty())
      transcript_.segments.push_back({times_[event.turn].first, times_[event.turn].second, event.text});
    if (event.kind == Kind::kFinal) times_.erase(event.turn);
    if (event.kind == Kind::kError && !error_) error_ = event.text;
  }
  /// After the loop is gone.
  ApiResult<Transcript> result(double seconds) && {
    if (error_) return tl::unexpected(api_error(500, "voice_failed", *error_));
    transcript_.seconds = seconds;
    return std::move(transcript_);
  }

 private:
  std::mutex mutex_;
  std::map<uint64_t, std::pair<double, double>> times_;
  Transcript transcript_;
  std::optional<std::string> error_;
};

void push_all(voice::Loop& loop, const voice::Audio& audio, const Work& work) {
  for (std::span<const int16_t> rest = audio.samples; !rest.empty() && work.wanted();) {
    const auto part = rest.first(std::min<size_t>(rest.size(), audio.rate));
    rest = rest.subspan(part.size());
    loop.push(part);
    while (loop.pending() > kMostAheadOfHearing && work.wanted()) std::this_thread::sleep_for(kWorkTick);
  }
  loop.end_turn();
  while (!loop.wait_idle(std::chrono::milliseconds(100)) && work.wanted()) {
  }
}

/// On a thread that may take its time.
ApiResult<Transcript> heard_in(Voice& voice, const TranscriptionCall& call, const Work& work) {
  auto audio = voice::parse_wav(call.wav, call.name);
  if (!audio) {
    auto error = api_error(400, "invalid_audio", audio.error().message);
    error.param = "file";
    return tl::unexpected(std::move(error));
  }
  auto recognizer = voice.take_recognizer();
  if (!recognizer) return tl::unexpected(api_error(500, "voice_failed", recognizer.error().message));
  Hearing hearing;
  {
    voice::LoopOptions options;
    options.input_rate = audio->rate;
    options.answer = false;
    options.speculate = false;
    const auto listener = [&](const voice::Event& event) { hearing(event); };
    voice::Loop loop(*recognizer, nullptr, nullptr, options, listener);
    push_all(loop, *audio, work);
  }
  voice.give_back(*std::move(recognizer));
  if (!work.wanted()) return tl::unexpected(api_error(504, "timeout", "the transcription took too long"));
  return std::move(hearing).result(audio->seconds());
}

/// Speech under way, from the thread that makes it to the connection.
struct Speech {
  explicit Speech(const asio::any_io_executor& executor) : parts(std::make_shared<Mailbox<std::string>>(executor)) {}

  std::shared_ptr<Mailbox<std::string>> parts;  // the last is empty
  std::atomic<size_t> unsent{0};
  std::mutex mutex;
  std::optional<ApiError> error;
};

void make_speech(Speech& speech, voice::Speaker& speaker, const SpeechCall& call, const Work& work) {
  const auto sink = [&](std::span<const int16_t> samples) {
    std::string bytes(reinterpret_cast<const char*>(samples.data()), samples.size_bytes());
    speech.unsent += bytes.size();
    speech.parts->push(std::move(bytes));
    while (speech.unsent > kMostUnsentSpeech && work.wanted()) std::this_thread::sleep_for(kWorkTick);
    return work.wanted();
  };
  for (const auto& sentence : voice::sentences(call.input)) {
    const auto text = voice::speakable(sentence);
    if (text.empty() || !work.wanted()) continue;
    const auto status = speaker.speak(text, sink, {});
    if (status) continue;
    const std::lock_guard lock(speech.mutex);
    speech.error = api_error(500, "voice_failed", status.error().message);
    break;
  }
  speech.parts->push({});
}

/// A WAV header before sound whose length is not known yet.
std::string open_wav_header() {
  auto header = voice::wav_bytes(kRealtimeRate, {});
  for (const size_t at : {size_t{4}, header.size() - 4})
    for (size_t i = 0; i < 4; ++i) header[at + i] = '\xff';
  return header;
}

}  // namespace

asio::awaitable<void> Handlers::tell_voices(Connection& c) {
  if (const auto error = voice_.no_speaker()) co_return co_await c.refuse(*error);
  co_await c.respond(json_response(voice_.voices_json()));
}

asio::awaitable<void> Handlers::talk(Connection& c) {
  if (!beast::websocket::is_upgrade(c.request())) {
    c.add_header("Upgrade", "websocket");
    co_return co_await c.refuse(api_error(426, "upgrade_required", "this route is a WebSocket's"));
  }
  if (const auto error = voice_.no_recognizer()) co_return co_await c.refuse(*error);
  const auto slot = voice_.enter();
  if (!slot) co_return co_await c.refuse(slot.error());
  std::shared_ptr<Service> service;
  {
    const auto client = std::make_shared<Client>();
    const Connection::Watch watch(c, [client] { client->leave(); });
    const auto found = co_await service_of(c, client);
    if (client->gone) co_return c.client_gone();
    if (!found) co_return co_await c.refuse(found.error());
    service = *found;
  }
  const auto name = percent_decoded(c.query("model"));
  if (!models_.several() && !options_.any_model && !name.empty() && name != service->name)
    co_return co_await c.refuse(
        api_error(404, "model_not_found",
                  fmt::format("the model '{}' does not exist: there is '{}'", printable(name), service->name)));
  if (c.has_more()) {
    c.forbid_keep_alive();
    co_return co_await c.refuse(api_error(400, "", "more came before the handshake was answered"));
  }
  const auto offer = read_offer(c.header("Sec-WebSocket-Protocol"));
  const bool beta = offer.beta || c.header("OpenAI-Beta").find("realtime=v1") != std::string_view::npos;
  RealtimeSession::Limits limits;
  limits.message_bytes = options_.connection.body_bytes;
  limits.idle = options_.connection.idle;
  limits.write = options_.connection.write;
  limits.session = options_.voice.session;
  limits.answer = options_.request_time;
  limits.most_tokens = options_.api.max_tokens;
  const auto session = std::make_shared<RealtimeSession>(voice_, metrics_, std::exchange(service, nullptr), c.tenant(),
                                                         limits, beta ? RealtimeForm::kBeta : RealtimeForm::kGeneral);
  co_await session->run(c, std::string(offer.chosen));
}

asio::awaitable<void> Handlers::transcribe(Connection& c) {
  if (const auto error = voice_.no_recognizer()) co_return co_await c.refuse(*error);
  const auto call = read_transcription(c.header("Content-Type"), c.request().body());
  if (!call) co_return co_await c.refuse(call.error());
  const auto slot = voice_.enter();
  if (!slot) co_return co_await c.refuse(slot.error());
  const auto client = std::make_shared<Client>();
  const Connection::Watch watch(c, [client] { client->leave(); });
  const Work work{client, voice_, VoiceClock::now() + options_.request_time};
  const auto hear = [&] { return heard_in(voice_, *call, work); };
  const auto transcript = co_await run_on(voice_.long_work(), hear);
  if (client->gone) co_return c.client_gone();
  if (!transcript) co_return co_await c.refuse(transcript.error());
  auto response = json_response(transcript_body(*transcript, call->form));
  if (call->form == TranscriptionCall::Form::kText) response.type = "text/plain; charset=utf-8";
  co_await c.respond(std::move(response));
}

asio::awaitable<void> Handlers::speak(Connection& c) {
  if (const auto error = voice_.no_speaker()) co_return co_await c.refuse(*error);
  const auto call = read_speech(c.request().body());
  if (!call) co_return co_await c.refuse(call.error());
  const auto slot = voice_.enter();
  if (!slot) co_return co_await c.refuse(slot.error());
  const auto make = [&] { return voice_.make_speaker(call->voice, call->speed, kRealtimeRate); };
  const auto speaker = co_await run_on(voice_.long_work(), make);
  if (!speaker) co_return co_await c.refuse(speaker.error());
  const auto executor = co_await asio::this_coro::executor;
  const auto client = std::make_shared<Client>();
  const Connection::Watch watch(c, [client] { client->leave(); });
  const auto until = VoiceClock::now() + options_.request_time;
  const auto speech = std::make_shared<Speech>(executor);
  asio::post(voice_.long_work(), [speech, speaker = *speaker, call = *call, work = Work{client, voice_, until}] {
    make_speech(*speech, *speaker, call, work);
  });
  const auto begin = [&]() -> asio::awaitable<bool> {
    if (!co_await c.begin_stream(call->wav ? "audio/wav" : "audio/pcm")) co_return false;
    if (!call->wav) co_return true;
    const auto header = open_wav_header();
    co_return co_await c.write(header);
  };
  bool there = true, begun = false;
  while (there) {
    const auto part = co_await speech->parts->take(until);
    if (!part || part->empty() || client->gone) break;
    if (!std::exchange(begun, true)) there = co_await begin();
    if (there) there = co_await c.write(*part);
    speech->unsent -= part->size();
  }
  const bool gone = !there || client->gone, late = VoiceClock::now() >= until;
  client->leave();  // whoever still makes speech
  if (gone) co_return c.client_gone();
  std::optional<ApiError> error;
  {
    const std::lock_guard lock(speech->mutex);
    error = speech->error;
  }
  if (late) error = too_long();
  if (error && !begun) co_return co_await c.refuse(*error);
  if (error) {  // the client sees that the rest is missing
    c.client_gone();
    co_return c.set_status(error->status);
  }
  if (!begun) begun = co_await begin();
  if (begun) begun = co_await c.end_stream();
  if (!begun) c.client_gone();
}

}  // namespace onebit::server
