// POST /kv/save and /kv/restore: what is remembered of a conversation, as a file in the folder that the options name.
#include <algorithm>
#include <boost/asio/this_coro.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "engine/kv_file.h"
#include "server/fields.h"
#include "server/handlers.h"
#include "server/json_body.h"
#include "server/mailbox.h"

namespace onebit::server {
namespace {

using Json = nlohmann::ordered_json;
using Kv = std::shared_ptr<KvCache>;

/// For an engine's step to end.
constexpr std::chrono::seconds kBetweenSteps{30};

struct Wish {
  std::string name;
  std::vector<TokenId> tokens;  // of the conversation to save
};

/// A name and no path: letters, digits, '.', '-' and '_', the first no '.'.
bool is_plain_name(std::string_view name) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
           c == '_';
  };
  return !name.empty() && name.size() <= 100 && name[0] != '.' && std::all_of(name.begin(), name.end(), plain);
}

ApiResult<Wish> read_wish(std::string_view body, const ApiContext& context, bool save) {
  const auto root = parse_body(body);
  if (!root) return tl::unexpected(root.error());
  Fields fields(*root);
  Wish wish{fields.string("file", ""), {}};
  check_model(fields, context);
  if (!is_plain_name(wish.name))
    fields.fault("file", "file must be a name of at most 100 letters, digits, '.', '-' and '_', and no path");
  if (const auto* error = fields.error()) return tl::unexpected(*error);
  if (!save) return wish;
  const auto call = root->contains("messages") ? read_chat_object(*root, context, body)
                                               : read_completion_object(*root, context, body);
  if (!call) return tl::unexpected(call.error());
  if (call->requests.size() != 1) return tl::unexpected(api_error(400, "invalid_value", "one conversation at a time"));
  wish.tokens = call->requests.front().prompt;
  return wish;
}

std::string path_of(const ServerOptions& options, const std::string& name) {
  return (std::filesystem::path(options.kv_folder) / (name + ".kv")).string();
}

ApiError file_error(const Error& error) {
  return api_error(500, "file_error", error.message);
}

ApiError busy() {
  return api_error(503, "busy", "the engine did not come to it in time", 1);
}

std::string saved_json(const Wish& wish, const Service& service, const char* what, size_t tokens, uint64_t bytes) {
  return dump(Json{{"file", wish.name}, {"model", service.name}, {what, tokens}, {"bytes", bytes}});
}

}  // namespace

/// Whole pages of the beginning that is remembered. They are read here while the engine goes on: it changes no page
/// that somebody else holds. It is told to drop them, so that the last to let go is its own thread.
asio::awaitable<ApiResult<std::string>> Handlers::save_kv(Service& service, std::string body, uint32_t tenant) {
  auto wish = co_await on_worker([&] { return read_wish(body, service.api, true); });
  if (!wish) co_return tl::unexpected(wish.error());
  const auto box = std::make_shared<Mailbox<std::pair<Kv, Backend*>>>(co_await asio::this_coro::executor);
  const auto& tokens = wish->tokens;
  const bool asked = service.engine.ask_nearest(tokens, tenant, [box, tokens, tenant](Scheduler& scheduler) {
    box->push({Kv(scheduler.remembered(tokens, tenant)), &scheduler.backend()});
  });
  auto found = co_await box->take(Models::Clock::now() + (asked ? kBetweenSteps : std::chrono::seconds(0)));
  if (!found) co_return tl::unexpected(busy());
  auto [kv, backend] = std::move(*found);
  found.reset();
  const uint32_t page = backend->kv_usage().page_positions;
  const uint32_t length = kv == nullptr ? 0 : kv->length() / page * page;
  if (length == 0)
    co_return tl::unexpected(api_error(404, "nothing_remembered",
                                       fmt::format("of this conversation not even {} tokens are remembered", page)));
  const auto path = path_of(options_, wish->name);
  const auto written = co_await on_file_worker([&]() -> Result<uint64_t> {
    const auto whole = kv->prefix(length);
    return write_kv_file(path, service.model.file().identity(), *backend, std::span(tokens).first(length), *whole);
  });
  service.engine.ask_nearest(tokens, tenant, [last = std::move(kv)](Scheduler&) {});
  if (!written) co_return tl::unexpected(file_error(written.error()));
  co_return saved_json(*wish, service, "saved", length, *written);
}

asio::awaitable<ApiResult<std::string>> Handlers::restore_kv(Service& service, std::string body, uint32_t tenant) {
  const auto wish = co_await on_worker([&] { return read_wish(body, service.api, false); });
  if (!wish) co_return tl::unexpected(wish.error());
  const auto path = path_of(options_, wish->name);
  std::error_code code;
  if (!std::filesystem::exists(path, code))
    co_return tl::unexpected(
        api_error(404, "no_such_file", fmt::format("there is no saved conversation '{}'", wish->name)));
  auto& backend = service.model.backend();
  const auto stats = service.engine.stats();
  const uint64_t most = stats.most_kv_pages / std::max<uint64_t>(1, stats.devices);
  auto file =
      co_await on_file_worker([&] { return read_kv_file(path, service.model.file().identity(), backend, most); });
  if (!file) co_return tl::unexpected(api_error(422, "unfit_file", file.error().message));
  const auto box = std::make_shared<Mailbox<bool>>(co_await asio::this_coro::executor);
  // Its pages are of this backend, and go to whichever engine has it.
  service.engine.ask_each(
      [box, &backend, tenant, tokens = file->tokens, kv = Kv(std::move(file->kv))](Scheduler& scheduler) {
        if (&scheduler.backend() != &backend) return;
        scheduler.remember(tokens, *kv, tenant);
        box->push(true);
      });
  if (!co_await box->take(Models::Clock::now() + kBetweenSteps)) co_return tl::unexpected(busy());
  const auto bytes = std::filesystem::file_size(path, code);
  co_return saved_json(*wish, service, "restored", file->tokens.size(), code ? 0 : bytes);
}

asio::awaitable<void> Handlers::answer_kv(Connection& c, bool save) {
  if (options_.kv_folder.empty())
    co_return co_await c.refuse(
        api_error(403, "no_kv_folder", "this server saves no conversations: it was started without --kv-folder"));
  if (!options_.engine.scheduler.prefix_cache)
    co_return co_await c.refuse(
        api_error(403, "no_prefix_cache", "this server remembers no conversations: it was started without"));
  const auto client = std::make_shared<Client>();
  const Connection::Watch watch(c, [client] { client->leave(); });
  const auto service = co_await service_of(c, client);
  if (client->gone) co_return c.client_gone();
  if (!service) co_return co_await c.refuse(service.error());
  std::string body = c.request().body();
  ApiResult<std::string> result;
  if (save)
    result = co_await save_kv(**service, body, c.tenant());
  else
    result = co_await restore_kv(**service, body, c.tenant());
  if (result)
    co_await c.respond(json_response(*result));
  else
    co_await c.refuse(result.error());
}

}  // namespace onebit::server
