// Where models are found by name.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "hub/repo.h"

namespace onebit::halo {

/// Folders that are searched, in order: those of $HALO_MODELS (separated by colons), $XDG_DATA_HOME/1bit/models
/// (~/.local/share/…), then 1bit/models in $XDG_DATA_DIRS (/usr/local/share, /usr/share), then the models beside
/// the program.
std::vector<std::string> model_folders();

/// Of those, the user's own: the ones of $HALO_MODELS and $XDG_DATA_HOME. In the first, `halo pull` puts models; in
/// these only, `halo rm` removes any.
std::vector<std::string> own_model_folders();

struct FoundModel {
  std::string name;  // file name without .h1b
  std::string path;
};

/// Every .h1b file in the folders, sorted by name; of equal names the one found first.
std::vector<FoundModel> find_models();

/// The file that `given` means: a path where it is one (it exists, holds a slash or ends in .h1b), else a name.
/// Empty: $HALO_MODEL, else the bundled model.
Result<std::string> model_path(const std::string& given);

/// Where `halo pull OWNER/NAME` keeps what it has fetched until that is converted: FOLDER/.downloads/OWNER--NAME.
std::string download_folder(const std::string& models_folder, const hub::RepoName& repo);

/// What a pull has left: that it was not finished, or was told to keep.
struct PullFolder {
  std::string name;    // OWNER/NAME
  std::string path;    // its download_folder()
  uint64_t bytes = 0;  // that have been fetched
  bool kept = false;   // the model was made of it
};
/// In the user's own folders, sorted by name; none that takes no space.
std::vector<PullFolder> find_pull_folders();

/// Says in a download folder that the model was made of what is there. The next pull into it takes that back.
Status mark_kept(const std::string& folder);

}  // namespace onebit::halo
