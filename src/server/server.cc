#include "server/server.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/service_manager.h"
#include "base/utf8.h"
#include "server/await.h"
#include "server/handlers.h"
#include "server/listen.h"
#include "server/models.h"
#include "server/page.h"
#include "server/protocol.h"
#include "server/realtime.h"

namespace onebit::server {
namespace {

using asio::ip::tcp;
using Clock = std::chrono::steady_clock;

double milliseconds_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

/// Raises a number for as long as it lives.
class Hold {
 public:
  explicit Hold(uint64_t& number, uint64_t by = 1) : number_(number), by_(by) { number_ += by_; }
  void set(uint64_t by) {
    number_ += by - by_;
    by_ = by;
  }
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;
  ~Hold() { number_ -= by_; }

 private:
  uint64_t& number_;
  uint64_t by_;
};

}  // namespace

struct Server::Impl {
  Impl(ServerOptions o, AccessKeys k, LogSink l)
      : options(std::move(o)), keys(std::move(k)), log(std::move(l)), acceptor(io), accept_timer(io), drain_timer(io) {
    options.engine.on_loss = [this](const std::string& sentence) {
      asio::post(io, [this, sentence] { log("device lost: " + sentence); });
    };
  }

  Status run();
  void load();
  void stop();

  asio::awaitable<void> accept();
  asio::awaitable<bool> accept_one();
  asio::awaitable<void> serve(beast::tcp_stream stream);
  asio::awaitable<void> serve_requests(Connection& connection, bool too_many);
  asio::awaitable<void> answer(Connection& connection);
  asio::awaitable<void> preflight(Connection& connection);
  std::optional<HttpResponse> before_the_body(Connection& connection);
  std::optional<ApiError> refuse_page(const Connection& connection) const;
  asio::awaitable<void> wait_for_the_rest();

  ServerOptions options;
  AccessKeys keys;
  LogSink log;
  Metrics metrics;  // of use to the engines' threads until the last request is gone, and some wait in `io`
  asio::io_context io{1};
  asio::thread_pool workers{2}, files{1};  // what computes, and what waits for a disk
  tcp::acceptor acceptor;
  asio::steady_timer accept_timer, drain_timer;
  Models models{options, metrics, io, log};
  Voice voice{options.voice};
  std::unique_ptr<Handlers> handlers;  // null while the first model loads
  std::thread loader;
  Status loaded;
  uint64_t connections = 0;
  uint64_t requests = 0;  // under way
  uint64_t bodies = 0;    // bytes that these may hold
  bool stopping = false;
};

Server::Server(ServerOptions options, AccessKeys keys, LogSink log)
    : impl_(std::make_unique<Impl>(std::move(options), std::move(keys), std::move(log))) {}

Server::~Server() = default;

Result<uint16_t> Server::listen() {
  return listen_at(impl_->acceptor, impl_->options.host, impl_->options.port);
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

void Server::Impl::load() {
  const auto begin = Clock::now();
  Result<std::shared_ptr<Service>> first;
  if (auto status = models.open_files(); !status)
    first = tl::unexpected(std::move(status).error());
  else
    first = models.load_first();
  asio::post(io, [this, begin, first = std::move(first)]() mutable {
    if (!first) {
      loaded = tl::unexpected(first.error());
      return io.stop();
    }
    if (stopping) return;
    const bool one = *first != nullptr;
    const auto device = one ? (*first)->model.engine_name() : std::string("none");
    models.first_is(*std::move(first));
    handlers = std::make_unique<Handlers>(models, voice, options, metrics, workers, files);
    asio::co_spawn(io, models.watch_idle(), asio::detached);
    log(fmt::format("ready model={} device={} ms={:.0f}", one ? models.entries().front()->name : "none", device,
                    milliseconds_since(begin)));
  });
}

Status Server::Impl::run() {
  loader = std::thread([this] { load(); });
  asio::co_spawn(io, accept(), asio::detached);
  asio::co_spawn(io, tell_watchdog(), asio::detached);
  notify_manager("READY=1");  // requests are answered; /health tells of the model
  io.run();
  loader.join();
  for (auto* pool : {&workers, &files}) {
    pool->stop();
    pool->join();
  }
  voice.end();  // its threads ask the models
  models.drain();
  models.end();  // their last words would come into a queue that is being taken apart
  return std::move(loaded);
}

void Server::Impl::stop() {
  if (stopping) return io.stop();
  stopping = true;
  log(fmt::format("stopping requests={}", requests));
  notify_manager("STOPPING=1");
  boost::system::error_code ignored;
  acceptor.close(ignored);
  voice.drain();
  if (handlers != nullptr) models.drain();  // before, another thread has them
  asio::co_spawn(io, wait_for_the_rest(), asio::detached);
}

asio::awaitable<void> Server::Impl::wait_for_the_rest() {
  const auto deadline = Clock::now() + options.drain;
  const auto last = deadline + std::chrono::seconds(2);  // for those that are cut to be told so
  for (bool cut = false; requests > 0 && Clock::now() < last;) {
    if (!cut && Clock::now() >= deadline) {
      models.cancel_all();
      voice.cancel_all();
    }
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
  const Hold open(connections);
  const bool too_many = connections > options.most_connections;
  auto limits = options.connection;
  if (too_many) limits.header = std::min(limits.header, std::chrono::seconds(2));  // long enough to be told so
  Connection connection(std::move(stream), limits, error_form_of);
  try {
    co_await serve_requests(connection, too_many);
    co_await connection.finish();
  } catch (const std::exception& error) {  // no memory, most likely: this client's loss only
    log(fmt::format("connection lost: {}", error.what()));
  }
  connection.close();
}

asio::awaitable<void> Server::Impl::serve_requests(Connection& c, bool too_many) {
  do {
    const bool came = co_await c.read_header();
    if (!came && c.status() == 0) co_return;
    const auto begin = Clock::now();
    const auto route = !came ? "none" : is_page(c.path()) ? "page" : Handlers::route_name(c.path());
    if (came) {
      const Hold under_way(requests);
      if (too_many) {
        c.forbid_keep_alive();
        co_await c.refuse(api_error(503, "too_many_connections", "too many connections", 1));
      } else {
        co_await answer(c);
      }
    }
    if (c.status() >= 400) metrics.refused(c.status());
    log(fmt::format("request route={} status={} ms={:.1f}", route, c.status(), milliseconds_since(begin)));
  } while (c.keep_alive() && !stopping);
}

/// Without keys, a page of any site that somebody here looks at could ask: by its own name for this machine, or as
/// another origin. Browsers say both.
std::optional<ApiError> Server::Impl::refuse_page(const Connection& c) const {
  if (keys.required()) return std::nullopt;
  const auto host = c.header("Host"), origin = c.header("Origin");
  if (!names_this_machine(host, options.allowed_hosts))
    return api_error(403, "host_not_allowed", "this server does not know itself by that Host (--allow-host)");
  const bool same = origin.empty() || origin.substr(std::min(origin.size(), origin.find("//") + 2)) == host;
  if (same || options.cors_origin == "*" || options.cors_origin == origin) return std::nullopt;
  return api_error(403, "origin_not_allowed", "pages of that origin may not ask (--cors-origin)");
}

/// The answer to what needs none of the body.
std::optional<HttpResponse> Server::Impl::before_the_body(Connection& c) {
  const bool get = c.request().method() == http::verb::get || c.request().method() == http::verb::head;
  if (get && c.path() == "/health") {
    const bool loading = handlers == nullptr, lost = !loading && !models.sound();
    const char* word = stopping ? "shutting down" : loading ? "loading" : lost ? "device lost" : "ok";
    const bool ready = !stopping && !loading && !lost;
    return json_response(fmt::format("{{\"status\":\"{}\"}}", word), ready ? 200 : 503, ready || lost ? 0 : 1);
  }
  if (is_page(c.path())) {
    if (const auto error = refuse_page(c)) return c.error_response(*error);
    return page_response(c);
  }
  std::string key(key_of(c.header("Authorization"), c.header("X-API-Key")));
  if (key.empty() && c.path() == kRealtimePath) {  // a browser's page has no other place for it
    key = read_offer(c.header("Sec-WebSocket-Protocol")).key;
    if (!keys.allow(key)) key = percent_decoded(key);
  }
  if (!keys.allow(key))
    return c.error_response(
        api_error(401, "invalid_api_key", "a valid API key is needed: Authorization: Bearer KEY, or x-api-key: KEY"));
  c.set_tenant(options.share_prefixes ? 0 : keys.number_of(key));
  if (const auto error = refuse_page(c)) return c.error_response(*error);
  if (handlers == nullptr) return c.error_response(api_error(503, "loading", "the model is loading", 1));
  return std::nullopt;
}

asio::awaitable<void> Server::Impl::preflight(Connection& c) {
  c.add_header("Access-Control-Allow-Methods", "GET, POST, OPTIONS");
  const auto asked =
      c.header("Access-Control-Request-Headers");  // clients of several protocols have several of their own
  c.add_header("Access-Control-Allow-Headers",
               asked.empty() ? "Authorization, Content-Type, X-API-Key" : std::string(asked));
  co_await c.respond(json_response("", 204));
}

asio::awaitable<void> Server::Impl::answer(Connection& c) {
  if (!options.cors_origin.empty()) {
    c.add_header("Access-Control-Allow-Origin", options.cors_origin);
    if (c.request().method() == http::verb::options) co_return co_await preflight(c);
  }
  if (auto response = before_the_body(c)) {
    if (response->status == 401) c.add_header("WWW-Authenticate", "Bearer");
    co_await c.respond(*std::move(response));
    co_return;
  }
  Hold body(bodies, 0);
  const auto room = [&](uint64_t bytes) {
    body.set(bytes);
    return bodies <= options.most_bodies_bytes;
  };
  if (co_await c.read_body(room)) co_await handlers->handle(c, connections);
}

}  // namespace onebit::server
