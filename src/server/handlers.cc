#include "server/handlers.h"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <nlohmann/json.hpp>
#include <random>

#include "base/utf8.h"
#include "kernels/cpu/select.h"

namespace onebit::server {
namespace {

using Clock = std::chrono::steady_clock;

/// As proxies call it: the client is gone.
constexpr int kClientGone = 499;

std::string random_id(const char* prefix) {
  std::random_device device;
  return fmt::format("{}{:08x}{:08x}{:08x}", prefix, device(), device(), device());
}

std::string model_name(const Model& model, const ServerOptions& options) {
  if (!options.model_name.empty()) return options.model_name;
  const auto name = model.file().provenance("name");
  return name.empty() ? "1bit" : std::string(name);
}

/// The CPU takes the place of devices that are lost, unless the model's options say otherwise.
EngineLoopOptions with_spare(EngineLoopOptions options, Model& model) {
  options.spare = [&model] { return model.fall_back(); };
  return options;
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
      grammars(model.tokenizer()),
      api{model.tokenizer(), model.file().config(), name, options.api, &grammars},
      metrics({version, name, model.engine_name() == "cpu" ? (*cpu::chosen_kernels())->name : model.engine_name()}),
      engine(model.backends(), model.tokenizer(), with_spare(options.engine, model)) {}

enum class Does { kHealth, kMetrics, kModels, kTokenizerInfo, kChat, kCompletion, kText };

struct Handlers::Route {
  std::string_view path;
  bool post;
  Does does;
  TextRoute text = nullptr;
};

std::span<const Handlers::Route> Handlers::routes() {
  static constexpr Route kRoutes[] = {{"/v1/chat/completions", true, Does::kChat},
                                      {"/chat/completions", true, Does::kChat},
                                      {"/v1/completions", true, Does::kCompletion},
                                      {"/completions", true, Does::kCompletion},
                                      {"/v1/models", false, Does::kModels},
                                      {"/models", false, Does::kModels},
                                      {"/tokenize", true, Does::kText, tokenize},
                                      {"/detokenize", true, Does::kText, detokenize},
                                      {"/apply-template", true, Does::kText, apply_template},
                                      {"/tokenizer_info", false, Does::kTokenizerInfo},
                                      {"/metrics", false, Does::kMetrics},
                                      {"/health", false, Does::kHealth}};
  return kRoutes;
}

std::string_view Handlers::route_name(std::string_view path) {
  const auto all = routes();
  const auto it = std::find_if(all.begin(), all.end(), [&](const Route& route) { return route.path == path; });
  return it == all.end() ? "other" : it->path;
}

std::string Handlers::model_json() const {
  const nlohmann::ordered_json model{
      {"id", s_->name},
      {"object", "model"},
      {"created", s_->created},
      {"owned_by", "1bit"},
      {"meta", {{"context", s_->api.config.context}, {"vocabulary", s_->api.config.vocabulary}}}};
  return model.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

asio::awaitable<void> Handlers::handle(Connection& c, size_t connections) {
  const auto all = routes();
  const auto path = c.path();
  const auto route = std::find_if(all.begin(), all.end(), [&](const Route& r) { return r.path == path; });
  const bool post = c.request().method() == http::verb::post;
  const bool get = c.request().method() == http::verb::get || c.request().method() == http::verb::head;
  HttpResponse response;
  if (get && path == "/v1/models/" + s_->name) {
    response.body = model_json();
  } else if (route == all.end()) {
    response = error_response(api_error(404, "not_found", "there is nothing at this path"));
  } else if (route->post ? !post : !get) {
    response = error_response(
        api_error(405, "method_not_allowed", fmt::format("{} takes {}", path, route->post ? "POST" : "GET")));
    response.allow = route->post ? "POST" : "GET, HEAD";
  } else if (route->does == Does::kChat) {
    co_return co_await generate(c, ApiCall::Kind::kChat);
  } else if (route->does == Does::kCompletion) {
    co_return co_await generate(c, ApiCall::Kind::kCompletion);
  } else if (route->does == Does::kText) {
    co_return co_await answer_text(c, route->text);
  } else if (route->does == Does::kModels) {
    response.body = fmt::format(R"({{"object":"list","data":[{}]}})", model_json());
  } else if (route->does == Does::kTokenizerInfo) {
    response.body = co_await on_worker([&] { return tokenizer_info(s_->api); });
  } else {
    response.body = s_->metrics.text(s_->engine.stats(), connections);
    response.type = "text/plain; version=0.0.4; charset=utf-8";
  }
  co_await c.respond(std::move(response));
}

template <class Work>
asio::awaitable<std::invoke_result_t<Work>> Handlers::on_worker(Work work) {
  co_return co_await asio::co_spawn(
      workers_.get_executor(), [&]() -> asio::awaitable<std::invoke_result_t<Work>> { co_return work(); },
      asio::use_awaitable);
}

asio::awaitable<void> Handlers::answer_text(Connection& c, TextRoute make) {
  const auto result = co_await on_worker([&] { return make(c.request().body(), s_->api); });
  if (result)
    co_await c.respond(json_response(*result));
  else
    co_await c.refuse(result.error());
}

asio::awaitable<void> Handlers::generate(Connection& c, ApiCall::Kind kind) {
  const auto client = std::make_shared<Client>();
  const Connection::Watch watch(c, [client] { client->leave(); });
  if (const auto now = s_->engine.room_for(1); now.refusal != EngineLoop::Refusal::kNone)
    co_return co_await c.refuse(refusal_error(now));  // before it costs anything
  const auto call = co_await on_worker([&]() -> ApiResult<ApiCall> {
    if (client->gone) return tl::unexpected(ApiError{});
    return kind == ApiCall::Kind::kChat ? read_chat(c.request().body(), s_->api)
                                        : read_completion(c.request().body(), s_->api);
  });
  if (client->gone) co_return c.set_status(kClientGone);
  if (!call) co_return co_await c.refuse(call.error());
  const char* prefix = kind == ApiCall::Kind::kChat ? "chatcmpl-" : "cmpl-";
  ApiHead head{random_id(prefix), now_unix(), s_->name, s_->fingerprint};
  Flight flight(*call, s_->model.tokenizer(), std::move(head), s_->metrics, client);
  if (const auto error = flight.submit(s_->engine, co_await asio::this_coro::executor))
    co_return co_await c.refuse(*error);
  if (call->stream)
    co_await answer_stream(c, flight);
  else
    co_await answer_whole(c, flight);
}

ApiError Handlers::too_long() const {
  return api_error(504, "timeout", fmt::format("the answer took more than {} s", options_.request_time.count()));
}

asio::awaitable<void> Handlers::answer_whole(Connection& c, Flight& f) {
  const auto deadline = Clock::now() + options_.request_time;
  std::optional<ApiError> error;
  while (!f.all_ended() && !error) {
    auto events = co_await f.events().take(deadline);
    if (f.gone()) co_return c.set_status(kClientGone);
    if (events.empty())
      error = too_long();
    else
      error = f.collect(std::move(events));
  }
  if (error) co_return co_await c.refuse(*error);
  auto body = co_await on_worker([&] { return f.whole(); });
  if (!co_await c.respond(json_response(std::move(body)))) c.set_status(kClientGone);
}

asio::awaitable<void> Handlers::answer_stream(Connection& c, Flight& f) {
  const auto deadline = Clock::now() + options_.request_time;
  std::optional<ApiError> error;
  bool there = co_await c.begin_stream() && co_await c.write(f.beginning());
  while (there && !f.all_ended() && !error) {
    auto events = co_await f.events().take(std::min(deadline, Clock::now() + options_.keep_alive));
    if (f.gone()) break;
    std::string out;
    if (f.events().too_slow())
      error = api_error(408, "slow_reader", "the client reads too slowly");
    else if (events.empty() && Clock::now() >= deadline)
      error = too_long();
    else if (events.empty())
      out = ": waiting\n\n";
    else if (f.is_large())
      error = co_await on_worker([&] { return f.tell(std::move(events), out); });
    else
      error = f.tell(std::move(events), out);
    if (error) out += ApiFormat::error(error->json());
    there = co_await c.write(out);
  }
  if (!there || f.gone()) co_return c.set_status(kClientGone);
  co_await c.end_stream();
  if (error) c.set_status(error->status);
}

}  // namespace onebit::server
