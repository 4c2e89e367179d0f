#include "hub/repo.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "base/utf8.h"
#include "format/import/json.h"

namespace onebit::hub {
namespace {

using nlohmann::json;

bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

bool is_hex(std::string_view text, size_t digits) {
  return text.size() == digits &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool is_name_part(std::string_view part) {
  constexpr size_t kLongest = 96;  // the real host's limit
  return !part.empty() && part.size() <= kLongest && part.front() != '.' && part.front() != '-' &&
         part.find("..") == std::string_view::npos && part.find("--") == std::string_view::npos &&
         std::all_of(part.begin(), part.end(), is_name_character);
}

/// Relative, of plain components, nothing that a terminal or a file system takes for more than a name.
bool is_repo_path(std::string_view path) {
  constexpr size_t kLongestPath = 1024, kLongestPart = 255;
  if (path.empty() || path.size() > kLongestPath || !utf8_valid(path)) return false;
  if (std::any_of(path.begin(), path.end(), [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 0x7f; }))
    return false;
  if (path.find('\\') != std::string_view::npos) return false;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const auto part = path.substr(begin, end - begin);
    if (part.empty() || part.size() > kLongestPart || part == "." || part == "..") return false;
    begin = end + 1;
  }
  return true;
}

std::string text_at(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

/// The file of an entry whose path is at `path_key`. Its hash is at `sha_key` of its "lfs", where it has one, else it
/// is in git and its blob's at `blob_key`.
Result<RepoFile> read_file(const json& entry, const char* path_key, const char* sha_key, const char* blob_key,
                           bool& has_size) {
  RepoFile file{.path = text_at(entry, path_key), .size = 0, .sha256 = {}, .git_sha1 = {}};
  if (!is_repo_path(file.path))
    return fail("lists '{}', which is no path inside a repository: nothing of it is fetched", printable(file.path));
  const auto lfs = entry.find("lfs");
  const bool is_lfs = lfs != entry.end() && lfs->is_object();
  const json& sized = is_lfs && lfs->contains("size") ? *lfs : entry;
  const auto size = sized.find("size");
  has_size = size != sized.end() && !size->is_null();
  if (has_size) {
    if (!size->is_number_unsigned() || size->get<uint64_t>() > uint64_t{1} << 50)
      return fail("{}: size is {}, expected a whole number of bytes", printable(file.path), printable(size->dump()));
    file.size = size->get<uint64_t>();
  }
  const auto hash = is_lfs ? text_at(*lfs, sha_key) : text_at(entry, blob_key);
  if (!hash.empty() && !is_hex(hash, is_lfs ? 64 : 40))
    return fail("{}: its hash is '{}', expected {} hex digits", printable(file.path), printable(hash),
                is_lfs ? 64 : 40);
  (is_lfs ? file.sha256 : file.git_sha1) = hash;
  return file;
}

Status add(Listing& listing, std::set<std::string>& seen, RepoFile file) {
  if (!seen.insert(file.path).second) return fail("lists {} twice", printable(file.path));
  if (seen.size() > kMostListedFiles) return fail("lists more than {} files", kMostListedFiles);
  listing.files.push_back(std::move(file));
  return {};
}

const RepoFile* find(const Listing& listing, std::string_view path) {
  const auto it =
      std::find_if(listing.files.begin(), listing.files.end(), [&](const RepoFile& file) { return file.path == path; });
  return it == listing.files.end() ? nullptr : &*it;
}

std::vector<const RepoFile*> with_extension(const Listing& listing, std::string_view extension) {
  std::vector<const RepoFile*> found;
  for (const auto& file : listing.files)
    if (file.path.ends_with(extension)) found.push_back(&file);
  return found;
}

/// "a.gguf, b.gguf, … (12 in all)", for an error.
std::string some_names(const std::vector<const RepoFile*>& files) {
  constexpr size_t kShown = 4;
  std::string text;
  for (size_t i = 0; i < std::min(kShown, files.size()); ++i)
    text += (i == 0 ? "" : ", ") + printable(files[i]->path, 60);
  return files.size() > kShown ? fmt::format("{}, … ({} in all)", text, files.size()) : text;
}

Result<Choice> choose_wanted(const Listing& listing, const std::string& wanted, std::string_view what) {
  const auto* file = find(listing, wanted);
  const bool gguf = wanted.ends_with(".gguf");
  if (!gguf && !wanted.ends_with(".h1b"))
    return fail("{}: '{}' is no .gguf or .h1b file; without --file the safetensors are fetched", what,
                printable(wanted));
  if (file == nullptr) {
    const auto others = with_extension(listing, gguf ? ".gguf" : ".h1b");
    return fail("{}: has no file '{}'{}", what, printable(wanted),
                others.empty() ? "" : fmt::format("; it has {}", some_names(others)));
  }
  return Choice{gguf ? Choice::Kind::kGguf : Choice::Kind::kH1b, {*file}};
}

/// What the converter reads besides the weights (src/format/import), and what tokenizers of other makes consist of.
constexpr std::array kSmallFiles{"config.json",
                                 "generation_config.json",
                                 "tokenizer.json",
                                 "tokenizer.model",
                                 "tokenizer_config.json",
                                 "special_tokens_map.json",
                                 "added_tokens.json",
                                 "vocab.json",
                                 "merges.txt",
                                 "chat_template.json",
                                 "chat_template.jinja",
                                 "modules.json",
                                 "1_Pooling/config.json",
                                 "model.safetensors.index.json"};

std::optional<Choice> choose_safetensors(const Listing& listing) {
  const auto* weights = find(listing, "model.safetensors");
  const bool sharded = find(listing, kIndexName) != nullptr;
  if (find(listing, "config.json") == nullptr || (weights == nullptr && !sharded)) return std::nullopt;
  Choice choice;
  for (const auto* name : kSmallFiles)
    if (const auto* file = find(listing, name)) choice.files.push_back(*file);
  if (!sharded) choice.files.push_back(*weights);
  return choice;
}

}  // namespace

Result<RepoName> parse_repo_name(std::string_view text) {
  const size_t slash = text.find('/');
  if (slash != std::string_view::npos) {
    const auto owner = text.substr(0, slash), name = text.substr(slash + 1);
    if (is_name_part(owner) && is_name_part(name)) return RepoName{std::string(owner), std::string(name)};
  }
  return fail("'{}' is no repository: expected OWNER/NAME, such as microsoft/bitnet-b1.58-2B-4T", printable(text, 80));
}

Status check_revision(std::string_view revision) {
  constexpr size_t kLongest = 255;
  if (!revision.empty() && revision.size() <= kLongest && is_repo_path(revision) &&
      revision.find("..") == std::string_view::npos &&
      std::all_of(revision.begin(), revision.end(), [](char c) { return c == '/' || is_name_character(c); }))
    return {};
  return fail("'{}' is no revision: expected a branch, a tag or a commit", printable(revision, 80));
}

Result<Listing> parse_model_info(std::string_view text, std::string_view what) {
  ASSIGN_OR_RETURN(const auto root, parse_json_object(text, what));
  Listing listing;
  listing.commit = text_at(root, "sha");
  if (!listing.commit.empty() && !is_hex(listing.commit, 40))
    return fail("{}: sha is '{}', expected 40 hex digits", what, printable(listing.commit));
  const auto siblings = root.find("siblings");
  if (siblings == root.end() || !siblings->is_array())
    return fail("{}: siblings is missing or no array: this host's API is not Hugging Face's", what);
  std::set<std::string> seen;
  for (const auto& entry : *siblings) {
    if (!entry.is_object()) return fail("{}: siblings holds something that is no object", what);
    bool has_size = false;
    auto file = read_file(entry, "rfilename", "sha256", "blobId", has_size);
    if (!file) return fail_in(what, file.error());
    if (!has_size) listing.has_sizes = false;
    if (auto status = add(listing, seen, *std::move(file)); !status) return fail_in(what, status.error());
  }
  return listing;
}

Result<Listing> parse_tree(std::string_view text, std::string_view what) {
  ASSIGN_OR_RETURN(const auto root, parse_json(text, what));
  if (!root.is_array()) return fail("{}: expected a JSON array at the top", what);
  Listing listing;
  std::set<std::string> seen;
  for (const auto& entry : root) {
    if (!entry.is_object()) return fail("{}: holds something that is no object", what);
    if (text_at(entry, "type") != "file") continue;
    bool has_size = false;
    auto file = read_file(entry, "path", "oid", "oid", has_size);
    if (!file) return fail_in(what, file.error());
    if (!has_size) return fail("{}: {} has no size", what, printable(file->path));
    if (auto status = add(listing, seen, *std::move(file)); !status) return fail_in(what, status.error());
  }
  return listing;
}

Status append_page(Listing& listing, Listing page, std::string_view what) {
  std::set<std::string> seen;
  for (const auto& file : listing.files) seen.insert(file.path);
  for (auto& file : page.files)
    if (auto status = add(listing, seen, std::move(file)); !status) return fail_in(what, status.error());
  return {};
}

Result<Choice> choose_files(const Listing& listing, const std::string& wanted, std::string_view what) {
  if (!wanted.empty()) return choose_wanted(listing, wanted, what);
  const auto h1b = with_extension(listing, ".h1b");
  if (h1b.size() == 1) return Choice{Choice::Kind::kH1b, {*h1b.front()}};
  if (auto choice = choose_safetensors(listing)) return *std::move(choice);
  const auto gguf = with_extension(listing, ".gguf");
  if (gguf.size() == 1) return Choice{Choice::Kind::kGguf, {*gguf.front()}};
  if (!h1b.empty() || !gguf.empty())
    return fail("{}: has several models: choose one with --file: {}", what, some_names(h1b.empty() ? gguf : h1b));
  return fail("{}: has no config.json with model.safetensors, no .gguf and no .h1b file: nothing that can be converted",
              what);
}

Result<std::vector<RepoFile>> shards_of_index(std::string_view text, const Listing& listing, std::string_view what) {
  ASSIGN_OR_RETURN(const auto root, parse_json_object(text, what));
  const auto map = root.find("weight_map");
  if (map == root.end() || !map->is_object()) return fail("{}: weight_map is missing or no object", what);
  std::set<std::string> names;
  for (const auto& [tensor, shard] : map->items()) {
    if (!shard.is_string()) return fail("{}: weight_map: {} is no file name", what, printable(tensor));
    names.insert(shard.get<std::string>());
  }
  std::vector<RepoFile> shards;
  for (const auto& name : names) {
    const auto* file = find(listing, name);
    if (file == nullptr || name.find('/') != std::string::npos || !name.ends_with(".safetensors"))
      return fail("{}: weight_map names '{}', which is no .safetensors file of the repository", what, printable(name));
    shards.push_back(*file);
  }
  if (shards.empty()) return fail("{}: weight_map names no file", what);
  return shards;
}

}  // namespace onebit::hub
