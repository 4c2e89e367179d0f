#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iostream>

#include "base/utf8.h"
#include "halo/commands.h"
#include "halo/common.h"
#include "halo/models.h"
#include "halo/suggest.h"
#include "hub/folder_lock.h"
#include "hub/space.h"

namespace onebit::halo {
namespace {

namespace fs = std::filesystem;

struct RemoveArguments {
  std::vector<std::string> names;
  bool yes = false;
};

/// What a name stands for: a model's file, or the folder of a pull that was not finished or kept.
struct Removal {
  std::string path;
  uint64_t bytes = 0;
  bool folder = false;
};

Result<Removal> find_pull(const std::string& name) {
  for (const auto& pull : find_pull_folders())
    if (pull.name == name) return Removal{pull.path, pull.bytes, true};
  return fail(
      "{}: no unfinished or kept pull of this name; models are removed by name, never by path (halo list shows both)",
      printable(name, 80));
}

Result<Removal> find_removal(const std::string& name) {
  if (name.find('/') != std::string::npos) return find_pull(name);
  for (const auto& folder : own_model_folders()) {
    auto path = fmt::format("{}/{}.h1b", folder, name);
    std::error_code error;
    const auto type = fs::symlink_status(path, error).type();
    if (type == fs::file_type::not_found) continue;
    if (type != fs::file_type::regular && type != fs::file_type::symlink)
      return fail("{}: is no file: not removed", path);
    const auto bytes = type == fs::file_type::regular ? fs::file_size(path, error) : 0;
    return Removal{std::move(path), error ? 0 : bytes, false};
  }
  std::vector<std::string> names;
  for (const auto& model : find_models()) {
    if (model.name == name)
      return fail("{}: is {}, outside your own folders of models ({}): not removed", name, model.path,
                  fmt::join(own_model_folders(), ", "));
    names.push_back(model.name);
  }
  const auto near = nearest(name, names);
  return fail("{}: no model of this name in your folders{}", printable(name, 80),
              near.empty() ? "" : fmt::format("; did you mean '{}'?", near));
}

/// Asks on the terminal; where there is none, only --yes will do.
Result<bool> confirmed(const Removal& removal) {
  if (::isatty(STDIN_FILENO) == 0)
    return fail("{}: nobody to ask whether it shall go: say so with --yes", removal.path);
  fmt::print(stderr, "remove {} ({})? [y/N] ", removal.path, hub::size_text(removal.bytes));
  std::string answer;
  std::getline(std::cin, answer);
  return answer == "y" || answer == "Y" || answer == "yes";
}

Status remove(const Removal& removal) {
  std::error_code error;
  if (removal.folder) {
    ASSIGN_OR_RETURN(const auto lock, hub::FolderLock::take(removal.path));
    fs::remove_all(removal.path, error);
    std::error_code ignored;
    fs::remove(fs::path(removal.path).parent_path(), ignored);  // where it was the last one
  } else {
    fs::remove(removal.path, error);
  }
  if (error) return fail("{}: cannot remove: {}", removal.path, error.message());
  fmt::print("removed {}\n", removal.path);
  return {};
}

Status remove_all(const RemoveArguments& a) {
  std::vector<Removal> removals;
  for (const auto& name : a.names) {  // all are known to be there before one goes
    ASSIGN_OR_RETURN(auto removal, find_removal(name));
    const bool again =
        std::any_of(removals.begin(), removals.end(), [&](const Removal& r) { return r.path == removal.path; });
    if (!again) removals.push_back(std::move(removal));
  }
  for (const auto& removal : removals) {
    bool go = a.yes;
    if (!go) {
      ASSIGN_OR_RETURN(go, confirmed(removal));
    }
    if (go) RETURN_IF_ERROR(remove(removal));
  }
  return {};
}

}  // namespace

void add_rm(CLI::App& app, int& exit_code) {
  auto a = std::make_shared<RemoveArguments>();
  auto* command = app.add_subcommand("rm", "Remove models, or what pulls have left");
  command
      ->add_option("names", a->names, "Models' names, or OWNER/NAME of an unfinished or kept pull, as halo list shows")
      ->required()
      ->check([](const std::string& name) { return name.empty() ? "expected a name" : ""; })
      ->type_name("NAME");
  command->add_flag("-y,--yes", a->yes, "Do not ask");
  command->footer(
      "Removes from your own folders only: those of $HALO_MODELS and $XDG_DATA_HOME/1bit/models (~/.local/share).");
  command->callback([a, &exit_code] {
    if (auto status = remove_all(*a); !status) exit_code = report(status.error());
  });
}

}  // namespace onebit::halo
