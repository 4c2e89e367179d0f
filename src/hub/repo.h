// A repository of a Hugging-Face-shaped host as its API describes it, and which of its files a model is made of. All
// that the host says is any bytes: names are checked before anything is done with them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace onebit::hub {

struct RepoName {
  std::string owner;
  std::string name;

  std::string text() const { return owner + "/" + name; }
};

/// "OWNER/NAME". Letters, digits, '.', '_' and '-' only, and no "..": either part can stand in a URL and be a file's
/// name.
Result<RepoName> parse_repo_name(std::string_view text);

/// A branch, tag or commit: the same characters and '/', at most 255.
Status check_revision(std::string_view revision);

struct RepoFile {
  std::string path;   // inside the repository, checked: relative, without "..", valid UTF-8, without control characters
  uint64_t size = 0;  // bytes
  std::string sha256;    // 64 hex digits, of the contents; empty where the host tells none
  std::string git_sha1;  // 40 hex digits, of git's blob of the contents; for files that are in git themselves
};

struct Listing {
  std::string commit;           // 40 hex digits, where the answer names it
  std::vector<RepoFile> files;  // each path once
  bool has_sizes = true;        // false: the host has left them out, and they are all 0
};

inline constexpr size_t kMostListedFiles = 100'000;

/// The answer to /api/models/OWNER/NAME/revision/REVISION?blobs=true. `what` begins the errors.
Result<Listing> parse_model_info(std::string_view json, std::string_view what);
/// A page of the answer to /api/models/OWNER/NAME/tree/REVISION?recursive=true.
Result<Listing> parse_tree(std::string_view json, std::string_view what);
/// Puts the files of a further page to those of `listing`.
Status append_page(Listing& listing, Listing page, std::string_view what);

/// What is fetched of a repository.
struct Choice {
  enum class Kind { kSafetensors, kGguf, kH1b };
  Kind kind = Kind::kSafetensors;
  std::vector<RepoFile> files;  // kSafetensors: the small ones first, shards only once the index is known; else one
};

/// `wanted`: a .gguf or .h1b file's path in the repository; empty: the .h1b file, else the safetensors folder at the
/// top, else the .gguf file, where there is exactly one.
Result<Choice> choose_files(const Listing& listing, const std::string& wanted, std::string_view what);

inline constexpr std::string_view kIndexName = "model.safetensors.index.json";
/// The shards that an index names, each of them a file of the listing.
Result<std::vector<RepoFile>> shards_of_index(std::string_view json, const Listing& listing, std::string_view what);

}  // namespace onebit::hub
