#include "server/handlers.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <nlohmann/json.hpp>
#include <random>

#include "base/utf8.h"
#include "kernels/cpu/select.h"
#include "server/event_queue.h"

namespace onebit::server {
namespace {

using Clock = std::chrono::steady_clock;

/// Events that may wait for a slow reader. One of a token with 20 others' log-probabilities is about 2 KB.
constexpr size_t kMostEvents = 4096;

std::string random_id(const char* prefix) {
  std::random_device device;
  return fmt::format("{}{:08x}{:08x}{:08x}", prefix, device(), device(), device());
}

ApiError refusal(const EngineLoop::Ticket& ticket) {
  switch (ticket.refusal) {
    case EngineLoop::Refusal::kFull:
      return {.status = 429, .message = ticket.reason, .code = "queue_full", .retry_after = 1};
    case EngineLoop::Refusal::kDraining:
      return {.status = 503, .message = ticket.reason, .code = "shutting_down", .retry_after = 5};
    default:
      return {.message = ticket.reason, .param = "prompt", .code = "invalid_prompt"};
  }
}

/// Feeds the metrics on the engine's thread, and the coroutine.
class MeteredListener final : public RequestListener {
 public:
  MeteredListener(std::shared_ptr<EventQueue> queue, uint32_t choice, Metrics& metrics)
      : to_(std::move(queue), choice), metrics_(metrics) {}
  void on_prompt(std::vector<GeneratedToken> tokens) override { to_.on_prompt(std::move(tokens)); }
  void on_token(Answer::Piece piece) override {
    const auto now = Clock::now();
    if (last_ != Clock::time_point()) metrics_.inter_token(std::chrono::duration<double>(now - last_).count());
    last_ = now;
    metrics_.token();
    to_.on_token(std::move(piece));
  }
  void on_end(const Outcome& outcome, std::string rest) override {
    metrics_.ended(outcome);
    to_.on_end(outcome, std::move(rest));
  }

 private:
  ChoiceListener to_;
  Metrics& metrics_;  // outlives the engine, which ends all requests
  Clock::time_point last_{};
};

std::string model_name(const Model& model, const ServerOptions& options) {
  if (!options.model_name.empty()) return options.model_name;
  const auto name = model.file().provenance("name");
  return name.empty() ? "1bit" : std::string(name);
}

int64_t now_unix() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

Service::Service(Model loaded, const ServerOptions& options, std::string version_text)
    : model(std::move(loaded)),
      name(utf8_replace_invalid(model_name(model, options))),
      fingerprint("1bit-" + version_text),
      version(std::move(version_text)),
      created(now_unix()),
      api{model.tokenizer(), model.file().config(), name, options.api},
      metrics(
          {version, name, options.model.engine == onebit::Engine::kCpu ? (*cpu::chosen_kernels())->name : "reference"}),
      engine(model.backend(), model.tokenizer(), options.engine) {}

/// A call that the engine has: its queue, what came of it so far.
struct Handlers::Flight {
  Flight(const ApiCall& c, const Service& service)
      : call(c),
        format(call, service.model.tokenizer(),
               {random_id(call.kind == ApiCall::Kind::kChat ? "chatcmpl-" : "cmpl-"), now_unix(), service.name,
                service.fingerprint}),
        choices(call.requests.size()),
        outcomes(call.requests.size()) {}

  Flight(const Flight&) = delete;
  Flight& operator=(const Flight&) = delete;
  ~Flight() {
    if (ticket.cancelled) ticket.cancel();  // of no effect where all has ended
  }

  const ApiCall& call;
  ApiFormat format;
  std::shared_ptr<EventQueue> queue;
  EngineLoop::Ticket ticket;
  std::shared_ptr<std::atomic<bool>> gone = std::make_shared<std::atomic<bool>>(false);
  Clock::time_point deadline;
  std::vector<ChoiceText> choices;
  std::vector<Outcome> outcomes;
  ApiUsage usage;
  size_t ended = 0;

  bool all_ended() const { return ended == choices.size(); }
  /// Keeps what came for an answer in one piece; the error that ends it.
  std::optional<ApiError> collect(Event& event);
  /// The same as events of a stream.
  std::optional<ApiError> tell(Event& event, std::string& out);
  std::string beginning();
  std::string ending() const { return (call.include_usage ? format.usage(usage) : "") + ApiFormat::done(); }

 private:
  std::optional<ApiError> end(uint32_t choice, const Outcome& outcome);
};

std::optional<ApiError> Handlers::Flight::end(uint32_t choice, const Outcome& outcome) {
  if (outcome.error) return api_error(500, "engine_error", outcome.error->message);
  if (outcome.reason == FinishReason::kCancelled)
    return api_error(503, "shutting_down", "the server is shutting down", 5);
  outcomes[choice] = outcome;
  usage.add(outcome, call.requests[choice].params.sampling.choice == 0);  // a prompt counts once
  ++ended;
  return std::nullopt;
}

std::optional<ApiError> Handlers::Flight::collect(Event& event) {
  auto& so_far = choices[event.choice];
  if (auto* prompt = std::get_if<PromptEvent>(&event.what))
    so_far = format.echo(event.choice, std::move(prompt->tokens));
  if (auto* piece = std::get_if<Answer::Piece>(&event.what)) {
    so_far.text += piece->text;
    if (call.logprobs) so_far.tokens.push_back(std::move(piece->token));
  }
  const auto* last = std::get_if<EndEvent>(&event.what);
  if (last == nullptr) return std::nullopt;
  so_far.text += last->rest;
  return end(event.choice, last->outcome);
}

std::string Handlers::Flight::beginning() {
  std::string out;
  for (uint32_t i = 0; i < choices.size(); ++i) {
    if (call.kind == ApiCall::Kind::kChat) out += format.role(i);
    if (call.echo && !call.logprobs) out += format.piece(i, format.echo(i, {}));
  }
  return out;
}

std::optional<ApiError> Handlers::Flight::tell(Event& event, std::string& out) {
  if (auto* prompt = std::get_if<PromptEvent>(&event.what))
    out += format.piece(event.choice, format.echo(event.choice, std::move(prompt->tokens)));
  if (auto* piece = std::get_if<Answer::Piece>(&event.what))
    if (call.logprobs || !piece->text.empty())
      out += format.piece(event.choice, {std::move(piece->text), {std::move(piece->token)}});
  const auto* last = std::get_if<EndEvent>(&event.what);
  if (last == nullptr) return std::nullopt;
  if (!last->rest.empty()) out += format.piece(event.choice, {last->rest, {}});
  if (auto error = end(event.choice, last->outcome)) return error;
  out += format.end(event.choice, last->outcome, all_ended() ? &usage : nullptr);
  return std::nullopt;
}

std::string Handlers::models() const {
  nlohmann::ordered_json model{
      {"id", s_->name},
      {"object", "model"},
      {"created", s_->created},
      {"owned_by", "1bit"},
      {"meta", {{"context", s_->api.config.context}, {"vocabulary", s_->api.config.vocabulary}}}};
  return nlohmann::ordered_json{{"object", "list"}, {"data", {model}}}.dump(
      -1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

asio::awaitable<int> Handlers::handle(Connection& c) {
  const auto path = c.path();
  const bool post = c.request().method() == http::verb::post;
  const bool get = c.request().method() == http::verb::get || c.request().method() == http::verb::head;
  const auto known = [&](std::initializer_list<std::string_view> names) {
    return std::find(names.begin(), names.end(), path) != names.end();
  };
  if (post && known({"/v1/chat/completions", "/chat/completions"}))
    co_return co_await generate(c, ApiCall::Kind::kChat);
  if (post && known({"/v1/completions", "/completions"})) co_return co_await generate(c, ApiCall::Kind::kCompletion);
  if (post && path == "/tokenize") co_return co_await answer_text(c, tokenize);
  if (post && path == "/detokenize") co_return co_await answer_text(c, detokenize);
  if (post && path == "/apply-template") co_return co_await answer_text(c, apply_template);
  HttpResponse response;
  const std::string one = "/v1/models/" + s_->name;
  if (get && known({"/v1/models", "/models"})) {
    response.body = models();
  } else if (get && path == one) {
    response.body = nlohmann::ordered_json::parse(models())["data"][0].dump();
  } else if (get && path == "/tokenizer_info") {
    response.body = tokenizer_info(s_->api);
  } else {
    const bool wrong_method =
        known({"/v1/chat/completions", "/chat/completions", "/v1/completions", "/completions", "/tokenize",
               "/detokenize", "/apply-template", "/v1/models", "/models", "/tokenizer_info"});
    const auto error =
        api_error(wrong_method ? 405 : 404, wrong_method ? "method_not_allowed" : "not_found",
                  wrong_method ? fmt::format("{} does not take this method", path) : "there is nothing at this path");
    co_await c.refuse(error);
    co_return error.status;
  }
  co_await c.respond(std::move(response));
  co_return 200;
}

asio::awaitable<int> Handlers::answer_text(Connection& c,
                                           ApiResult<std::string> (*make)(std::string_view, const ApiContext&)) {
  const auto result = co_await asio::co_spawn(
      workers_.get_executor(),
      [&]() -> asio::awaitable<ApiResult<std::string>> { co_return make(c.request().body(), s_->api); },
      asio::use_awaitable);
  if (result) co_await c.respond(json_response(*result));
  if (!result) co_await c.refuse(result.error());
  co_return result ? 200 : result.error().status;
}

asio::awaitable<int> Handlers::generate(Connection& c, ApiCall::Kind kind) {
  const auto call = co_await asio::co_spawn(
      workers_.get_executor(),
      [&]() -> asio::awaitable<ApiResult<ApiCall>> {
        co_return kind == ApiCall::Kind::kChat ? read_chat(c.request().body(), s_->api)
                                               : read_completion(c.request().body(), s_->api);
      },
      asio::use_awaitable);
  if (!call) {
    co_await c.refuse(call.error());
    co_return call.error().status;
  }
  Flight flight(*call, *s_);
  flight.queue = std::make_shared<EventQueue>(co_await asio::this_coro::executor, kMostEvents * flight.choices.size());
  flight.deadline = Clock::now() + options_.request_time;
  std::vector<std::shared_ptr<RequestListener>> listeners;
  listeners.reserve(flight.choices.size());
  for (uint32_t i = 0; i < flight.choices.size(); ++i)
    listeners.push_back(std::make_shared<MeteredListener>(flight.queue, i, s_->metrics));
  flight.ticket = s_->engine.submit(call->requests, listeners);
  if (flight.ticket.refusal != EngineLoop::Refusal::kNone) {
    const auto error = refusal(flight.ticket);
    co_await c.refuse(error);
    co_return error.status;
  }
  const Connection::Watch watch(c, [queue = flight.queue, gone = flight.gone, cancelled = flight.ticket.cancelled] {
    gone->store(true);
    cancelled->store(true);
    queue->wake();
  });
  if (call->stream) co_return co_await answer_stream(c, flight);
  co_return co_await answer_whole(c, flight);
}

/// 499, as proxies call it: the client is gone.
constexpr int kClientGone = 499;

ApiError Handlers::too_long() const {
  return api_error(504, "timeout", fmt::format("the answer took more than {} s", options_.request_time.count()));
}

asio::awaitable<int> Handlers::answer_whole(Connection& c, Flight& f) {
  for (uint32_t i = 0; f.call.echo && i < f.choices.size(); ++i) f.choices[i] = f.format.echo(i, {});
  std::optional<ApiError> error;
  while (!f.all_ended() && !error) {
    auto events = co_await f.queue->take(f.deadline);
    if (*f.gone) co_return kClientGone;
    if (events.empty()) error = too_long();
    for (auto& event : events)
      if (!error) error = f.collect(event);
  }
  if (error) {
    f.ticket.cancel();
    co_await c.refuse(*error);
    co_return error->status;
  }
  co_await c.respond(json_response(f.format.whole(f.choices, f.outcomes, f.usage)));
  co_return 200;
}

asio::awaitable<int> Handlers::answer_stream(Connection& c, Flight& f) {
  if (!co_await c.begin_stream()) co_return kClientGone;
  if (!co_await c.write(f.beginning())) co_return kClientGone;
  std::optional<ApiError> error;
  while (!f.all_ended() && !error) {
    auto events = co_await f.queue->take(std::min(f.deadline, Clock::now() + options_.keep_alive));
    if (*f.gone) co_return kClientGone;
    std::string out;
    if (f.queue->too_slow())
      error = api_error(408, "slow_reader", "the client reads too slowly");
    else if (events.empty() && Clock::now() >= f.deadline)
      error = too_long();
    else if (events.empty())
      out = ": waiting\n\n";
    for (auto& event : events)
      if (!error) error = f.tell(event, out);
    if (error) out += ApiFormat::error(error->json());
    if (f.all_ended()) out += f.ending();
    if (!co_await c.write(out)) co_return kClientGone;
  }
  if (error) f.ticket.cancel();
  co_await c.end_stream();
  co_return error ? error->status : 200;
}

}  // namespace onebit::server
