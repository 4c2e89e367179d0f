#include "halo/models.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>

#include "base/atomic_file.h"
#include "halo/suggest.h"
#include "hub/part_record.h"

namespace onebit::halo {
namespace {

namespace fs = std::filesystem;
constexpr std::string_view kExtension = ".h1b";
constexpr const char* kDownloads = ".downloads";
constexpr std::string_view kBetween = "--";  // owner and name, neither of which can hold it
constexpr const char* kKeptMark = ".kept";   // in a download folder
constexpr const char* kBundled = "tiny-bitnet";

std::string environment(const char* name, const std::string& fallback) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : fallback;
}

void add_split(std::vector<std::string>& folders, const std::string& list, const std::string& suffix) {
  for (size_t begin = 0; begin <= list.size();) {
    const size_t end = std::min(list.find(':', begin), list.size());
    if (end > begin) folders.push_back(list.substr(begin, end - begin) + suffix);
    begin = end + 1;
  }
}

/// True where a file in the folder has a size: an unfinished one as soon as its space is reserved.
bool takes_space(const fs::path& folder) {
  std::error_code error;
  for (auto it = fs::recursive_directory_iterator(folder, error); !error && it != fs::recursive_directory_iterator();
       it.increment(error)) {
    std::error_code none;
    const auto path = it->path().string();
    if (it->symlink_status(none).type() == fs::file_type::regular && !path.ends_with(hub::record_path("")) &&
        it->file_size(none) > 0 && !none)
      return true;
  }
  return false;
}

}  // namespace

std::vector<std::string> own_model_folders() {
  std::vector<std::string> folders;
  add_split(folders, environment("HALO_MODELS", ""), "");
  const auto home = environment("HOME", "");
  const auto data_home = environment("XDG_DATA_HOME", home.empty() ? "" : home + "/.local/share");
  if (!data_home.empty()) folders.push_back(data_home + "/1bit/models");
  return folders;
}

std::vector<std::string> model_folders() {
  auto folders = own_model_folders();
  add_split(folders, environment("XDG_DATA_DIRS", "/usr/local/share:/usr/share"), "/1bit/models");
  std::error_code error;
  const auto program = fs::read_symlink("/proc/self/exe", error).parent_path();
  for (const char* place : {"../share/1bit/models", "../../../models"})  // an installation; a build inside the sources
    folders.push_back((program / place).lexically_normal().string());
  return folders;
}

std::vector<FoundModel> find_models() {
  std::map<std::string, std::string> found;
  for (const auto& folder : model_folders()) {
    std::error_code error;
    for (auto it = fs::directory_iterator(folder, error); !error && it != fs::directory_iterator(); it.increment(error))
      if (it->path().extension() == kExtension) found.emplace(it->path().stem().string(), it->path().string());
  }
  std::vector<FoundModel> models;
  models.reserve(found.size());
  for (const auto& [name, path] : found) models.push_back({name, path});
  return models;
}

std::string download_folder(const std::string& models_folder, const hub::RepoName& repo) {
  return fmt::format("{}/{}/{}{}{}", models_folder, kDownloads, repo.owner, kBetween, repo.name);
}

Status mark_kept(const std::string& folder) {
  ASSIGN_OR_RETURN(auto mark, AtomicFile::create((fs::path(folder) / kKeptMark).string()));
  return mark.commit();
}

std::vector<PullFolder> find_pull_folders() {
  std::vector<PullFolder> found;
  for (const auto& models : own_model_folders()) {
    std::error_code error;
    const auto downloads = fs::path(models) / kDownloads;
    for (auto it = fs::directory_iterator(downloads, error); !error && it != fs::directory_iterator();
         it.increment(error)) {
      auto name = it->path().filename().string();
      const size_t between = name.find(kBetween);
      if (between == std::string::npos || it->symlink_status(error).type() != fs::file_type::directory) continue;
      name.replace(between, kBetween.size(), "/");
      if (!hub::parse_repo_name(name) || !takes_space(it->path())) continue;
      std::error_code none;
      const bool kept = fs::exists(it->path() / kKeptMark, none);
      found.push_back({std::move(name), it->path().string(), hub::fetched_bytes(it->path().string()), kept});
    }
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return found;
}

Result<std::string> model_path(const std::string& given) {
  auto chosen = given.empty() ? environment("HALO_MODEL", "") : given;
  std::error_code error;
  if (!chosen.empty() &&
      (chosen.find('/') != std::string::npos || chosen.ends_with(kExtension) || fs::exists(chosen, error)))
    return chosen;
  const auto name = chosen.empty() ? std::string(kBundled) : chosen;
  const auto models = find_models();
  std::vector<std::string> names;
  for (const auto& model : models) {
    if (model.name == name) return model.path;
    names.push_back(model.name);
  }
  if (chosen.empty()) return fail("no bundled model beside the program; name one with -m FILE or $HALO_MODEL");
  const auto near = nearest(name, names);
  return fail("{}: no file and no model of this name{} (halo list shows the models and where they are sought)", name,
              near.empty() ? "" : fmt::format("; did you mean '{}'?", near));
}

}  // namespace onebit::halo
