// The WebSocket of a conversation by voice: what its client says, and what it is told.
#include "server/realtime.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/beast/websocket/rfc6455.hpp>
#include <random>

#include "server/await.h"
#include "server/run_on.h"
#include "server/version.h"

namespace onebit::server {
namespace {

namespace websocket = beast::websocket;

constexpr uint64_t kMostUnsent = 8 << 20;  // bytes that a slow reader may leave
constexpr uint32_t kMostPings = 200;       // in the time of one look
constexpr std::chrono::milliseconds kTalkLook{100};
constexpr std::chrono::seconds kCloseTime{5};
constexpr size_t kLargeEvent = 16 << 10;  // bytes that are read on another thread
constexpr size_t kKeptBuffer = 256 << 10;
constexpr double kMostAheadOfRecognizer = 20;  // seconds of sound; then the client waits

std::string session_id() {
  std::random_device device;
  return fmt::format("sess_{:08x}{:08x}", device(), device());
}

bool of_the_loop(const RealtimeSettings& a, const RealtimeSettings& b) {
  auto same = a;
  same.instructions = b.instructions;
  same.temperature = b.temperature;
  same.most_tokens = b.most_tokens;
  same.transcription = b.transcription;
  return same == b;
}

std::string_view without_spaces(std::string_view text) {
  while (text.starts_with(' ') || text.starts_with('\t')) text.remove_prefix(1);
  while (text.ends_with(' ') || text.ends_with('\t')) text.remove_suffix(1);
  return text;
}

}  // namespace

RealtimeOffer read_offer(std::string_view subprotocols) {
  constexpr std::string_view kKey = "openai-insecure-api-key.";
  RealtimeOffer offer;
  while (!subprotocols.empty()) {
    const auto one = without_spaces(subprotocols.substr(0, subprotocols.find(',')));
    subprotocols.remove_prefix(std::min(subprotocols.size(), subprotocols.find(',')));
    if (subprotocols.starts_with(',')) subprotocols.remove_prefix(1);
    if (one == "realtime") offer.chosen = one;
    if (one == "openai-beta.realtime-v1") offer.beta = true;
    if (one.starts_with(kKey)) offer.key = one.substr(kKey.size());
  }
  return offer;
}

RealtimeSession::RealtimeSession(Voice& voice, Metrics& metrics, std::shared_ptr<Service> service, uint32_t tenant,
                                 Limits limits, RealtimeForm form)
    : voice_(voice),
      metrics_(metrics),
      service_(std::move(service)),
      limits_(limits),
      model_(std::make_shared<ServedModel>(service_, metrics, tenant, limits.answer)),
      teller_(form, session_id(), service_->name, voice.recognizer_name()) {
  settings_.voice = voice.options().speaker.voice;
  settings_.audio = !voice.no_speaker().has_value();
  set_model(settings_);
  voice_.add(this);
}

RealtimeSession::~RealtimeSession() {
  voice_.remove(this);
}

asio::awaitable<void> RealtimeSession::run(Connection& c, std::string subprotocol) {
  const auto self = shared_from_this();
  executor_ = co_await asio::this_coro::executor;
  auto& stream = stream_.emplace(c.upgrade());
  stream.set_option(websocket::stream_base::timeout{
      .handshake_timeout = kCloseTime, .idle_timeout = limits_.idle, .keep_alive_pings = true});
  stream.read_message_max(limits_.message_bytes);
  stream.set_option(websocket::stream_base::decorator([subprotocol](websocket::response_type& response) {
    response.set(http::field::server, std::string("1bit-server/") + kVersion);
    if (!subprotocol.empty()) response.set(http::field::sec_websocket_protocol, subprotocol);
  }));
  stream.control_callback([this](websocket::frame_type kind, beast::string_view) {
    if (kind == websocket::frame_type::ping) ++pings_;
  });
  const auto [error] = co_await stream.async_accept(c.request(), kAwait);
  if (error) {
    c.set_status(400);
    co_return;
  }
  writer_timer_.emplace(*executor_);
  watch_timer_.emplace(*executor_);
  done_timer_.emplace(*executor_);
  helpers_ = 2;
  asio::co_spawn(*executor_, [self] { return self->write(); }, asio::detached);
  asio::co_spawn(*executor_, [self] { return self->watch(); }, asio::detached);
  teller_.session("session.created", settings_, fresh_);
  flush();
  try {
    co_await read();
  } catch (const std::exception&) {  // no memory, most likely
    status_ = 500;
  }
  co_await end_helpers();
  co_await drop_loop();
  if (recognizer_) {
    const auto back = [this] { voice_.give_back(std::move(recognizer_)); };
    co_await run_on(voice_.long_work(), back);
  }
  c.set_status(status_);
}

/// The stream is the connection's: nobody uses it afterwards.
asio::awaitable<void> RealtimeSession::end_helpers() {
  over_ = true;
  cut();
  while (helpers_ > 0) {
    writer_timer_->cancel();
    watch_timer_->cancel();
    done_timer_->expires_after(std::chrono::milliseconds(5));
    co_await done_timer_->async_wait(kAwait);
  }
}

void RealtimeSession::cut() {
  if (stream_) beast::get_lowest_layer(*stream_).close();
}

asio::awaitable<void> RealtimeSession::read() {
  beast::flat_buffer buffer;
  while (true) {
    const auto [error, bytes] = co_await stream_->async_read(buffer, kAwait);
    if (error) break;
    if (closing_) {
      buffer.consume(buffer.size());
      continue;
    }
    const auto data = buffer.cdata();
    if (stream_->got_text())
      co_await take({static_cast<const char*>(data.data()), data.size()});
    else
      refuse(api_error(400, "invalid_event", "an event is a text of JSON, no binary message"), "");
    flush();
    buffer.consume(buffer.size());
    if (buffer.capacity() > kKeptBuffer) buffer.shrink_to_fit();
  }
}

asio::awaitable<void> RealtimeSession::take(std::string_view text) {
  std::string id;
  const auto read_it = [&] { return read_realtime(text, settings_, id); };
  ApiResult<RealtimeEvent> event;
  if (text.size() < kLargeEvent)
    event = read_it();
  else
    event = co_await run_on(voice_.short_work(), read_it);
  if (!event) {
    refuse(event.error(), id);
  } else if (auto* session = std::get_if<SessionUpdate>(&*event)) {
    if (const auto error = wrong_with(session->settings))
      refuse(*error, id);
    else
      co_await update(std::move(session->settings));
  } else if (auto* sound = std::get_if<AppendAudio>(&*event)) {
    co_await append(std::move(sound->samples), id);
  } else if (std::holds_alternative<CommitAudio>(*event)) {
    commit(id);
  } else if (std::holds_alternative<ClearAudio>(*event)) {
    if (loop_) loop_->clear_input();
    hear_all();
    teller_.cleared(fresh_);
  } else if (const auto* item = std::get_if<CreateItem>(&*event)) {
    add_item(*item);
  } else if (const auto* truncate = std::get_if<TruncateItem>(&*event)) {
    teller_.truncated(*truncate, fresh_);
  } else if (const auto* create = std::get_if<CreateResponse>(&*event)) {
    co_await respond(create->settings, id);
  } else {
    cancel(id);
  }
}

std::optional<ApiError> RealtimeSession::wrong_with(const RealtimeSettings& settings) const {
  if (const auto own = voice_.voice_named(settings.voice); !own) return own.error();
  if (settings.audio) return voice_.no_speaker();
  return std::nullopt;
}

asio::awaitable<void> RealtimeSession::update(RealtimeSettings settings) {
  const bool same_loop = of_the_loop(settings, settings_);
  settings_ = std::move(settings);
  if (!same_loop) co_await drop_loop();
  set_model(settings_);
  own_settings_ = false;
  teller_.session("session.updated", settings_, fresh_);
}

asio::awaitable<void> RealtimeSession::append(std::vector<int16_t> samples, const std::string& id) {
  if (samples.empty()) co_return;
  if (const auto error = co_await want_loop()) {
    refuse(*error, id);
    co_return;
  }
  asio::steady_timer timer(*executor_);
  for (std::span<const int16_t> rest = samples; !rest.empty() && !closing_;) {
    const auto part = rest.first(std::min<size_t>(rest.size(), kRealtimeRate));
    rest = rest.subspan(part.size());
    const auto push = [&] {
      loop_->push(part);
      return true;
    };
    co_await run_on(voice_.short_work(), push);
    // A recording may come faster than it is understood: then its client waits.
    while (loop_->pending() > kMostAheadOfRecognizer && beast::get_lowest_layer(*stream_).socket().is_open()) {
      flush();
      timer.expires_after(std::chrono::milliseconds(20));
      co_await timer.async_wait(kAwait);
    }
  }
}

void RealtimeSession::commit(const std::string& id) {
  if (loop_ && loop_->end_turn()) return hear_all();
  refuse(api_error(400, "input_audio_buffer_commit_empty", "nothing was said since the last turn"), id);
}

void RealtimeSession::add_item(const CreateItem& item) {
  teller_.item(item, fresh_);
  if (item.role == "user") {
    question_ += (question_.empty() ? "" : "\n") + item.text;
    if (question_.size() > ServedModel::kMostBytes) question_.resize(ServedModel::kMostBytes);
    return;
  }
  if (!question_.empty()) model_->add("user", std::exchange(question_, {}));
  model_->add(item.role, item.text);
}

asio::awaitable<void> RealtimeSession::respond(const RealtimeSettings& settings, const std::string& id) {
  if (teller_.answering() || respond_wanted_) {
    refuse(api_error(400, "conversation_already_has_active_response", "an answer is under way: cancel it, or wait"),
           id);
    co_return;
  }
  if (!of_the_loop(settings, settings_)) {
    refuse(api_error(400, "invalid_value", "voice, speed, sound and turns are the session's: session.update sets them"),
           id);
    co_return;
  }
  if (const auto error = co_await want_loop()) {
    refuse(*error, id);
    co_return;
  }
  set_model(settings);
  own_settings_ = true;
  if (awaited_ > 0)
    respond_wanted_ = true;
  else
    answer_question();
}

void RealtimeSession::cancel(const std::string& id) {
  const size_t told = fresh_.size();
  respond_wanted_ = false;
  hear_all();
  if (loop_) {
    teller_.cancelling();
    loop_->interrupt();
    hear_all();
  }
  if (fresh_.size() == told) refuse(api_error(400, "response_cancel_not_active", "no answer is under way"), id);
}

void RealtimeSession::refuse(const ApiError& error, const std::string& id) {
  teller_.error(error, id, fresh_);
}

/// What there is to tell goes to the one who writes.
void RealtimeSession::flush() {
  if (fresh_.empty()) return;
  for (auto& event : fresh_) {
    outbox_bytes_ += event.size();
    outbox_.push_back(std::move(event));
  }
  fresh_.clear();
  if (outbox_bytes_ > kMostUnsent) {
    status_ = 408;  // it reads too slowly
    cut();
  }
  if (writer_timer_) writer_timer_->cancel();
}

void RealtimeSession::close(websocket::close_code code, const char* reason) {
  if (closing_) return;
  closing_ = websocket::close_reason(code, reason);
  writer_timer_->cancel();
}

asio::awaitable<void> RealtimeSession::write() {
  const auto done = [](RealtimeSession* session) { --session->helpers_; };
  const std::unique_ptr<RealtimeSession, decltype(done)> at_the_end(this, done);
  while (!over_) {
    if (!outbox_.empty()) {
      const auto event = std::move(outbox_.front());
      outbox_.pop_front();
      write_deadline_ = Clock::now() + limits_.write;
      const auto [error, bytes] = co_await stream_->async_write(asio::buffer(event), kAwait);
      write_deadline_.reset();
      outbox_bytes_ -= event.size();
      if (error) co_return cut();
    } else if (closing_) {
      write_deadline_ = Clock::now() + kCloseTime;
      co_await stream_->async_close(*closing_, kAwait);
      write_deadline_.reset();
      co_return;
    } else {
      writer_timer_->expires_after(std::chrono::hours(1));
      co_await writer_timer_->async_wait(kAwait);
    }
  }
}

/// Looks at what takes too long.
asio::awaitable<void> RealtimeSession::watch() {
  const auto done = [](RealtimeSession* session) { --session->helpers_; };
  const std::unique_ptr<RealtimeSession, decltype(done)> at_the_end(this, done);
  const auto end = Clock::now() + limits_.session;
  while (!over_) {
    watch_timer_->expires_after(kTalkLook);
    co_await watch_timer_->async_wait(kAwait);
    const auto now = Clock::now();
    if (write_deadline_ && now > *write_deadline_) {
      status_ = 408;
      cut();
    }
    if (std::exchange(pings_, 0) > kMostPings) close(websocket::close_code::policy_error, "too many pings");
    if (closing_) continue;
    if (now >= end) {
      refuse(api_error(400, "session_expired", fmt::format("a session lasts {} s", limits_.session.count())), "");
      flush();
      close(websocket::close_code::going_away, "session expired");
    } else if (voice_.draining() && !teller_.busy()) {
      close(websocket::close_code::going_away, "the server is shutting down");
    }
  }
}

}  // namespace onebit::server
