// What a host says of a repository, as any bytes: its listings, an index of shards, and the record of an unfinished
// download: one sentence, or names that stay inside a folder and counts that fit.
#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "base/utf8.h"
#include "hub/part_record.h"
#include "hub/repo.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

void check(const onebit::Error& error) {
  require(error.message.find('\n') == std::string::npos && error.message.size() < 1000 &&
          onebit::utf8_valid(error.message));
}

void check(const std::vector<onebit::hub::RepoFile>& files) {
  for (const auto& file : files) {
    const std::filesystem::path path(file.path);
    require(!file.path.empty() && path.is_relative() && path.lexically_normal() == path &&
            onebit::utf8_valid(file.path));
    require(std::none_of(path.begin(), path.end(), [](const auto& part) { return part == ".."; }));
    require(
        std::none_of(file.path.begin(), file.path.end(), [](char c) { return static_cast<unsigned char>(c) < ' '; }));
    require(file.size <= uint64_t{1} << 50);
    require(file.sha256.empty() || (file.sha256.size() == 64 && file.git_sha1.empty()));
  }
}

void check_listing(const onebit::Result<onebit::hub::Listing>& listing) {
  using namespace onebit::hub;
  if (!listing) return check(listing.error());
  check(listing->files);
  const auto choice = choose_files(*listing, "", "x/y");
  if (!choice) return check(choice.error());
  require(!choice->files.empty());
  check(choice->files);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace onebit::hub;
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  const auto info = parse_model_info(text, "x/y");
  check_listing(info);
  check_listing(parse_tree(text, "x/y"));
  Listing listing;
  listing.files.push_back({.path = "a.safetensors", .size = 1, .sha256 = {}, .git_sha1 = {}});
  const auto shards = shards_of_index(text, info ? *info : listing, "x/y");
  if (shards) {
    check(*shards);
  } else {
    check(shards.error());
  }
  if (const auto record = parse_part_record(text, "record")) {
    uint64_t sum = 0;
    for (const uint64_t done : record->done) sum += done;
    require(sum <= record->size && record->done.size() <= kMostChunks);
  } else {
    check(record.error());
  }
  if (const auto name = parse_repo_name(text))
    require(name->text() == text && text.find("..") == std::string_view::npos);
  return 0;
}
