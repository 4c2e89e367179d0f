#include "hub/keep_only.h"

#include <filesystem>
#include <set>

#include "base/utf8.h"
#include "hub/part_record.h"

namespace onebit::hub {
namespace {

namespace fs = std::filesystem;

bool holds_any(const std::set<std::string>& paths, const std::string& folder) {
  const auto next = paths.lower_bound(folder + "/");
  return next != paths.end() && next->starts_with(folder + "/");
}

/// `inside` is the path from the download folder; empty, or with a '/' at its end.
Status prune(const fs::path& folder, const std::string& inside, const std::set<std::string>& kept) {
  std::error_code error;
  std::vector<fs::path> entries;  // first all, since what is removed while a folder is read may hide others
  for (auto it = fs::directory_iterator(folder, error); !error && it != fs::directory_iterator(); it.increment(error))
    entries.push_back(it->path());
  if (error) return fail("{}: cannot be read: {}", folder.string(), error.message());
  for (const auto& entry : entries) {
    const auto path = inside + entry.filename().string();
    const auto type = fs::symlink_status(entry, error).type();
    if (type == fs::file_type::regular && kept.contains(path)) continue;
    if (type == fs::file_type::directory && holds_any(kept, path)) {
      RETURN_IF_ERROR(prune(entry, path + "/", kept));
      continue;
    }
    fs::remove_all(entry, error);  // follows no links
    if (error)
      return fail("{}: is not of this model, and cannot be removed: {}", printable(entry.string(), 200),
                  error.message());
  }
  return {};
}

}  // namespace

Status keep_only(const std::string& folder, std::span<const RepoFile> files) {
  std::set<std::string> kept;
  for (const auto& file : files) kept.insert({file.path, part_path(file.path), record_path(file.path)});
  return prune(folder, "", kept);
}

void remove_if_empty(const std::string& folder) {
  std::error_code error;
  for (auto it = fs::recursive_directory_iterator(folder, error); !error && it != fs::recursive_directory_iterator();
       it.increment(error))
    if (it->symlink_status(error).type() != fs::file_type::directory) return;
  if (!error) fs::remove_all(folder, error);
}

}  // namespace onebit::hub
