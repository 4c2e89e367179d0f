#include "server/handlers.h"

#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <random>

#include "base/utf8.h"
#include "server/await.h"
#include "server/embeddings_api.h"
#include "server/json_body.h"
#include "server/messages_api.h"
#include "server/ollama_api.h"
#include "server/realtime.h"
#include "server/version.h"

namespace onebit::server {
namespace {

using Clock = std::chrono::steady_clock;

/// Inputs of one request for embeddings that the engine gets at once.
constexpr size_t kInputsAtOnce = 64;

std::string random_id(const char* prefix) {
  std::random_device device;
  return fmt::format("{}{:08x}{:08x}{:08x}", prefix, device(), device(), device());
}

int64_t now_unix() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

std::span<const Handlers::Route> Handlers::routes() {
  static constexpr Route kRoutes[] = {{"/v1/chat/completions", true, Does::kGenerate, nullptr, &kChatProtocol},
                                      {"/chat/completions", true, Does::kGenerate, nullptr, &kChatProtocol},
                                      {"/v1/completions", true, Does::kGenerate, nullptr, &kCompletionProtocol},
                                      {"/completions", true, Does::kGenerate, nullptr, &kCompletionProtocol},
                                      {"/v1/responses", true, Does::kGenerate, nullptr, &kResponsesProtocol},
                                      {"/v1/messages", true, Does::kGenerate, nullptr, &kMessagesProtocol},
                                      {"/v1/messages/count_tokens", true, Does::kText, count_tokens},
                                      {"/v1/embeddings", true, Does::kEmbed, nullptr, &kEmbeddingsProtocol},
                                      {"/embeddings", true, Does::kEmbed, nullptr, &kEmbeddingsProtocol},
                                      {"/v1/models", false, Does::kModels},
                                      {"/models", false, Does::kModels},
                                      {"/tokenize", true, Does::kText, tokenize},
                                      {"/detokenize", true, Does::kText, detokenize},
                                      {"/apply-template", true, Does::kText, apply_template},
                                      {"/tokenizer_info", false, Does::kTokenizerInfo},
                                      {"/slots", false, Does::kSlots},
                                      {"/kv/save", true, Does::kSaveKv},
                                      {"/kv/restore", true, Does::kRestoreKv},
                                      {kRealtimePath, false, Does::kTalk},
                                      {"/v1/audio/transcriptions", true, Does::kTranscribe},
                                      {"/v1/audio/speech", true, Does::kSpeak},
                                      {"/v1/audio/voices", false, Does::kVoices},
                                      {"/api/chat", true, Does::kGenerate, nullptr, &kOllamaChatProtocol},
                                      {"/api/generate", true, Does::kGenerate, nullptr, &kOllamaGenerateProtocol},
                                      {"/api/embed", true, Does::kEmbed, nullptr, &kOllamaEmbedProtocol},
                                      {"/api/tags", false, Does::kTags},
                                      {"/api/ps", false, Does::kLoaded},
                                      {"/api/show", true, Does::kShow},
                                      {"/api/version", false, Does::kTellVersion},
                                      {"/metrics", false, Does::kMetrics},
                                      {"/health", false, Does::kHealth}};
  return kRoutes;
}

std::string_view Handlers::route_name(std::string_view path) {
  const auto all = routes();
  const auto it = std::find_if(all.begin(), all.end(), [&](const Route& route) { return route.path == path; });
  return it == all.end() ? "other" : it->path;
}

std::vector<std::pair<std::string_view, bool>> Handlers::all_routes() {
  std::vector<std::pair<std::string_view, bool>> all;
  for (const auto& route : routes()) all.emplace_back(route.path, route.post);
  return all;
}

asio::awaitable<void> Handlers::handle(Connection& c, size_t connections) {
  const auto all = routes();
  const auto path = c.path();
  const auto route = std::find_if(all.begin(), all.end(), [&](const Route& r) { return r.path == path; });
  const bool post = c.request().method() == http::verb::post;
  const bool get = c.request().method() == http::verb::get || c.request().method() == http::verb::head;
  constexpr std::string_view kModel = "/v1/models/";
  if (get && path.starts_with(kModel)) {
    const auto name = percent_decoded(path.substr(kModel.size()));
    const auto* entry = name.empty() ? nullptr : models_.find(name);
    if (entry != nullptr) co_return co_await c.answer(json_response(model_json(*entry)));
    co_return co_await c.refuse(
        api_error(404, "model_not_found", fmt::format("the model '{}' does not exist", printable(name))));
  }
  if (route == all.end()) co_return co_await c.refuse(api_error(404, "not_found", "there is nothing at this path"));
  if (route->post ? post : get) co_return co_await handle_route(c, *route, connections);
  auto response = c.error_response(
      api_error(405, "method_not_allowed", fmt::format("{} takes {}", path, route->post ? "POST" : "GET")));
  response.allow = route->post ? "POST" : "GET, HEAD";
  co_await c.respond(std::move(response));
}

asio::awaitable<void> Handlers::handle_route(Connection& c, const Route& route, size_t connections) {
  HttpResponse response;
  switch (route.does) {
    case Does::kGenerate:
      co_return co_await generate(c, *route.protocol);
    case Does::kEmbed:
      co_return co_await embed(c, *route.protocol);
    case Does::kText:
      co_return co_await answer_text(c, route.text);
    case Does::kTokenizerInfo:
      co_return co_await answer_tokenizer_info(c);
    case Does::kSaveKv:
    case Does::kRestoreKv:
      co_return co_await answer_kv(c, route.does == Does::kSaveKv);
    case Does::kShow:
      co_return co_await show(c);
    case Does::kTalk:
      co_return co_await talk(c);
    case Does::kTranscribe:
      co_return co_await transcribe(c);
    case Does::kSpeak:
      co_return co_await speak(c);
    case Does::kVoices:
      co_return co_await tell_voices(c);
    case Does::kModels:
      response.body = models_json();
      break;
    case Does::kSlots:
      response.body = co_await slots_json();
      break;
    case Does::kTags:
    case Does::kLoaded:
      response.body = ollama_models(route.does == Does::kLoaded);
      break;
    case Does::kTellVersion:
      response.body = fmt::format("{{\"version\":\"{}\"}}", kVersion);
      break;
    case Does::kMetrics:
    case Does::kHealth:  // answered before
      response.body = metrics_.text(models_.stats(), connections, voice_.sessions());
      response.type = "text/plain; version=0.0.4; charset=utf-8";
  }
  co_await c.respond(std::move(response));
}

/// The service of the model that the body names, or the query where there is no body. Of a single model, the reading
/// of the request says whether it is the one.
asio::awaitable<Handlers::Found> Handlers::service_of(const Connection& c, std::shared_ptr<Client> client) {
  std::string name;
  if (models_.several()) {
    const auto& body = c.request().body();
    name = c.query("model");
    if (!body.empty()) name = co_await on_worker([&] { return model_in(body); });
    if (models_.find(name) == nullptr) name = without_tag(name);
  }
  const auto deadline = Clock::now() + options_.request_time;
  const std::function<bool()> gone = [client] { return client->gone.load(); };  // not in the co_await: see api_error()
  co_return co_await models_.get(name, deadline, gone);
}

asio::awaitable<void> Handlers::answer_text(Connection& c, TextRoute make) {
  const auto client = std::make_shared<Client>();
  const Connection::Watch watch(c, [client] { client->leave(); });
  const auto service = co_await service_of(c, client);
  if (client->gone) co_return c.client_gone();
  if (!service) co_return co_await c.refuse(service.error());
  const auto result = co_await on_worker([&] { return make(c.request().body(), (*service)->api); });
  if (result)
    co_await c.respond(json_response(*result));
  else
    co_await c.refuse(result.error());
}

asio::awaitable<void> Handlers::answer_tokenizer_info(Connection& c) {
  const auto service = co_await service_of(c, std::make_shared<Client>());
  if (!service) co_return co_await c.refuse(service.error());
  auto body = co_await on_worker([&] { return tokenizer_info((*service)->api); });
  co_await c.respond(json_response(std::move(body)));
}

ApiHead Handlers::head_of(const Protocol& protocol, const Service& service) const {
  return {random_id(protocol.id_prefix), now_unix(), service.name, std::string("1bit-") + kVersion};
}

asio::awaitable<void> Handlers::generate(Connection& c, const Protocol& protocol) {
  const auto client = std::make_shared<Client>();
  const Connection::Watch watch(c, [client] { client->leave(); });
  const auto found = co_await service_of(c, client);
  if (client->gone) co_return c.client_gone();
  if (!found) co_return co_await c.refuse(found.error());
  auto& service = **found;
  if (const auto now = service.engine.room_for(1); now.refusal != EngineLoop::Refusal::kNone)
    co_return co_await c.refuse(refusal_error(now));  // before it costs anything
  const auto call = co_await on_worker([&]() -> ApiResult<ApiCall> {
    if (client->gone) return tl::unexpected(ApiError{});
    return protocol.read(c.request().body(), service.api);
  });
  if (client->gone) co_return c.client_gone();
  if (!call) co_return co_await c.refuse(call.error());
  auto format = protocol.format(*call, service.model.tokenizer(), head_of(protocol, service));
  if (call->requests.empty()) co_return co_await c.answer(json_response(format->whole({}, {}, {})));
  Flight flight(*call, std::move(format), metrics_, client, c.tenant());
  if (const auto error = flight.submit(service.engine, co_await asio::this_coro::executor))
    co_return co_await c.refuse(*error);
  if (call->stream)
    co_await answer_stream(c, flight, protocol);
  else
    co_await answer_whole(c, flight);
}

asio::awaitable<void> Handlers::embed(Connection& c, const Protocol& protocol) {
  const auto client = std::make_shared<Client>();
  const auto group_client = std::make_shared<std::shared_ptr<Client>>();  // of the group at hand
  const Connection::Watch watch(c, [client, group_client] {
    client->leave();
    if (*group_client) (*group_client)->leave();
  });
  const auto found = co_await service_of(c, client);
  if (client->gone) co_return c.client_gone();
  if (!found) co_return co_await c.refuse(found.error());
  auto& service = **found;
  const auto call = co_await on_worker([&] { return protocol.read(c.request().body(), service.api); });
  if (client->gone) co_return c.client_gone();
  if (!call) co_return co_await c.refuse(call.error());
  const auto deadline = Clock::now() + options_.request_time;
  std::vector<ChoiceText> choices;
  ApiUsage usage;
  asio::steady_timer timer(co_await asio::this_coro::executor);
  // In groups: what waits is bounded, and others get their turn.
  const size_t most = std::min<size_t>(kInputsAtOnce, options_.engine.most_waiting);
  for (size_t at = 0; at < call->requests.size(); at += most) {
    ApiCall group;
    group.kind = call->kind;
    const auto some = std::span(call->requests).subspan(at, std::min(most, call->requests.size() - at));
    group.requests.assign(some.begin(), some.end());
    *group_client = std::make_shared<Client>();
    Flight flight(group, nullptr, metrics_, *group_client, c.tenant());
    auto error = flight.submit(service.engine, co_await asio::this_coro::executor);
    while (error && error->status == 429 && at > 0 && !client->gone && Clock::now() < deadline) {
      timer.expires_after(std::chrono::milliseconds(10));  // it has begun: now it waits for its turn
      co_await timer.async_wait(kAwait);
      error = flight.submit(service.engine, co_await asio::this_coro::executor);
    }
    if (!error) error = co_await collect(flight, deadline);
    if (client->gone) co_return c.client_gone();
    if (error) co_return co_await c.refuse(*error);
    std::move(flight.choices().begin(), flight.choices().end(), std::back_inserter(choices));
    usage.add(flight.usage());
  }
  const auto format = protocol.format(*call, service.model.tokenizer(), head_of(protocol, service));
  auto body = co_await on_worker([&] { return format->whole(choices, {}, usage); });
  if (!co_await c.respond(json_response(std::move(body)))) c.client_gone();
}

ApiError Handlers::too_long() const {
  return api_error(504, "timeout", fmt::format("the answer took more than {} s", options_.request_time.count()));
}

/// All of it, unless the client goes; the error that ended it.
asio::awaitable<std::optional<ApiError>> Handlers::collect(Flight& f, Clock::time_point deadline) {
  std::optional<ApiError> error;
  while (!f.all_ended() && !f.gone() && !error) {
    auto events = co_await f.events().take(deadline);
    if (f.gone()) break;
    if (events.empty())
      error = too_long();
    else
      error = f.collect(std::move(events));
  }
  co_return error;
}

asio::awaitable<void> Handlers::answer_whole(Connection& c, Flight& f) {
  const auto error = co_await collect(f, Clock::now() + options_.request_time);
  if (f.gone()) co_return c.client_gone();
  if (error) co_return co_await c.refuse(*error);
  auto body = co_await on_worker([&] { return f.whole(); });
  if (!co_await c.respond(json_response(std::move(body)))) c.client_gone();
}

asio::awaitable<void> Handlers::answer_stream(Connection& c, Flight& f, const Protocol& protocol) {
  const auto deadline = Clock::now() + options_.request_time;
  std::optional<ApiError> error;
  // The header goes with the first word, or where a client must hear something: until then a proxy may ask another
  // server, should this one be gone, and an error has a status of its own.
  const auto beginning = f.beginning();
  bool there = true, begun = false;
  while (there && !f.all_ended() && !error) {
    auto events = co_await f.events().take(std::min(deadline, Clock::now() + options_.keep_alive));
    if (f.gone()) break;
    std::string out;
    if (f.events().too_slow())
      error = api_error(408, "slow_reader", "the client reads too slowly");
    else if (events.empty() && Clock::now() >= deadline)
      error = too_long();
    else if (events.empty())
      out = protocol.waiting;
    else if (f.is_large())
      error = co_await on_worker([&] { return f.tell(std::move(events), out); });
    else
      error = f.tell(std::move(events), out);
    if (error && !begun && out.empty()) co_return co_await c.refuse(*error);
    if (error) out += f.error(*error);
    if (!begun) there = co_await c.begin_stream(protocol.stream_type) && co_await c.write(beginning);
    begun = true;
    there = there && co_await c.write(out);
  }
  if (!there || f.gone()) co_return c.client_gone();
  co_await c.end_stream();
  if (error) c.set_status(error->status);
}

}  // namespace onebit::server
