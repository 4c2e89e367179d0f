#include <gnu/libc-version.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/http_client.h"
#include "base/sensors.h"
#include "base/utf8.h"
#include "box/doctor_checks.h"
#include "box/package.h"
#include "box/services.h"
#include "format/h1b_file.h"

namespace onebit::box {
namespace {

namespace fs = std::filesystem;

constexpr auto kAnswerTime = std::chrono::milliseconds(1500);
constexpr uint64_t kMostVerified = uint64_t{256} << 20;  // bytes that are read for a quick look

/// A sentence where somebody who is neither owner nor of the group cannot read `file`; empty where all can.
std::string why_not_readable(const fs::path& file) {
  fs::path part;
  for (const auto& name : file) {
    part /= name;
    struct stat facts{};
    if (::stat(part.c_str(), &facts) != 0) return fmt::format("{}: {}", part.string(), std::strerror(errno));
    const bool last = part == file;
    if (last && (facts.st_mode & S_IROTH) == 0) return fmt::format("{} is not readable by others", part.string());
    if (!last && (facts.st_mode & S_IXOTH) == 0) return fmt::format("the folder {} is closed to others", part.string());
  }
  return {};
}

bool is_below(const std::string& path, std::string_view folder) {
  return path.starts_with(folder) && path.substr(folder.size()).starts_with('/');
}

/// True where asking the server would start it.
bool sleeps() {
  const auto units = unit_states();
  return units && waits_for_a_request(*units);
}

bool is_refused(const std::string& why) {
  return why.find("refused") != std::string::npos;
}

Finding taken(std::string_view what, const std::string& url, const char* variable) {
  return red(fmt::format("something else than {} listens at {}", what, url),
             fmt::format("see who: sudo ss -ltnp; end it, or give {} another port with {}", what, variable));
}

}  // namespace

Finding check_model(const DoctorOptions& options) {
  if (options.model.empty())
    return red(options.model_error, "set ONEBIT_MODEL in /etc/1bit/server.env, or give --model");
  const auto advice = "convert or download it again; 'halo list' shows what there is";
  const auto file = H1bFile::open(options.model);
  if (!file) return red(file.error().message, advice);
  const double megabytes = static_cast<double>(file->file_bytes()) / 1e6;
  if (file->file_bytes() > kMostVerified)
    return green(
        fmt::format("{}, {:.0f} MB; its structure is sound, 'halo verify' reads every byte", options.model, megabytes));
  if (const auto sound = file->verify(); !sound) return red(sound.error().message, advice);
  return green(fmt::format("{}, {:.0f} MB; every byte is sound", options.model, megabytes));
}

Finding check_permissions(const DoctorOptions& options) {
  const auto settings = read_service_settings(options.roots);
  const auto state = options.roots.path("/var/lib/1bit");
  std::error_code error;
  const auto kind = fs::symlink_status(state, error).type();
  if (kind != fs::file_type::not_found && kind != fs::file_type::directory && kind != fs::file_type::symlink)
    return red(fmt::format("{} is no folder", state), "move it away: systemd makes it when the server starts");
  if (settings.model.empty()) return green("no model is set for the service; its state folder is systemd's to make");
  // The service's user exists only while it runs: it is nobody's owner and in no group.
  for (const char* hidden : {"/home", "/root", "/run/user", "/tmp", "/var/tmp"})
    if (is_below(settings.model, hidden))
      return red(fmt::format("{}: the service cannot see what is below {}", settings.model, hidden),
                 "put the model where every user may read, such as /usr/local/share/1bit/models");
  const auto path = options.roots.path(settings.model);
  if (!fs::exists(path, error) && !error) return green(fmt::format("{} is not there to be read", settings.model));
  if (const auto why = why_not_readable(path); !why.empty())
    return red(fmt::format("the service's user cannot read its model: {}", why),
               fmt::format("sudo chmod a+rX on it and the folders above {}", settings.model));
  return green(fmt::format("the service's user may read {}", settings.model));
}

Finding check_server_port(const DoctorOptions& options) {
  const auto settings = read_service_settings(options.roots);
  const auto url = settings.server_url();
  if (sleeps()) return green(fmt::format("{} listens; the first request starts the server", kSocketUnit));
  const auto facts = ask_server(url, settings.api_key, kAnswerTime);
  if (!facts.reached && !is_refused(facts.health)) return taken("1bit-server", facts.health, "ONEBIT_PORT");
  if (!facts.reached) {
    const auto units = unit_states();
    if (units && unit_named(*units, kServerUnit).is_active())
      return yellow(fmt::format("{} runs, and nothing listens at {}", kServerUnit, url),
                    "it starts, or listens elsewhere: see 'halo logs'");
    return green(url + " is free");
  }
  if (!facts.ours) return taken("1bit-server", url, "ONEBIT_PORT");
  if (!facts.healthy)
    return yellow(fmt::format("1bit-server at {} is not ready: {}", url, facts.health),
                  "while it loads, wait; else see 'halo logs'");
  return green(fmt::format("1bit-server answers at {}{}", url,
                           facts.models.empty() ? "" : fmt::format(" with {}", fmt::join(facts.models, ", "))));
}

Finding check_landing_port(const DoctorOptions& options) {
  const auto url = read_service_settings(options.roots).landing_url();
  auto client = HttpClient::open(url, "", kAnswerTime);
  if (!client) return red(client.error().message, "set ONEBIT_LANDING_HOST and ONEBIT_LANDING_PORT anew");
  const auto reply = client->get("/metrics", {.most_bytes = 4 << 20});
  if (!reply && is_refused(reply.error().message)) return green(url + " is free");
  if (reply && reply->body.find("onebit_landing_") != std::string::npos)
    return green(fmt::format("1bit-landing answers at {}", url));
  return taken("1bit-landing", url, "ONEBIT_LANDING_PORT");
}

Finding check_services(const DoctorOptions& /*options*/) {
  const auto units = unit_states();
  if (!units) return yellow(units.error().message, "without systemd, nothing starts the server again where it fails");
  std::vector<std::string> texts;
  for (const auto& unit : *units)
    texts.push_back(fmt::format("{} {}", unit.name, unit.is_loaded() ? unit.active : unit.load));
  const auto text = fmt::format("{}", fmt::join(texts, ", "));
  const auto server = unit_named(*units, kServerUnit), socket = unit_named(*units, kSocketUnit),
             landing = unit_named(*units, kLandingUnit);
  for (const auto& unit : *units)
    if (unit.active == "failed")
      return red(fmt::format("{} failed ({})", unit.name, unit.result), fmt::format("halo logs; then halo restart"));
  if (!server.is_loaded())
    return yellow(text,
                  "install the package, or the files of packaging/systemd, to have the server started with the box");
  if (!server.is_active() && !socket.is_active())
    return yellow(text, fmt::format("sudo systemctl enable --now {}", kServerUnit));
  if (landing.is_loaded() && !landing.is_active())
    return yellow(text, fmt::format("sudo systemctl enable --now {}", kLandingUnit));
  return green(text);
}

Finding check_versions(const DoctorOptions& options) {
  const auto kernel = printable(first_line_of(options.roots.path("/proc/sys/kernel/osrelease")), 80);
  const auto text = fmt::format("halo {}, Linux {}, glibc {}", options.version, kernel.empty() ? "unknown" : kernel,
                                ::gnu_get_libc_version());
  const auto settings = read_service_settings(options.roots);
  if (const auto facts = sleeps() ? ServerFacts() : ask_server(settings.server_url(), settings.api_key, kAnswerTime);
      facts.ours && !facts.version.empty() && facts.version != options.version)
    return yellow(fmt::format("{}; the server that runs is {}", text, facts.version), "sudo halo restart");
  // A package's revision follows the last hyphen.
  const auto package = installed_version().value_or("");
  if (!package.empty() && package.substr(0, package.rfind('-')) != options.version)
    return yellow(fmt::format("{}; the package that is installed is {}", text, package),
                  "another halo stands before it on $PATH: see 'type -a halo'");
  if (find_program("1bit-server")) {
    const auto told = output_of({"1bit-server", "--version"}, std::chrono::seconds(5));
    if (told && told->find(options.version) == std::string::npos)
      return yellow(fmt::format("{}; 1bit-server is '{}'", text, printable(*told, 80)),
                    "install programs of one version: see 'type -a 1bit-server halo'");
  }
  return green(package.empty() ? text : fmt::format("{}, package {}", text, package));
}

}  // namespace onebit::box
