#include "server/server.h"

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "server/handlers.h"
#include "server/version.h"

namespace onebit::server {
namespace {

using asio::ip::tcp;
using Clock = std::chrono::steady_clock;
constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

double milliseconds_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

/// What the log calls a path: one of ours, or "other", since a path can hold anything.
std::string_view route_of(std::string_view path) {
  constexpr std::array<std::string_view, 12> kRoutes{
      "/v1/chat/completions", "/chat/completions", "/v1/completions", "/completions",
      "/v1/models",           "/models",           "/tokenize",       "/detokenize",
      "/apply-template",      "/tokenizer_info",   "/health",         "/metrics"};
  const auto it = std::find(kRoutes.begin(), kRoutes.end(), path);
  return it == kRoutes.end() ? "other" : *it;
}

}  // namespace

struct Server::Impl {
  Impl(ServerOptions o, AccessKeys k, LogSink l)
      : options(std::move(o)), keys(std::move(k)), log(std::move(l)), acceptor(io), accept_timer(io), drain_timer(io) {}

  Result<uint16_t> listen();
  Status run();
  void load();
  void stop();

  asio::awaitable<void> accept();
  asio::awaitable<bool> accept_one();
  asio::awaitable<void> serve(beast::tcp_stream stream);
  asio::awaitable<int> answer(Connection& connection);
  asio::awaitable<int> answer_open_routes(Connection& connection);
  asio::awaitable<void> wait_for_the_rest();

  ServerOptions options;
  AccessKeys keys;
  LogSink log;
  asio::io_context io{1};
  asio::thread_pool workers{1};
  tcp::acceptor acceptor;
  asio::steady_timer accept_timer, drain_timer;
  std::shared_ptr<Service> service;  // null while the model loads
  std::unique_ptr<Handlers> handlers;
  std::thread loader;
  Status loaded;
  size_t connections = 0;
  size_t requests = 0;  // under way
  bool stopping = false;
};

Server::Server(ServerOptions options, AccessKeys keys, LogSink log)
    : impl_(std::make_unique<Impl>(std::move(options), std::move(keys), std::move(log))) {}

Server::~Server() = default;

Result<uint16_t> Server::listen() {
  return impl_->listen();
}
Status Server::run() {
  return impl_->run();
}
void Server::stop() {
  asio::post(impl_->io, [this] { impl_->stop(); });
}
Status Server::reload_keys() {
  return impl_->keys.reload();
}

Result<uint16_t> Server::Impl::listen() {
  boost::system::error_code error;
  tcp::resolver resolver(io);
  const auto found = resolver.resolve(options.host, std::to_string(options.port), tcp::resolver::passive, error);
  if (error) return fail("{}: this host name cannot be resolved: {}", options.host, error.message());
  const tcp::endpoint endpoint = found.begin()->endpoint();
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) return fail("{}:{}: cannot listen here: {}", options.host, options.port, error.message());
  return acceptor.local_endpoint().port();
}

void Server::Impl::load() {
  const auto begin = Clock::now();
  auto model = Model::open(options.model_path, options.model);
  Status result;
  if (!model) result = tl::unexpected(model.error());
  std::shared_ptr<Service> ready;
  if (model) ready = std::make_shared<Service>(*std::move(model), options, kVersion);
  asio::post(io, [this, begin, ready = std::move(ready), status = std::move(result)]() mutable {
    loaded = std::move(status);
    if (!loaded) return io.stop();
    if (stopping) return;
    service = std::move(ready);
    handlers = std::make_unique<Handlers>(service, options, workers);
    log(fmt::format("ready model={} ms={:.0f}", service->name, milliseconds_since(begin)));
  });
}

Status Server::Impl::run() {
  loader = std::thread([this] { load(); });
  asio::co_spawn(io, accept(), asio::detached);
  io.run();
  loader.join();
  workers.stop();
  workers.join();
  if (service) service->engine.drain();
  return std::move(loaded);
}

void Server::Impl::stop() {
  if (stopping) return io.stop();
  stopping = true;
  log(fmt::format("stopping requests={}", requests));
  boost::system::error_code ignored;
  acceptor.close(ignored);
  if (service) service->engine.drain();
  asio::co_spawn(io, wait_for_the_rest(), asio::detached);
}

asio::awaitable<void> Server::Impl::wait_for_the_rest() {
  const auto deadline = Clock::now() + options.drain;
  const auto last = deadline + std::chrono::seconds(2);  // for those that are cut to be told so
  for (bool cut = false; requests > 0 && Clock::now() < last;) {
    if (!cut && Clock::now() >= deadline && service) service->engine.cancel_all();
    cut = Clock::now() >= deadline;
    drain_timer.expires_after(std::chrono::milliseconds(20));
    co_await drain_timer.async_wait(kAwait);
  }
  io.stop();
}

asio::awaitable<void> Server::Impl::accept() {
  while (!stopping) {
    try {
      if (!co_await accept_one()) co_return;
    } catch (const std::exception& error) {  // no memory, most likely
      log(fmt::format("connection not accepted: {}", error.what()));
    }
  }
}

/// False where there are to be no more.
asio::awaitable<bool> Server::Impl::accept_one() {
  auto [error, socket] = co_await acceptor.async_accept(kAwait);
  if (stopping) co_return false;
  if (error) {  // out of file descriptors, most often: some will close
    accept_timer.expires_after(std::chrono::milliseconds(50));
    co_await accept_timer.async_wait(kAwait);
    co_return true;
  }
  boost::system::error_code ignored;
  socket.set_option(tcp::no_delay(true), ignored);
  asio::co_spawn(io, serve(beast::tcp_stream(std::move(socket))), asio::detached);
  co_return true;
}

asio::awaitable<void> Server::Impl::serve(beast::tcp_stream stream) {
  struct Count {
    explicit Count(size_t& n) : count(n) { ++count; }
    ~Count() { --count; }
    size_t& count;
  };
  const Count open(connections);
  const bool too_many = connections > options.most_connections;
  auto limits = options.connection;
  if (too_many) limits.idle = std::min(limits.idle, std::chrono::seconds(2));  // long enough to be told so
  Connection connection(std::move(stream), limits);
  try {
    while (co_await connection.read_header()) {
      if (too_many) {
        connection.forbid_keep_alive();
        co_await connection.refuse(api_error(503, "too_many_connections", "too many connections", 1));
        break;
      }
      const Count under_way(requests);
      const auto begin = Clock::now();
      const auto route = route_of(connection.path());
      const int status = co_await answer(connection);
      if (service && status >= 400) service->metrics.refused(status);
      log(fmt::format("request route={} status={} ms={:.1f}", route, status, milliseconds_since(begin)));
      if (!connection.keep_alive() || stopping) break;
    }
  } catch (const std::exception& error) {  // no memory, most likely: this client's loss only
    log(fmt::format("connection lost: {}", error.what()));
  }
  connection.close();
}

/// Before the body is read: what needs no key, and what has none. 0: go on.
asio::awaitable<int> Server::Impl::answer_open_routes(Connection& c) {
  const bool get = c.request().method() == http::verb::get || c.request().method() == http::verb::head;
  if (!options.cors_origin.empty()) {
    c.add_header("Access-Control-Allow-Origin", options.cors_origin);
    if (c.request().method() == http::verb::options) {
      c.add_header("Access-Control-Allow-Methods", "GET, POST, OPTIONS");
      c.add_header("Access-Control-Allow-Headers", "Authorization, Content-Type, X-API-Key");
      if (c.has_body()) c.forbid_keep_alive();
      co_await c.respond(json_response("", 204));
      co_return 204;
    }
  }
  if (get && c.path() == "/health") {
    const bool ready = service != nullptr && !stopping;
    const char* word = ready ? "ok" : stopping ? "shutting down" : "loading";
    if (c.has_body()) c.forbid_keep_alive();
    co_await c.respond(json_response(fmt::format("{{\"status\":\"{}\"}}", word), ready ? 200 : 503, ready ? 0 : 1));
    co_return ready ? 200 : 503;
  }
  if (!keys.allow(key_of(c.header("Authorization"), c.header("X-API-Key")))) {
    c.forbid_keep_alive();  // its body is not read
    c.add_header("WWW-Authenticate", "Bearer");
    co_await c.refuse(
        api_error(401, "invalid_api_key", "a valid API key is needed: Authorization: Bearer KEY, or x-api-key: KEY"));
    co_return 401;
  }
  co_return 0;
}

asio::awaitable<int> Server::Impl::answer(Connection& c) {
  if (const int status = co_await answer_open_routes(c); status != 0) co_return status;
  if (!co_await c.read_body()) co_return 400;
  const bool get = c.request().method() == http::verb::get;
  if (service == nullptr) {
    co_await c.refuse(api_error(503, "loading", "the model is loading", 1));
    co_return 503;
  }
  if (get && c.path() == "/metrics") {
    auto page = json_response(service->metrics.text(service->engine.stats(), connections));
    page.type = "text/plain; version=0.0.4; charset=utf-8";
    co_await c.respond(std::move(page));
    co_return 200;
  }
  co_return co_await handlers->handle(c);
}

}  // namespace onebit::server
