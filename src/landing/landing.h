// 1bit-landing: the live page of a 1bit-server, for any number of viewers. Reads, and writes nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/web_file.h"
#include "landing/target.h"
#include "server/connection.h"

namespace onebit::landing {

struct LandingOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 8190;  // 0: any that is free
  Target server{};
  std::string api_key_file;                // of the server's key; empty: it wants none
  std::string numbers_page;                // a file; empty: none
  std::string burnin_log;                  // a file; empty: none
  std::string sys = "/sys";                // where the kernel tells of the machine
  std::span<const WebFile> page;           // empty: the program was built without it
  std::vector<std::string> allowed_hosts;  // names in Host beside this machine's own
  uint32_t most_connections = 2048;
  server::ConnectionLimits connection{.body_bytes = 64 << 10,
                                      .header_bytes = 16 << 10,
                                      .write = std::chrono::seconds(10)};  // then a slow viewer is dropped
};

class Landing {
 public:
  /// `log`: lines, when the server goes and when it comes back.
  Landing(LandingOptions options, std::function<void(const std::string&)> log);
  ~Landing();

  /// Binds the address; returns the port.
  Result<uint16_t> listen();
  /// Serves until stop().
  void run();
  /// From any thread; viewers are cut off.
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace onebit::landing
