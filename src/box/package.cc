#include "box/package.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <vector>

#include "base/atomic_file.h"
#include "base/utf8.h"
#include "box/services.h"

namespace onebit::box {
namespace {

namespace fs = std::filesystem;

constexpr auto kAskDpkg = std::chrono::seconds(30);
constexpr auto kInstallTime = std::chrono::minutes(30);  // a package may wait for another's lock, and for disks
// Not below the server's state folder, which is the service's own: what root installs, no service may write.
constexpr char kKept[] = "/var/lib/halo/packages";

/// The packages that are kept: of what is installed, of what was before, and the one being installed.
class Kept {
 public:
  static Result<Kept> open(const Roots& roots) {
    Kept kept{roots.path(kKept)};
    std::error_code error;
    fs::create_directories(kept.folder_, error);
    if (!error) ::chmod(kept.folder_.c_str(), 0755);
    if (error || ::access(kept.folder_.c_str(), W_OK) != 0)
      return fail("{}: cannot be written{}", kept.folder_, needs_root("halo update or rollback"));
    return kept;
  }
  std::string installed() const { return folder_ + "/installed.deb"; }
  std::string previous() const { return folder_ + "/previous.deb"; }
  std::string coming() const { return folder_ + "/coming.deb"; }
  const std::string& folder() const { return folder_; }

 private:
  explicit Kept(std::string folder) : folder_(std::move(folder)) {}
  std::string folder_;
};

Status copy_whole(const std::string& from, const std::string& to) {
  std::error_code error;
  if (!fs::is_regular_file(from, error)) return fail("{}: is no file", from);
  std::ifstream in(from, std::ios::binary);
  if (!in) return fail("{}: cannot be read: {}", from, std::strerror(errno));
  ASSIGN_OR_RETURN(auto file, AtomicFile::create(to, 0644));
  std::vector<char> buffer(1 << 20);
  while (in.read(buffer.data(), static_cast<std::streamsize>(buffer.size())) || in.gcount() > 0)
    RETURN_IF_ERROR(file.write(std::as_bytes(std::span(buffer.data(), static_cast<size_t>(in.gcount())))));
  if (in.bad()) return fail("{}: cannot be read", from);
  return file.commit();
}

Status move_over(const std::string& from, const std::string& to) {
  std::error_code error;
  fs::rename(from, to, error);
  if (error) return fail("{}: cannot be renamed to {}: {}", from, to, error.message());
  return {};
}

/// The newest of the package that apt knows, or this version of it, as `to`.
Status download(const std::string& version, const Kept& kept, const std::string& to) {
  const auto folder = kept.folder() + "/download";
  std::error_code error;
  fs::remove_all(folder, error);
  fs::create_directories(folder, error);
  const auto what = version.empty() ? std::string(kPackageName) : fmt::format("{}={}", kPackageName, version);
  // It downloads into the folder it runs in, and has no option for another.
  const auto output =
      output_of({"sh", "-c", "cd \"$1\" && exec apt-get download \"$2\"", "sh", folder, what}, kInstallTime);
  if (!output) return fail("apt-get has no package {}: {}", what, output.error().message);
  std::vector<std::string> found;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    if (it->path().extension() == ".deb") found.push_back(it->path().string());
  if (found.size() != 1) return fail("apt-get download {}: left {} packages, not one", what, found.size());
  auto status = move_over(found[0], to);
  fs::remove_all(folder, error);
  return status;
}

bool is_newer(const std::string& version, const std::string& than) {
  return output_of({"dpkg", "--compare-versions", version, "gt", than}, kAskDpkg).has_value();
}

/// Installs a package file, whatever version is there, and asks nothing.
Status install(const std::string& file) {
  ::setenv("DEBIAN_FRONTEND", "noninteractive", 1);
  auto output = output_of({"apt-get", "install", "--yes", "--allow-downgrades", "--no-install-recommends", "-q", "-o",
                           "Dpkg::Options::=--force-confold", "-o", "DPkg::Lock::Timeout=300", file},
                          kInstallTime);
  if (!output) return fail("{}{}", output.error().message, needs_root("halo update or rollback"));
  return {};
}

/// What ran before, and is to run again.
struct Running {
  std::vector<std::string> units;
  bool server = false;  // or its socket: then asking starts it
};

Running what_runs(const UpdateOptions& options) {
  Running running;
  const auto units = unit_states();
  if (!units) {
    options.say(units.error().message + "; nothing is restarted or checked");
    return running;
  }
  for (const char* name : {kServerUnit, kLandingUnit})
    if (const auto unit = unit_named(*units, name);
        unit.is_active() || unit.active == "activating" || unit.active == "failed")
      running.units.emplace_back(name);
  running.server = unit_named(*units, kSocketUnit).is_active() ||
                   std::find(running.units.begin(), running.units.end(), kServerUnit) != running.units.end();
  if (!running.server) options.say("the server does not run: its health is not checked");
  return running;
}

Status restart_and_check(const Running& running, const UpdateOptions& options) {
  if (running.units.empty() && !running.server) return {};
  RETURN_IF_ERROR(control_units("daemon-reload", {}));
  if (!running.units.empty()) {
    options.say(fmt::format("restarting {}", fmt::join(running.units, ", ")));
    RETURN_IF_ERROR(control_units("restart", running.units));
  }
  if (running.server) RETURN_IF_ERROR(wait_for_health(options.url, options.health_time));
  return {};
}

Result<PackageFacts> ours(const std::string& file) {
  ASSIGN_OR_RETURN(auto facts, read_package(file));
  if (facts.name != kPackageName)
    return fail("{}: is the package {}, not {}", file, printable(facts.name), kPackageName);
  return facts;
}

/// Sees to it that the installed version's package is at hand.
Status keep_installed(const Kept& kept, const std::string& version, const UpdateOptions& options) {
  if (const auto facts = ours(kept.installed()); facts && facts->version == version) return {};
  if (!options.previous.empty()) {
    RETURN_IF_ERROR(copy_whole(options.previous, kept.installed()));
    ASSIGN_OR_RETURN(const auto facts, ours(kept.installed()));
    if (facts.version == version) return {};
    return fail("--previous {}: is version {}, and {} is installed", options.previous, printable(facts.version),
                version);
  }
  const auto status = download(version, kept, kept.installed());
  if (status) return {};
  if (options.without_rollback) {
    options.say(fmt::format("the package of {} is not at hand: there will be no way back", version));
    std::error_code ignored;
    fs::remove(kept.installed(), ignored);
    return {};
  }
  return fail(
      "the package of the installed version {} was not kept and {}: give its file with --previous, or "
      "--without-rollback to "
      "go on without a way back",
      version, status.error().message);
}

/// After a failed update.
Status go_back(const std::string& why, const Kept& kept, const std::string& version, const Running& running,
               const UpdateOptions& options) {
  std::error_code ignored;
  if (!fs::exists(kept.installed(), ignored)) return fail("{}; there is no package of {} to go back to", why, version);
  options.say(fmt::format("{}; going back to {}", why, version));
  if (auto status = install(kept.installed()); !status)
    return fail("{}; going back to {} failed too: {}; install {} by hand", why, version, status.error().message,
                kept.installed());
  fs::remove(kept.coming(), ignored);
  if (auto status = restart_and_check(running, options); !status)
    return fail("{}; {} is installed again, and that is not well either: {}", why, version, status.error().message);
  return fail("{}; {} is installed again{}", why, version, running.server ? " and healthy" : "");
}

Status need_programs(std::initializer_list<const char*> programs) {
  for (const char* program : programs)
    if (!find_program(program))
      return fail(
          "there is no {} on $PATH: packages are Debian's; elsewhere install the programs as they were installed",
          program);
  return {};
}

}  // namespace

Result<PackageFacts> read_package(const std::string& file) {
  ASSIGN_OR_RETURN(const auto text,
                   output_of({"dpkg-deb", "--field", file, "Package", "Version", "Architecture"}, kAskDpkg));
  PackageFacts facts;
  for (const auto& [key, member] : {std::pair{"Package: ", &PackageFacts::name},
                                    {"Version: ", &PackageFacts::version},
                                    {"Architecture: ", &PackageFacts::architecture}}) {
    const size_t at = text.starts_with(key) ? 0 : text.find(fmt::format("\n{}", key));
    if (at == std::string::npos) return fail("{}: has no field {}", file, key);
    const size_t begin = at + std::strlen(key) + (at == 0 && text.starts_with(key) ? 0 : 1);
    facts.*member = text.substr(begin, std::min(text.find('\n', begin), text.size()) - begin);
  }
  return facts;
}

Result<std::string> installed_version() {
  RETURN_IF_ERROR(need_programs({"dpkg-query"}));
  // It fails for a package it never heard of.
  const auto text =
      output_of({"dpkg-query", "--show", "--showformat=${db:Status-Status} ${Version}", kPackageName}, kAskDpkg);
  constexpr std::string_view kInstalled = "installed ";
  if (!text || !text->starts_with(kInstalled)) return std::string();
  return text->substr(kInstalled.size(), text->find('\n') - kInstalled.size());
}

Status update(const UpdateOptions& options) {
  RETURN_IF_ERROR(need_programs({"dpkg", "dpkg-deb", "dpkg-query", "apt-get"}));
  ASSIGN_OR_RETURN(const auto version, installed_version());
  if (version.empty())
    return fail("the package {} is not installed: 'apt-get install ./FILE.deb' is the first step", kPackageName);
  ASSIGN_OR_RETURN(const auto kept, Kept::open(options.roots));
  if (options.file.empty()) {
    if (auto lists = output_of({"apt-get", "update", "-q"}, kInstallTime); !lists)
      options.say(lists.error().message + "; going on with what apt knew before");
    RETURN_IF_ERROR(download("", kept, kept.coming()));
  } else {
    RETURN_IF_ERROR(copy_whole(options.file, kept.coming()));  // what is checked is what is installed
  }
  const auto coming = ours(kept.coming());
  if (!coming) return fail_in(options.file.empty() ? "apt-get download" : options.file, coming.error());
  if (coming->version == version) {
    options.say(fmt::format("{} is installed already", version));
    // What is installed was not kept when it was installed in another way; now it is.
    return move_over(kept.coming(), kept.installed());
  }
  if (!is_newer(coming->version, version))
    return fail("{} is older than {}, which is installed; 'halo rollback' goes back", coming->version, version);
  RETURN_IF_ERROR(keep_installed(kept, version, options));
  const auto running = what_runs(options);
  options.say(fmt::format("installing {} over {}", coming->version, version));
  if (auto status = install(kept.coming()); !status)
    return go_back(status.error().message, kept, version, running, options);
  if (auto status = restart_and_check(running, options); !status)
    return go_back(fmt::format("{} is not well: {}", coming->version, status.error().message), kept, version, running,
                   options);
  std::error_code error;
  if (fs::exists(kept.installed(), error)) RETURN_IF_ERROR(move_over(kept.installed(), kept.previous()));
  RETURN_IF_ERROR(move_over(kept.coming(), kept.installed()));
  options.say(fmt::format("{} is installed{}", coming->version, running.server ? " and healthy" : ""));
  return {};
}

Status roll_back(const UpdateOptions& options) {
  RETURN_IF_ERROR(need_programs({"dpkg", "dpkg-deb", "dpkg-query", "apt-get"}));
  ASSIGN_OR_RETURN(const auto version, installed_version());
  ASSIGN_OR_RETURN(const auto kept, Kept::open(options.roots));
  // An update that was cut off left the package of before where it was.
  const auto installed = ours(kept.installed());
  const bool cut_off = installed && installed->version != version;
  const auto target = cut_off ? kept.installed() : kept.previous();
  std::error_code error;
  if (!fs::exists(target, error))
    return fail("{}: there is no package of before; 'halo update' keeps one from the first update on", target);
  ASSIGN_OR_RETURN(const auto before, ours(target));
  const auto running = what_runs(options);
  options.say(fmt::format("installing {} over {}", before.version, version.empty() ? "nothing" : version));
  if (auto status = install(target); !status)
    return fail("{}; {} may be installed in part: install {} by hand", status.error().message, before.version, target);
  if (!cut_off && installed) {  // swapped, so that the same way leads forth again
    RETURN_IF_ERROR(move_over(kept.installed(), kept.coming()));
    RETURN_IF_ERROR(move_over(kept.previous(), kept.installed()));
    RETURN_IF_ERROR(move_over(kept.coming(), kept.previous()));
  } else if (!cut_off) {
    RETURN_IF_ERROR(move_over(kept.previous(), kept.installed()));
  }
  if (auto status = restart_and_check(running, options); !status)
    return fail("{} is installed and not well: {}", before.version, status.error().message);
  options.say(fmt::format("{} is installed{}", before.version, running.server ? " and healthy" : ""));
  return {};
}

}  // namespace onebit::box
