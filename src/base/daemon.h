// What both daemons need of the system: signals, and files enough for their connections.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>

namespace onebit {

/// Tells of signals that come while it lives, on a thread of its own.
class Signals {
 public:
  /// From now on SIGINT, SIGTERM, SIGHUP and SIGUSR1 come to no thread but this class's, SIGPIPE to none. Before there
  /// are other threads.
  static void block();

  /// `end`: upon SIGINT and SIGTERM. `reread`: upon SIGHUP, which ends the program where it is null.
  Signals(std::function<void()> end, std::function<void()> reread);
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;
  ~Signals();

 private:
  void wait();

  std::function<void()> end_, reread_;
  std::atomic<bool> ending_{false};
  std::thread thread_;
};

/// As many open files as `wanted`, where the system allows it: shells allow 1024 where it allows more. Returns how many
/// there may be now.
uint64_t allow_files(uint64_t wanted);

}  // namespace onebit
