// The models that a server has: by name, loaded when they are asked for, and unloaded when nobody asks any more or
// another needs their memory.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/metrics.h"
#include "server/model_facts.h"
#include "server/service.h"

namespace onebit::server {

namespace asio = boost::asio;

/// For the network's thread, but for open_files().
class Models {
 public:
  /// `io`: of the network's thread. All must outlive it.
  Models(const ServerOptions& options, Metrics& metrics, asio::io_context& io, LogSink log)
      : options_(options), metrics_(metrics), io_(io), log_(std::move(log)) {}
  Models(const Models&) = delete;
  Models& operator=(const Models&) = delete;
  /// Ends what is under way as cancelled.
  ~Models();

  using Clock = std::chrono::steady_clock;
  struct Entry {
    std::string name, path;
    ModelFacts facts;
    bool stays = false;  // loaded from the beginning, and never unloaded
    uint64_t cost = 0;   // of memory, once loaded: the file, and keys and values

    std::shared_ptr<Service> service;  // while it is loaded
    bool loading = false;
    uint32_t waiting = 0;            // requests that wait for it
    bool closing = false;            // others wait for its memory: it takes no new requests
    Clock::time_point loaded, used;  // since when; last by a request
    uint64_t attempts = 0;           // to load it that have ended
    std::string failure;             // of the last one; empty where it succeeded
    int64_t created = 0;             // Unix time of the first loading

    const char* state() const;
    /// It is loaded, and nobody uses it or is about to.
    bool idle() const { return service.use_count() == 1 && waiting == 0; }
  };

  /// Opens every file that the options name and sees what it is; loads none. By any thread, before all else. Errors: a
  /// file that was named cannot be opened, a name that stands for two, none at all. Of a folder, files that cannot be
  /// opened are left out, and the log says so.
  Status open_files();
  /// Loads the model that is to be there from the beginning, if there is one. By any thread.
  Result<std::shared_ptr<Service>> load_first();
  /// From now on it is there.
  void first_is(std::shared_ptr<Service> service);

  /// Those who use a service hold it; it is unloaded only when nobody does. An empty name: the first model. Waits for
  /// it to be loaded, and for memory, until `deadline` or until `gone` says so. Errors: 404, 503, what loading says.
  asio::awaitable<ApiResult<std::shared_ptr<Service>>> get(std::string name, Clock::time_point deadline,
                                                           std::function<bool()> gone);
  /// Null where there is none.
  const Entry* find(std::string_view name) const;
  const std::vector<std::shared_ptr<Entry>>& entries() const { return entries_; }
  /// More than one name.
  bool several() const { return entries_.size() > 1; }

  /// Of all engines, those that are gone too.
  EngineStats stats() const;
  /// False where the model that stays has lost all its devices.
  bool sound() const;
  void drain();
  void cancel_all();
  /// Ends the engines' threads: nothing of theirs comes after it.
  void end();
  /// Unloads what nobody has used for the time that the options say; until drain().
  asio::awaitable<void> watch_idle();

 private:
  std::shared_ptr<Entry> find_entry(std::string_view name) const;
  Status add(std::string name, const std::string& path, bool stays);
  Status add_folder();
  Result<std::shared_ptr<Service>> load(const std::string& name, const std::string& path) const;
  bool make_room(const Entry& entry);
  uint64_t memory_in_use() const;
  void start_loading(Entry& entry);
  void loaded(Entry& entry, Result<std::shared_ptr<Service>> result, double ms);
  void unload(Entry& entry);

  const ServerOptions& options_;
  Metrics& metrics_;
  asio::io_context& io_;
  LogSink log_;
  std::vector<std::shared_ptr<Entry>> entries_;  // shared: a request that waits may be the last to go
  EngineStats gone_;                             // of services that were
  bool draining_ = false;
  asio::thread_pool loader_{1};  // loads and unloads, one after another: what was to go is gone before another comes
};

}  // namespace onebit::server
