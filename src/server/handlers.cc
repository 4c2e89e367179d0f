#include "server/handlers.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <nlohmann/json.hpp>
#include <random>

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

ApiError failure(const Error& error) {
  return {.status = 500, .message = error.message, .code = "engine_error"};
}

/// Feeds the metrics on the engine's thread, and the coroutine.
class MeteredListener final : public RequestListener {
 public:
  MeteredListener(std::shared_ptr<EventQueue> queue, uint32_t choice, std::shared_ptr<Service> service)
      : to_(std::move(queue), choice), service_(std::move(service)) {}
  void on_prompt(std::vector<GeneratedToken> tokens) override { to_.on_prompt(std::move(tokens)); }
  void on_token(Answer::Piece piece) override {
    const auto now = Clock::now();
    if (last_ != Clock::time_point()) service_->metrics.inter_token(std::chrono::duration<double>(now - last_).count());
    last_ = now;
    service_->metrics.token();
    to_.on_token(std::move(piece));
  }
  void on_end(const Outcome& outcome, std::string rest) override {
    service_->metrics.ended(outcome);
    to_.on_end(outcome, std::move(rest));
    service_.reset();  // the engine's thread must not be the last to hold what owns it
  }

 private:
  ChoiceListener to_;
  std::shared_ptr<Service> service_;
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
      name(model_name(model, options)),
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
  bool said_role = false;

  bool all_ended() const { return ended == choices.size(); }
  void end(uint32_t choice, const Outcome& outcome) {
    outcomes[choice] = outcome;
    usage.add(outcome, call.requests[choice].params.sampling.choice == 0);  // a prompt counts once
    ++ended;
  }
};

std::string Handlers::models() const {
  nlohmann::ordered_json model{
      {"id", s_->name},
      {"object", "model"},
      {"created", s_->created},
      {"owned_by", "1bit"},
      {"meta", {{"context", s_->api.config.context}, {"vocabulary", s_->api.config.vocabulary}}}};
  return nlohmann::ordered_json{{"object", "list"}, {"data", {model}}}.dump();
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
    const ApiError error{
        .status = wrong_method ? 405 : 404,
        .message = wrong_method ? fmt::format("{} does not take this method", path) : "there is nothing at this path",
        .code = wrong_method ? "method_not_allowed" : "not_found"};
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
  if (result) co_await c.respond({.body = *result});
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
  for (uint32_t i = 0; i < flight.choices.size(); ++i)
    listeners.push_back(std::make_shared<MeteredListener>(flight.queue, i, s_));
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
  const int status = call->stream ? co_await answer_stream(c, flight) : co_await answer_whole(c, flight);
  flight.ticket.cancel();  // of no effect where all has ended
  co_return status;
}

/// 499, as proxies call it: the client is gone.
constexpr int kClientGone = 499;

asio::awaitable<int> Handlers::answer_whole(Connection& c, Flight& f) {
  for (uint32_t i = 0; f.call.echo && i < f.choices.size(); ++i) f.choices[i] = f.format.echo(i, {});
  while (!f.all_ended()) {
    auto events = co_await f.queue->take(f.deadline);
    if (*f.gone) co_return kClientGone;
    if (events.empty()) {
      const ApiError error{.status = 504,
                           .message = fmt::format("the answer took more than {} s", options_.request_time.count()),
                           .code = "timeout"};
      f.ticket.cancel();
      co_await c.refuse(error);
      co_return error.status;
    }
    for (auto& [choice, what] : events) {
      auto& so_far = f.choices[choice];
      if (auto* prompt = std::get_if<PromptEvent>(&what)) so_far = f.format.echo(choice, std::move(prompt->tokens));
      if (auto* piece = std::get_if<Answer::Piece>(&what)) {
        so_far.text += piece->text;
        if (f.call.logprobs) so_far.tokens.push_back(std::move(piece->token));
      }
      if (auto* end = std::get_if<EndEvent>(&what)) {
        if (end->outcome.error) {
          const auto error = failure(*end->outcome.error);
          f.ticket.cancel();
          co_await c.refuse(error);
          co_return error.status;
        }
        so_far.text += end->rest;
        f.end(choice, end->outcome);
      }
    }
  }
  const bool cut = std::any_of(f.outcomes.begin(), f.outcomes.end(),
                               [](const Outcome& o) { return o.reason == FinishReason::kCancelled; });
  if (cut) {
    const ApiError error{
        .status = 503, .message = "the server is shutting down", .code = "shutting_down", .retry_after = 5};
    co_await c.refuse(error);
    co_return error.status;
  }
  co_await c.respond({.body = f.format.whole(f.choices, f.outcomes, f.usage)});
  co_return 200;
}

asio::awaitable<int> Handlers::answer_stream(Connection& c, Flight& f) {
  if (!co_await c.begin_stream()) co_return kClientGone;
  const auto end_with = [&](const ApiError& error) -> asio::awaitable<int> {
    f.ticket.cancel();
    co_await c.write(ApiFormat::error(error.json()));
    co_await c.end_stream();
    co_return error.status;
  };
  if (f.call.kind == ApiCall::Kind::kChat) {
    std::string roles;
    for (uint32_t i = 0; i < f.choices.size(); ++i) roles += f.format.role(i);
    if (!co_await c.write(roles)) co_return kClientGone;
  } else if (f.call.echo && !f.call.logprobs) {
    std::string echoes;
    for (uint32_t i = 0; i < f.choices.size(); ++i) echoes += f.format.piece(i, f.format.echo(i, {}));
    if (!co_await c.write(echoes)) co_return kClientGone;
  }
  while (!f.all_ended()) {
    const auto until = std::min(f.deadline, Clock::now() + options_.keep_alive);
    auto events = co_await f.queue->take(until);
    if (*f.gone) co_return kClientGone;
    if (f.queue->too_slow())
      co_return co_await end_with({.status = 408, .message = "the client reads too slowly", .code = "slow_reader"});
    if (events.empty() && Clock::now() >= f.deadline)
      co_return co_await end_with(
          {.status = 504,
           .message = fmt::format("the answer took more than {} s", options_.request_time.count()),
           .code = "timeout"});
    std::string out;
    if (events.empty()) out = ": waiting\n\n";
    for (auto& [choice, what] : events) {
      if (auto* prompt = std::get_if<PromptEvent>(&what))
        out += f.format.piece(choice, f.format.echo(choice, std::move(prompt->tokens)));
      if (auto* piece = std::get_if<Answer::Piece>(&what))
        if (f.call.logprobs || !piece->text.empty()) out += f.format.piece(choice, {piece->text, {piece->token}});
      if (auto* end = std::get_if<EndEvent>(&what)) {
        if (end->outcome.error) co_return co_await end_with(failure(*end->outcome.error));
        if (end->outcome.reason == FinishReason::kCancelled)
          co_return co_await end_with(
              {.status = 503, .message = "the server is shutting down", .code = "shutting_down"});
        if (!end->rest.empty()) out += f.format.piece(choice, {end->rest, {}});
        f.end(choice, end->outcome);
        out += f.format.end(choice, end->outcome, f.all_ended() ? &f.usage : nullptr);
      }
    }
    if (f.all_ended()) {
      if (f.call.include_usage) out += f.format.usage(f.usage);
      out += ApiFormat::done();
    }
    if (!co_await c.write(out)) co_return kClientGone;
  }
  co_await c.end_stream();
  co_return 200;
}

}  // namespace onebit::server
