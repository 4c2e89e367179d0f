// What each route does.
#pragma once

#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <memory>
#include <string>

#include "engine/engine_loop.h"
#include "engine/model.h"
#include "server/api_format.h"
#include "server/connection.h"
#include "server/metrics.h"
#include "server/server.h"

namespace onebit::server {

/// A model that is loaded, and everything that serves it.
struct Service {
  Service(Model loaded, const ServerOptions& options, std::string version);

  Model model;
  std::string name, fingerprint, version;
  int64_t created = 0;  // when the file was made, as far as it is known
  ApiContext api;
  Metrics metrics;
  EngineLoop engine;  // the last, and the first to go
};

/// Routes of a service that is ready. `workers` run what could hold up other connections.
class Handlers {
 public:
  Handlers(std::shared_ptr<Service> service, const ServerOptions& options, asio::thread_pool& workers)
      : s_(std::move(service)), options_(options), workers_(workers) {}

  /// Answers the request whose body was read; the status, for the log.
  asio::awaitable<int> handle(Connection& connection);
  std::string models() const;

 private:
  struct Flight;  // a call under way

  asio::awaitable<int> generate(Connection& connection, ApiCall::Kind kind);
  asio::awaitable<int> answer_whole(Connection& connection, Flight& flight);
  asio::awaitable<int> answer_stream(Connection& connection, Flight& flight);
  ApiError too_long() const;
  asio::awaitable<int> answer_text(Connection& connection,
                                   ApiResult<std::string> (*make)(std::string_view, const ApiContext&));

  std::shared_ptr<Service> s_;
  const ServerOptions& options_;
  asio::thread_pool& workers_;
};

}  // namespace onebit::server
