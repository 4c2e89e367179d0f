// Routes that tell of the models, and of what they are doing.
#include <nlohmann/json.hpp>

#include "base/utf8.h"
#include "server/fields.h"
#include "server/handlers.h"
#include "server/json_body.h"
#include "server/mailbox.h"
#include "server/ollama_api.h"

namespace onebit::server {
namespace {

using Json = nlohmann::ordered_json;

/// For an engine's step to end.
constexpr std::chrono::seconds kTellOfSlots{5};

}  // namespace

std::string Handlers::model_json(const Models::Entry& e) const {
  return dump(Json{{"id", e.name},
                   {"object", "model"},
                   {"created", e.created},
                   {"owned_by", "1bit"},
                   {"state", e.state()},
                   {"meta",
                    {{"context", e.facts.config.context},
                     {"vocabulary", e.facts.config.vocabulary},
                     {"embedding", e.facts.config.hidden},
                     {"parameters", e.facts.parameters},
                     {"bytes", e.facts.bytes}}}});
}

std::string Handlers::models_json() const {
  std::string list;
  for (const auto& entry : models_.entries()) list += (list.empty() ? "" : ",") + model_json(*entry);
  return fmt::format(R"({{"object":"list","data":[{}]}})", list);
}

std::string Handlers::ollama_models(bool only_loaded) const {
  std::vector<OllamaModel> models;
  for (const auto& entry : models_.entries())
    if (!only_loaded || entry->service != nullptr) models.push_back({entry->name, entry->facts});
  return only_loaded ? ollama_ps(models) : ollama_tags(models);
}

asio::awaitable<void> Handlers::show(Connection& c) {
  auto root = co_await on_worker([&] { return parse_body(c.request().body()); });
  if (!root) co_return co_await c.refuse(root.error());
  without_tag(*root);
  Fields fields(*root);
  const auto name = fields.string("model", "");
  if (fields.error() != nullptr) co_return co_await c.refuse(*fields.error());
  const auto* entry = models_.find(name);
  if (entry == nullptr || name.empty())
    co_return co_await c.refuse(
        api_error(404, "model_not_found", fmt::format("the model '{}' does not exist", printable(name))));
  const auto* service = entry->service.get();
  auto body = ollama_show({entry->name, entry->facts}, service == nullptr ? nullptr : &service->model.tokenizer());
  co_await c.respond(json_response(std::move(body)));
}

/// Numbers only: a request's words are nobody else's business.
asio::awaitable<std::string> Handlers::slots_json() {
  const auto executor = co_await asio::this_coro::executor;
  Json all = Json::array();
  std::vector<std::shared_ptr<Service>> services;
  for (const auto& entry : models_.entries())
    if (entry->service != nullptr) services.push_back(entry->service);
  for (const auto& service : services) {
    const auto box = std::make_shared<Mailbox<std::vector<SlotInfo>>>(executor);
    const size_t asked = service->engine.ask_each([box](Scheduler& scheduler) { box->push(scheduler.slots()); });
    const auto until = Models::Clock::now() + kTellOfSlots;
    for (size_t i = 0; i < asked; ++i) {
      const auto slots = co_await box->take(until);
      if (!slots) break;
      for (const auto& s : *slots)
        all.push_back({{"id", s.number},
                       {"model", service->name},
                       {"is_processing", s.running},
                       {"n_ctx", service->api.config.context},
                       {"prompt_tokens", s.prompt_tokens},
                       {"cached_tokens", s.cached_tokens},
                       {"computed_tokens", s.computed_tokens},
                       {"answer_tokens", s.answer_tokens},
                       {"max_tokens", s.most_answer_tokens},
                       {"seconds", s.seconds}});
    }
  }
  co_return dump(all);
}

}  // namespace onebit::server
