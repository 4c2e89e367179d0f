// What each route does.
#pragma once

#include <boost/asio/thread_pool.hpp>
#include <memory>
#include <span>
#include <string>
#include <type_traits>

#include "server/connection.h"
#include "server/flight.h"
#include "server/metrics.h"
#include "server/models.h"
#include "server/protocol.h"
#include "server/run_on.h"
#include "server/server.h"
#include "server/voice.h"

namespace onebit::server {

/// Routes of a server that is ready. `workers` run what could hold up other connections, `files` what waits for a disk.
class Handlers {
 public:
  /// All must outlive it.
  Handlers(Models& models, Voice& voice, const ServerOptions& options, Metrics& metrics, asio::thread_pool& workers,
           asio::thread_pool& files)
      : models_(models), voice_(voice), options_(options), metrics_(metrics), workers_(workers), files_(files) {}

  /// Answers the request whose body was read. `connections`: how many are open, for the metrics.
  asio::awaitable<void> handle(Connection& connection, size_t connections);
  /// What the log calls a path: one of ours, or "other", since a path can hold anything.
  static std::string_view route_name(std::string_view path);
  /// Every path, each with its method.
  static std::vector<std::pair<std::string_view, bool>> all_routes();

 private:
  using TextRoute = ApiResult<std::string> (*)(std::string_view body, const ApiContext& context);
  enum class Does {
    kHealth,
    kMetrics,
    kModels,
    kTokenizerInfo,
    kGenerate,
    kEmbed,
    kText,
    kSlots,
    kTags,
    kLoaded,
    kShow,
    kTellVersion,
    kSaveKv,
    kRestoreKv,
    kTalk,
    kTranscribe,
    kSpeak,
    kVoices
  };
  struct Route {
    std::string_view path;
    bool post;
    Does does;
    TextRoute text = nullptr;
    const Protocol* protocol = nullptr;
  };
  static std::span<const Route> routes();
  using Found = ApiResult<std::shared_ptr<Service>>;

  asio::awaitable<void> handle_route(Connection& connection, const Route& route, size_t connections);
  asio::awaitable<Found> service_of(const Connection& connection, std::shared_ptr<Client> client);
  asio::awaitable<void> generate(Connection& connection, const Protocol& protocol);
  asio::awaitable<void> embed(Connection& connection, const Protocol& protocol);
  asio::awaitable<std::optional<ApiError>> collect(Flight& flight, std::chrono::steady_clock::time_point deadline);
  asio::awaitable<void> answer_whole(Connection& connection, Flight& flight);
  asio::awaitable<void> answer_stream(Connection& connection, Flight& flight, const Protocol& protocol);
  asio::awaitable<void> answer_text(Connection& connection, TextRoute make);
  asio::awaitable<void> answer_tokenizer_info(Connection& connection);
  ApiError too_long() const;
  ApiHead head_of(const Protocol& protocol, const Service& service) const;

  // Of the models (model_routes.cc).
  std::string model_json(const Models::Entry& entry) const;
  std::string models_json() const;
  std::string ollama_models(bool only_loaded) const;
  asio::awaitable<void> show(Connection& connection);
  asio::awaitable<std::string> slots_json();

  // Of sound (voice_routes.cc).
  asio::awaitable<void> talk(Connection& connection);
  asio::awaitable<void> transcribe(Connection& connection);
  asio::awaitable<void> speak(Connection& connection);
  asio::awaitable<void> tell_voices(Connection& connection);

  // Of conversations in files (kv_routes.cc).
  asio::awaitable<void> answer_kv(Connection& connection, bool save);
  asio::awaitable<ApiResult<std::string>> save_kv(Service& service, std::string body, uint32_t tenant);
  asio::awaitable<ApiResult<std::string>> restore_kv(Service& service, std::string body, uint32_t tenant);

  /// Runs what could hold up other connections elsewhere, and comes back with its result.
  template <class Work>
  asio::awaitable<std::invoke_result_t<Work>> on_worker(Work work) {
    return run_on(workers_, std::move(work));
  }
  /// What may wait long for a disk, one after another: no request for an answer stands behind it.
  template <class Work>
  asio::awaitable<std::invoke_result_t<Work>> on_file_worker(Work work) {
    return run_on(files_, std::move(work));
  }

  Models& models_;
  Voice& voice_;
  const ServerOptions& options_;
  Metrics& metrics_;
  asio::thread_pool &workers_, &files_;
};

}  // namespace onebit::server
