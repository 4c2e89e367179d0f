// The HTTP server: listens, admits, routes. One thread serves all connections; the engine has its own.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/engine_loop.h"
#include "engine/model.h"
#include "server/access.h"
#include "server/api_request.h"
#include "server/connection.h"
#include "server/voice.h"

namespace onebit::server {

struct ServerOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 8080;    // 0: any that is free
  std::string model_path;  // of the model that is always there; may be empty where there are others
  std::string model_name;  // as clients see it; empty: the file's own
  std::vector<std::pair<std::string, std::string>> more_models;  // name and file, loaded when they are asked for
  std::string models_folder;                                     // likewise each .h1b file in it, by its name
  bool any_model = false;                                        // a name that is none of them means the first
  uint64_t models_bytes = 0;                                     // memory of all that are loaded; 0: no limit
  std::chrono::milliseconds model_idle{300'000};                 // unused for so long, one is unloaded; 0: never
  ModelOptions model{};
  EngineLoopOptions engine{};
  ApiLimits api{};
  ConnectionLimits connection{};
  uint32_t most_connections = 2048;
  std::chrono::seconds request_time{600};  // for a whole answer
  std::chrono::seconds keep_alive{15};     // between comments in a stream that has nothing to say
  std::chrono::seconds drain{30};          // for what is under way when the server ends
  bool share_prefixes = false;             // of prompts, between those who ask with different keys
  std::string kv_folder;                   // of saved conversations; empty: none are saved
  std::string cors_origin;                 // Access-Control-Allow-Origin; empty: none
  std::vector<std::string> allowed_hosts;  // names in Host beside this machine's own, where no key is needed
  uint64_t most_bodies_bytes = 256 << 20;  // of all requests' bodies
  VoiceOptions voice{};
};

/// Lines of the log: "request route=… status=… ms=…". Never a user's text.
using LogSink = std::function<void(const std::string& line)>;

class Server {
 public:
  Server(ServerOptions options, AccessKeys keys, LogSink log);
  ~Server();

  /// Binds the address; from now on connections wait. Returns the port.
  Result<uint16_t> listen();
  /// Serves until stop(): answers 503 while the model loads, which begins now. Errors: the model.
  Status run();
  /// Takes no new requests, lets those under way end within the time for it, and makes run() return. From any thread
  /// or signal handler's thread; a second call ends at once.
  void stop();
  Status reload_keys();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace onebit::server
