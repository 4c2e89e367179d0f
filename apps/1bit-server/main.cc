// 1bit-server: the daemon. Settings in, signals, and the log; everything else is in src/server.
#include <fmt/core.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <thread>

#include "1bit-server/settings.h"
#include "base/spare_memory.h"

namespace onebit::server {
namespace {

/// Waits for signals on a thread of its own: they are blocked everywhere else.
class Signals {
 public:
  explicit Signals(Server& server) : server_(server), thread_([this] { wait(); }) {}
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;
  ~Signals() {
    ending_ = true;
    ::pthread_kill(thread_.native_handle(), SIGUSR1);
    thread_.join();
  }

  static sigset_t all() {
    sigset_t set;
    ::sigemptyset(&set);
    for (const int s : {SIGINT, SIGTERM, SIGHUP, SIGUSR1}) ::sigaddset(&set, s);
    return set;
  }

 private:
  void wait() {
    const auto set = all();
    while (true) {
      int signal = 0;
      if (::sigwait(&set, &signal) != 0 || ending_) return;
      if (signal == SIGUSR1) continue;  // from somebody else
      if (signal != SIGHUP) {
        server_.stop();
        continue;
      }
      const auto status = server_.reload_keys();
      if (status)
        spdlog::info("keys reloaded");
      else
        spdlog::error("keys not reloaded, the old ones stay: {}", status.error().message);
    }
  }

  Server& server_;
  std::atomic<bool> ending_{false};
  std::thread thread_;
};

/// As many files as connections may need; shells allow 1024 where the system allows more.
void allow_files(uint64_t wanted) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) return;
  limit.rlim_cur = std::min<rlim_t>(wanted, limit.rlim_max);
  ::setrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < wanted)
    spdlog::warn("the system allows {} open files, --max-connections would need {}", limit.rlim_cur, wanted);
}

int report(const Error& error) {
  fmt::print(stderr, "1bit-server: {}\n", error.message);
  return 1;
}

int run(int argc, char** argv) {
  keep_little_spare_memory();
  auto parsed = parse_settings(argc, argv);
  if (parsed.exit_code) return *parsed.exit_code;
  auto& settings = parsed.settings;
  auto keys = AccessKeys::load(settings.api_keys, settings.api_key_file);
  if (!keys) return report(keys.error());

  const auto log = spdlog::stderr_logger_mt("1bit-server");
  log->set_pattern("%Y-%m-%dT%H:%M:%S.%e %l %v");
  spdlog::set_default_logger(log);
  const auto blocked = Signals::all();
  ::pthread_sigmask(SIG_BLOCK, &blocked, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a limit on the size of files is then an error like a full disk
  allow_files(uint64_t{settings.options.most_connections} + 64);

  const auto host = settings.options.host;
  Server server(std::move(settings.options), *std::move(keys),
                [](const std::string& line) { spdlog::info("{}", line); });
  const auto port = server.listen();
  if (!port) return report(port.error());
  spdlog::info("listening host={} port={}", host, *port);
  Status status;
  {
    const Signals signals(server);
    status = server.run();
  }
  if (!status) return report(status.error());
  spdlog::info("stopped");
  return 0;
}

}  // namespace
}  // namespace onebit::server

int main(int argc, char** argv) {
  return onebit::server::run(argc, argv);
}
