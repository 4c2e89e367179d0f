// What each route does.
#pragma once

#include <boost/asio/thread_pool.hpp>
#include <memory>
#include <span>
#include <string>
#include <type_traits>

#include "engine/engine_loop.h"
#include "engine/model.h"
#include "server/api_request.h"
#include "server/connection.h"
#include "server/flight.h"
#include "server/metrics.h"
#include "server/server.h"

namespace onebit::server {

/// A model that is loaded, and everything that serves it.
struct Service {
  Service(Model loaded, const ServerOptions& options, std::string version);

  Model model;
  std::string name, fingerprint, version;
  int64_t created = 0;  // when the file was made, as far as it is known
  grammar::GrammarCache grammars;
  ApiContext api;
  Metrics metrics;
  EngineLoop engine;  // the last, and the first to go
};

/// Routes of a service that is ready. `workers` run what could hold up other connections.
class Handlers {
 public:
  Handlers(std::shared_ptr<Service> service, const ServerOptions& options, asio::thread_pool& workers)
      : s_(std::move(service)), options_(options), workers_(workers) {}

  /// Answers the request whose body was read. `connections`: how many are open, for the metrics.
  asio::awaitable<void> handle(Connection& connection, size_t connections);
  /// What the log calls a path: one of ours, or "other", since a path can hold anything.
  static std::string_view route_name(std::string_view path);

 private:
  struct Route;
  static std::span<const Route> routes();
  using TextRoute = ApiResult<std::string> (*)(std::string_view body, const ApiContext& context);

  asio::awaitable<void> generate(Connection& connection, ApiCall::Kind kind);
  asio::awaitable<void> answer_whole(Connection& connection, Flight& flight);
  asio::awaitable<void> answer_stream(Connection& connection, Flight& flight);
  ApiError too_long() const;
  asio::awaitable<void> answer_text(Connection& connection, TextRoute make);
  std::string model_json() const;
  /// Runs what could hold up other connections elsewhere, and comes back with its result.
  template <class Work>
  asio::awaitable<std::invoke_result_t<Work>> on_worker(Work work);

  std::shared_ptr<Service> s_;
  const ServerOptions& options_;
  asio::thread_pool& workers_;
};

}  // namespace onebit::server
