// status, logs, restart, update, rollback: a box's services and the package they come from.
#include "box/services.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "box/package.h"
#include "box/settings.h"
#include "halo/commands.h"
#include "halo/common.h"
#include "version.h"

namespace onebit::halo {
namespace {

using nlohmann::ordered_json;

ordered_json text_or_null(const std::string& text) {
  return text.empty() ? ordered_json() : ordered_json(text);
}

void print_status(const std::vector<box::UnitState>& units, const box::ServerFacts& server, const std::string& url) {
  for (const auto& unit : units)
    fmt::print("{:<22} {}{}{}\n", unit.name,
               unit.is_loaded() ? fmt::format("{} ({})", unit.active, unit.sub) : unit.load,
               unit.file.empty() ? "" : ", " + unit.file, unit.since.empty() ? "" : ", since " + unit.since);
  fmt::print("{:<22} {}{}\n", "health", server.health, server.reached ? " at " + url : "");
  if (!server.version.empty()) fmt::print("{:<22} {} (halo is {})\n", "version", server.version, kVersion);
  if (!server.models.empty()) fmt::print("{:<22} {}\n", "models", fmt::join(server.models, ", "));
}

/// 0 where the server is healthy, or would be started by a request.
Result<int> show_status(bool as_json) {
  const auto settings = box::read_service_settings(box::Roots::of_environment());
  const auto units = box::unit_states();
  if (!units && !as_json) return tl::unexpected(units.error());
  const bool sleeps = units && box::waits_for_a_request(*units);
  box::ServerFacts server;
  server.health = "not started: the first request starts it";
  if (!sleeps) server = box::ask_server(settings.server_url(), settings.api_key, std::chrono::seconds(3));
  if (as_json) {
    ordered_json root{{"units", ordered_json::array()}};
    for (const auto& unit : units.value_or(std::vector<box::UnitState>()))
      root["units"].push_back({{"name", unit.name},
                               {"load", unit.load},
                               {"active", unit.active},
                               {"sub", unit.sub},
                               {"file", text_or_null(unit.file)},
                               {"since", text_or_null(unit.since)}});
    root["units_error"] = units ? ordered_json() : ordered_json(units.error().message);
    root["server"] = {{"url", settings.server_url()},
                      {"healthy", server.healthy},
                      {"health", server.health},
                      {"version", text_or_null(server.version)},
                      {"models", server.models}};
    root["halo_version"] = kVersion;
    fmt::print("{}\n", root.dump(2, ' ', false, ordered_json::error_handler_t::replace));
  } else {
    print_status(*units, server, settings.server_url());
  }
  return server.healthy || sleeps ? 0 : 1;
}

struct LogsArguments {
  bool follow = false;
  uint32_t lines = 50;
  std::string since, unit = "all";
};

/// Becomes journalctl; returns only where that fails.
Status logs(const LogsArguments& a, bool has_lines) {
  if (!box::find_program("journalctl"))
    return fail("there is no journalctl on $PATH: this machine keeps its logs elsewhere");
  std::vector<std::string> command{"journalctl", "--no-pager"};
  if (a.unit != "landing") command.insert(command.end(), {"-u", box::kServerUnit, "-u", box::kSocketUnit});
  if (a.unit != "server") command.insert(command.end(), {"-u", box::kLandingUnit});
  if (a.follow) command.emplace_back("-f");
  if (has_lines || a.since.empty()) command.insert(command.end(), {"-n", std::to_string(a.lines)});
  if (!a.since.empty()) command.insert(command.end(), {"--since", a.since});
  std::vector<char*> arguments;
  for (auto& word : command) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  std::fflush(stdout);
  ::execvp(arguments[0], arguments.data());
  return fail("journalctl: {}", std::strerror(errno));
}

struct RestartArguments {
  std::string unit = "all";
  uint32_t seconds = 120;
};

Status restart(const RestartArguments& a) {
  ASSIGN_OR_RETURN(const auto units, box::unit_states());
  std::vector<std::string> names;
  for (const auto& [word, name] : {std::pair{"server", box::kServerUnit}, {"landing", box::kLandingUnit}})
    if (a.unit == word || (a.unit == "all" && box::unit_named(units, name).is_loaded())) names.emplace_back(name);
  if (names.empty()) return fail("no unit of 1bit is installed: install the package first");
  RETURN_IF_ERROR(box::control_units("restart", names));
  fmt::print("restarted {}\n", fmt::join(names, ", "));
  std::fflush(stdout);
  if (names.front() != box::kServerUnit) return {};
  const auto url = box::read_service_settings(box::Roots::of_environment()).server_url();
  RETURN_IF_ERROR(box::wait_for_health(url, std::chrono::seconds(a.seconds)));
  fmt::print("healthy at {}\n", url);
  return {};
}

box::UpdateOptions update_options() {
  box::UpdateOptions options;
  options.roots = box::Roots::of_environment();
  options.url = box::read_service_settings(options.roots).server_url();
  options.say = [](const std::string& line) {
    fmt::print("{}\n", line);
    std::fflush(stdout);
  };
  return options;
}

void add_health_time(CLI::App& command, uint32_t& seconds) {
  command.add_option("--health-time", seconds, "Seconds that the server has to become healthy")
      ->check(CLI::Range(1u, 86400u))
      ->capture_default_str();
}

void add_unit(CLI::App& command, std::string& unit) {
  command.add_option("unit", unit, "server, landing or all")
      ->check(CLI::IsMember({"server", "landing", "all"}))
      ->type_name("UNIT")
      ->capture_default_str();
}

}  // namespace

void add_status(CLI::App& app, int& exit_code) {
  auto as_json = std::make_shared<bool>(false);
  auto* command = app.add_subcommand("status", "The box's services, and what the server says of itself");
  command->add_flag("--json", *as_json, "One JSON object");
  command->footer(
      "The exit code is 0 where the server is healthy, or its socket waits for a first request, and else 1.");
  command->callback([as_json, &exit_code] {
    const auto code = show_status(*as_json);
    exit_code = code ? *code : report(code.error());
  });
}

void add_logs(CLI::App& app, int& exit_code) {
  auto a = std::make_shared<LogsArguments>();
  auto* command = app.add_subcommand("logs", "What the box's services wrote into the journal");
  add_unit(*command, a->unit);
  command->add_flag("-f,--follow", a->follow, "Go on as more is written");
  auto* lines = command->add_option("-n,--lines", a->lines, "The last so many lines")->capture_default_str();
  command->add_option("--since", a->since, "Since then, as journalctl takes it: \"1 hour ago\", 2026-11-27, today")
      ->type_name("WHEN");
  command->callback([a, lines, &exit_code] {
    if (auto done = logs(*a, lines->count() > 0); !done) exit_code = report(done.error());
  });
}

void add_restart(CLI::App& app, int& exit_code) {
  auto a = std::make_shared<RestartArguments>();
  auto* command = app.add_subcommand("restart", "Restarts the box's services and waits until the server is healthy");
  add_unit(*command, a->unit);
  add_health_time(*command, a->seconds);
  command->callback([a, &exit_code] {
    if (auto done = restart(*a); !done) exit_code = report(done.error());
  });
}

void add_update(CLI::App& app, int& exit_code) {
  struct Arguments {
    std::string file, previous;
    bool without_rollback = false;
    uint32_t seconds = 120;
  };
  auto a = std::make_shared<Arguments>();
  auto* command =
      app.add_subcommand("update", "Installs a newer package; back to the one before where it is not healthy");
  command->add_option("file", a->file, "The package; the newest that apt knows where absent")->type_name("FILE.deb");
  auto* previous = command->add_option(
      "--previous", a->previous, "The package of the version that is installed, where neither halo nor apt has it");
  previous->type_name("FILE.deb");
  command->add_flag("--without-rollback", a->without_rollback, "Go on though the installed package cannot be had again")
      ->excludes(previous);
  add_health_time(*command, a->seconds);
  command->footer(
      "Packages are installed by apt-get, as root, and kept in /var/lib/halo/packages: the installed one and the one\n"
      "before. Services that run are restarted, and /health decides.");
  command->callback([a, &exit_code] {
    auto options = update_options();
    std::error_code error;
    options.file = a->file.empty() ? "" : std::filesystem::absolute(a->file, error).string();
    options.previous = a->previous;
    options.without_rollback = a->without_rollback;
    options.health_time = std::chrono::seconds(a->seconds);
    if (auto done = box::update(options); !done) exit_code = report(done.error());
  });
}

void add_rollback(CLI::App& app, int& exit_code) {
  auto seconds = std::make_shared<uint32_t>(120);
  auto* command = app.add_subcommand("rollback", "Installs the package of before the last update again");
  add_health_time(*command, *seconds);
  command->callback([seconds, &exit_code] {
    auto options = update_options();
    options.health_time = std::chrono::seconds(*seconds);
    if (auto done = box::roll_back(options); !done) exit_code = report(done.error());
  });
}

}  // namespace onebit::halo
