// 1bit-landing: the daemon of the live page. Settings in, signals, and the log; everything else is in src/landing.
#include <fmt/core.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <optional>

#include "base/daemon.h"
#include "base/spare_memory.h"
#include "landing/key_file.h"
#include "landing/landing.h"
#include "version.h"

namespace onebit::landing {
namespace {

struct Settings {
  LandingOptions options;
  std::string server = "http://127.0.0.1:8080";
  std::optional<int> exit_code;
};

void add_settings(CLI::App& app, Settings& s) {
  auto& o = s.options;
  app.set_version_flag("--version", fmt::format("1bit-landing {} ({})", kVersion, kCommit));
  app.add_option("--host", o.host, "Address to listen at; beyond this machine anybody there can look, without a key")
      ->envname("ONEBIT_LANDING_HOST")
      ->capture_default_str();
  app.add_option("-p,--port", o.port, "Port; 0: any that is free")
      ->envname("ONEBIT_LANDING_PORT")
      ->capture_default_str();
  app.add_option("--server", s.server, "The 1bit-server to look at")
      ->envname("ONEBIT_LANDING_SERVER")
      ->type_name("URL")
      ->capture_default_str();
  app.add_option("--api-key-file", o.api_key_file, "A file whose first line is the server's API key; read at each look")
      ->envname("ONEBIT_API_KEY_FILE")
      ->type_name("FILE");
  app.add_option("--records-page", o.numbers_page,
                 "The page of numbers, as 'halo report --format html -o FILE' writes it")
      ->type_name("FILE");
  app.add_option("--burnin-log", o.burnin_log, "The log of 'halo burnin run', whose exact rate is shown")
      ->type_name("FILE");
  app.add_option("--allow-host", o.allowed_hosts, "A name that requests may have in Host, beside this machine's own")
      ->type_name("NAME");
  app.add_option("--max-connections", o.most_connections, "Open connections; more get 503")
      ->capture_default_str()
      ->check(CLI::Range(1u, 1u << 20));
  app.footer("SIGTERM ends it. Exit codes: 0 done, 1 failed, 2 wrong usage.");
}

Settings parse(int argc, char** argv) {
  Settings settings;
  CLI::App app("The live page of a 1bit-server: one number to read across the room, and what stands behind it",
               "1bit-landing");
  add_settings(app, settings);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    settings.exit_code = app.exit(error) == 0 ? 0 : 2;
    return settings;
  }
  const auto refuse = [&](const std::string& why) {
    fmt::print(stderr, "1bit-landing: {}\n", why);
    settings.exit_code = 2;
  };
  auto target = parse_target(settings.server);
  if (!target) {
    refuse("--server: " + target.error().message);
    return settings;
  }
  settings.options.server = *std::move(target);
  const auto& key_file = settings.options.api_key_file;
  if (const auto key = key_file.empty() ? Result<std::string>() : read_key(key_file); !key)
    refuse(fmt::format("{}: {}", key_file, key.error().message));
  return settings;
}

int run(int argc, char** argv) {
  keep_little_spare_memory();
  auto settings = parse(argc, argv);
  if (settings.exit_code) return *settings.exit_code;
  const auto log = spdlog::stderr_logger_mt("1bit-landing");
  log->set_pattern("%Y-%m-%dT%H:%M:%S.%e %l %v");
  spdlog::set_default_logger(log);
  Signals::block();
  const auto wanted = uint64_t{settings.options.most_connections} + 64, allowed = allow_files(wanted);
  if (allowed < wanted)
    spdlog::warn("the system allows {} open files, --max-connections would need {}", allowed, wanted);

  const auto host = settings.options.host;
  settings.options.page = live_page();
  Landing landing(std::move(settings.options), [](const std::string& line) { spdlog::info("{}", line); });
  const auto port = landing.listen();
  if (!port) {
    fmt::print(stderr, "1bit-landing: {}\n", port.error().message);
    return 1;
  }
  spdlog::info("listening host={} port={}", host, *port);
  {
    const Signals signals([&] { landing.stop(); }, nullptr);
    landing.run();
  }
  spdlog::info("stopped");
  return 0;
}

}  // namespace
}  // namespace onebit::landing

int main(int argc, char** argv) {
  return onebit::landing::run(argc, argv);
}
