// 1bit-server: the daemon. Settings in, signals, and the log; everything else is in src/server.
#include <fmt/core.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <csignal>

#include "1bit-server/settings.h"
#include "base/daemon.h"
#include "base/spare_memory.h"

namespace onebit::server {
namespace {

void reload_keys(Server& server) {
  const auto status = server.reload_keys();
  if (status)
    spdlog::info("keys reloaded");
  else
    spdlog::error("keys not reloaded, the old ones stay: {}", status.error().message);
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
  Signals::block();
  std::signal(SIGXFSZ, SIG_IGN);  // a limit on the size of files is then an error like a full disk
  const auto wanted = uint64_t{settings.options.most_connections} + 64, allowed = allow_files(wanted);
  if (allowed < wanted)
    spdlog::warn("the system allows {} open files, --max-connections would need {}", allowed, wanted);

  const auto host = settings.options.host;
  Server server(std::move(settings.options), *std::move(keys),
                [](const std::string& line) { spdlog::info("{}", line); });
  const auto port = server.listen();
  if (!port) return report(port.error());
  spdlog::info("listening host={} port={}", host, *port);
  Status status;
  {
    const Signals signals([&] { server.stop(); }, [&] { reload_keys(server); });
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
