// Fetching what a model is made of from a Hugging-Face-shaped host into a folder.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "hub/download.h"
#include "hub/fetch.h"
#include "hub/folder_lock.h"
#include "hub/repo.h"

namespace onebit::hub {

struct PullOptions {
  HostOptions host;
  RepoName repo;
  std::string revision = "main";
  std::string file;    // a .gguf or .h1b in the repository; empty: choose_files() decides
  std::string folder;  // where the files go; made where it is not there. One pull at a time may use it
  DownloadSizes sizes{};
};

struct PullState {
  uint64_t done = 0, total = 0;  // bytes of all files
  std::string_view phase;        // "fetching", "waiting", "checking"
  std::string_view file;
};
using PullProgress = std::function<void(const PullState&)>;

struct Pulled {
  Choice::Kind kind = Choice::Kind::kSafetensors;
  std::string path;                     // the folder of a safetensors model, else the file
  std::string commit;                   // empty where the host does not say it
  uint64_t bytes = 0, kept = 0;         // in all; that were there before
  std::vector<std::string> unverified;  // files of which the host told no hash
  std::optional<FolderLock> lock{};     // of the folder: to be kept while the files are used
};

/// True in a program that was built with libcurl and OpenSSL; pull() fails in others.
bool can_pull();

/// Errors: what the host says or does not say, no space, a stop. What was fetched stays in the folder, and the same
/// call goes on there.
Result<Pulled> pull(const PullOptions& options, const PullProgress& progress);

/// The free bytes where `folder` is or will be.
Result<uint64_t> free_space(const std::string& folder);

}  // namespace onebit::hub
