#include "hub/pull.h"

#include <algorithm>
#include <filesystem>
#include <iterator>

#include "base/mapped_file.h"
#include "base/utf8.h"
#include "format/import/json.h"
#include "hub/folder_lock.h"
#include "hub/keep_only.h"
#include "hub/space.h"

namespace onebit::hub {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostListingBytes = size_t{32} << 20;  // of a page
constexpr size_t kMostPages = 100;

/// A revision as one part of a URL's path.
std::string revision_path(const std::string& revision) {
  auto path = url_path(revision);
  for (size_t at = 0; (at = path.find('/', at)) != std::string::npos;) path.replace(at, 1, "%2F");
  return path;
}

/// The URL of `<URL>; rel="next"` in a Link header; empty where there is none.
std::string next_page(const std::string& link) {
  const size_t rel = link.find("rel=\"next\"");
  if (rel == std::string::npos) return {};
  const size_t begin = link.rfind('<', rel);
  const size_t end = begin == std::string::npos ? begin : link.find('>', begin);
  return end == std::string::npos || end > rel ? std::string() : link.substr(begin + 1, end - begin - 1);
}

/// A pull that ended before it fetched anything leaves no folder. To be destroyed before the folder's lock.
class EmptyFolderRemoval {
 public:
  explicit EmptyFolderRemoval(const std::string& folder) : folder_(folder) {}
  EmptyFolderRemoval(const EmptyFolderRemoval&) = delete;
  EmptyFolderRemoval& operator=(const EmptyFolderRemoval&) = delete;
  ~EmptyFolderRemoval() { remove_if_empty(folder_); }

 private:
  const std::string& folder_;
};

class Puller {
 public:
  Puller(const PullOptions& options, const PullProgress& progress, Fetcher fetcher)
      : options_(options), progress_(progress), fetcher_(std::move(fetcher)), what_(options.repo.text()) {}

  Result<Pulled> run();

 private:
  std::string api(std::string_view rest) const {
    return fmt::format("{}/api/models/{}/{}", fetcher_.endpoint(), options_.repo.text(), rest);
  }
  Status check_is_api(std::string_view answer) const;
  Result<Listing> list();
  Result<Listing> list_tree(const std::string& revision);
  Status fetch(const RepoFile& file, Pulled& pulled);
  Status check_space(const std::vector<RepoFile>& files) const;
  Status add_shards(Choice& choice, const Listing& listing, Pulled& pulled);
  std::string path_of(const RepoFile& file) const { return (fs::path(options_.folder) / file.path).string(); }

  const PullOptions& options_;
  const PullProgress& progress_;
  Fetcher fetcher_;
  std::string what_;
  std::string revision_;
  uint64_t total_ = 0;
};

/// Of another kind of host, or of a proxy that wants a login, one gets a page.
Status Puller::check_is_api(std::string_view answer) const {
  if (!trim_white_space(answer).starts_with('<')) return {};
  return fail(
      "{}: {} answers with a page (HTML): this is not the API of a Hugging Face host; look at --endpoint and "
      "$HF_ENDPOINT, and whether a proxy wants a login first",
      what_, fetcher_.endpoint());
}

Result<Listing> Puller::list_tree(const std::string& revision) {
  ASSIGN_OR_RETURN(const auto origin, origin_of(fetcher_.endpoint()));
  auto url = api(fmt::format("tree/{}?recursive=true", revision_path(revision)));
  Listing listing;
  for (size_t page = 0; page < kMostPages; ++page) {
    ASSIGN_OR_RETURN(const auto text, get_text(fetcher_, options_.host, url, what_, kMostListingBytes));
    if (!text)
      return fail(
          "{}: {} has no such repository or revision '{}' (404): look at both, and at $HF_TOKEN if it is private",
          what_, fetcher_.endpoint(), options_.revision);
    RETURN_IF_ERROR(check_is_api(text->body));
    ASSIGN_OR_RETURN(auto files, parse_tree(text->body, what_));
    RETURN_IF_ERROR(append_page(listing, std::move(files), what_));
    url = next_page(text->head.link);
    if (url.empty()) return listing;
    if (url.starts_with('/')) url.insert(0, origin);
    const auto next = origin_of(url);
    if (!next || *next != origin)
      return fail("{}: the listing goes on at '{}', which is another host: refused", what_, printable(url, 80));
  }
  return fail("{}: the listing has more than {} pages", what_, kMostPages);
}

/// By the call that names the commit, so that all files are of the same one; where a host has not that, or leaves out
/// sizes there, by the files' tree.
Result<Listing> Puller::list() {
  const auto url = api(fmt::format("revision/{}?blobs=true", revision_path(options_.revision)));
  ASSIGN_OR_RETURN(const auto info, get_text(fetcher_, options_.host, url, what_, kMostListingBytes));
  revision_ = options_.revision;
  Listing listing;
  if (info) {
    RETURN_IF_ERROR(check_is_api(info->body));
    ASSIGN_OR_RETURN(listing, parse_model_info(info->body, what_));
    if (!listing.commit.empty()) revision_ = listing.commit;
    if (listing.has_sizes) return listing;
  }
  ASSIGN_OR_RETURN(auto tree, list_tree(revision_));
  tree.commit = listing.commit;
  return tree;
}

/// Space for what is still to come and, beside it, the converted model.
Status Puller::check_space(const std::vector<RepoFile>& files) const {
  uint64_t missing = 0, all = 0;
  for (const auto& file : files) {
    missing += file.size - std::min(file.size, bytes_on_disk(path_of(file)));
    all += file.size;
  }
  const bool converted = !files.back().path.ends_with(".h1b");
  const uint64_t needed = missing + (converted ? most_converted_bytes(all) : 0);
  ASSIGN_OR_RETURN(const uint64_t available, free_space(options_.folder));
  if (needed <= available) return {};
  return fail(
      "{}: needs {} ({} to fetch, at most {} for the converted model), and {} has {} free: make room, or choose "
      "another "
      "folder",
      what_, size_text(needed), size_text(missing), size_text(needed - missing), options_.folder, size_text(available));
}

Status Puller::fetch(const RepoFile& file, Pulled& pulled) {
  const auto path = path_of(file);
  if (file.path.find('/') != std::string::npos) {
    std::error_code error;
    fs::create_directories(fs::path(path).parent_path(), error);
    if (error) return fail("{}: cannot make its folder: {}", path, error.message());
  }
  Download download_of{.url = fmt::format("{}/{}/resolve/{}/{}", fetcher_.endpoint(), options_.repo.text(),
                                          revision_path(revision_), url_path(file.path)),
                       .path = path,
                       .file = file,
                       .repo = what_,
                       .sizes = options_.sizes};
  const DownloadProgress progress = [&](uint64_t done, std::string_view phase) {
    if (progress_) progress_({pulled.bytes + done, total_, phase, file.path});
  };
  ASSIGN_OR_RETURN(const auto done, download(fetcher_, options_.host, download_of, progress));
  pulled.bytes += file.size;
  pulled.kept += done.kept;
  if (!done.verified) pulled.unverified.push_back(file.path);
  return {};
}

/// Fetches the index, and adds what it names.
Status Puller::add_shards(Choice& choice, const Listing& listing, Pulled& pulled) {
  const auto index = std::find_if(choice.files.begin(), choice.files.end(),
                                  [](const RepoFile& file) { return file.path == kIndexName; });
  if (index == choice.files.end()) return {};
  const auto path = path_of(*index);
  RETURN_IF_ERROR(fetch(*index, pulled));
  choice.files.erase(index);
  ASSIGN_OR_RETURN(const auto text, read_text_file(path, kMaxJsonBytes));
  ASSIGN_OR_RETURN(auto shards, shards_of_index(text, listing, fmt::format("{}: {}", what_, kIndexName)));
  std::move(shards.begin(), shards.end(), std::back_inserter(choice.files));
  return {};
}

Result<Pulled> Puller::run() {
  ASSIGN_OR_RETURN(const auto listing, list());
  ASSIGN_OR_RETURN(auto choice, choose_files(listing, options_.file, what_));
  for (const auto& file : choice.files)
    if (choice.kind == Choice::Kind::kSafetensors && !file.path.ends_with(".safetensors") && file.size > kMaxJsonBytes)
      return fail("{}: {} has {} bytes, which is more than any such file: not fetched", what_, printable(file.path),
                  file.size);
  std::error_code error;
  fs::create_directories(options_.folder, error);
  if (error) return fail("{}: cannot make the folder: {}", options_.folder, error.message());
  ASSIGN_OR_RETURN(auto lock, FolderLock::take(options_.folder));
  const EmptyFolderRemoval no_trace(options_.folder);
  auto chosen = choice.files;
  Pulled pulled{.kind = choice.kind, .path = {}, .commit = listing.commit, .bytes = 0, .kept = 0, .unverified = {}};
  RETURN_IF_ERROR(add_shards(choice, listing, pulled));
  chosen.insert(chosen.end(), choice.files.begin(), choice.files.end());  // `chosen` has the index, too
  RETURN_IF_ERROR(keep_only(options_.folder, chosen));
  RETURN_IF_ERROR(check_space(choice.files));
  total_ = pulled.bytes;
  for (const auto& file : choice.files) total_ += file.size;
  for (const auto& file : choice.files) RETURN_IF_ERROR(fetch(file, pulled));
  pulled.path = choice.kind == Choice::Kind::kSafetensors ? options_.folder : path_of(choice.files.front());
  pulled.lock.emplace(std::move(lock));
  return pulled;
}

}  // namespace

bool can_pull() {
  return true;
}

Result<Pulled> pull(const PullOptions& options, const PullProgress& progress) {
  RETURN_IF_ERROR(check_revision(options.revision));
  ASSIGN_OR_RETURN(auto fetcher, Fetcher::open(options.host));
  return Puller(options, progress, std::move(fetcher)).run();
}

Result<uint64_t> free_space(const std::string& folder) {
  std::error_code error;
  const auto space = fs::space(folder, error);
  if (error) return fail("{}: cannot tell how much space is free: {}", folder, error.message());
  return space.available;
}

}  // namespace onebit::hub
