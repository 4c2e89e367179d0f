// What a host says of a repository: read, bounded, refused.
#include "hub/repo.h"

#include <gtest/gtest.h>

#include "hub/part_record.h"
#include "hub/rate.h"
#include "tests/support/expect_error.h"

namespace onebit::hub {
namespace {

using test::expect_error;

Listing listing_of(std::initializer_list<const char*> paths) {
  Listing listing;
  for (const auto* path : paths) listing.files.push_back({.path = path, .size = 1, .sha256 = {}, .git_sha1 = {}});
  return listing;
}

TEST(RepoName, TwoPlainParts) {
  const auto name = parse_repo_name("microsoft/bitnet-b1.58-2B-4T");
  ASSERT_TRUE(name.has_value());
  EXPECT_EQ(name->owner, "microsoft");
  EXPECT_EQ(name->name, "bitnet-b1.58-2B-4T");
  for (const std::string text : {"", "a", "a/", "/b", "a/b/c", "../b", "a/..", "a/.b", "a/b c", "a/b?", "a/b--c",
                                 "a/-b", "a/b\n", "https://huggingface.co/a/b"})
    expect_error(parse_repo_name(text), {"OWNER/NAME"});
  expect_error(parse_repo_name("a/" + std::string(97, 'b')), {"OWNER/NAME"});
}

TEST(ModelInfo, SizesAndHashes) {
  const auto listing = parse_model_info(
      R"({"sha":"0123456789abcdef0123456789abcdef01234567","siblings":[
        {"rfilename":"config.json","size":12,"blobId":"89abcdef0123456789abcdef0123456789abcdef"},
        {"rfilename":"a/b.safetensors","size":34,"blobId":"89abcdef0123456789abcdef0123456789abcdef",
         "lfs":{"sha256":"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","size":56}}]})",
      "x/y");
  ASSERT_TRUE(listing.has_value()) << listing.error().message;
  EXPECT_TRUE(listing->has_sizes);
  ASSERT_EQ(listing->files.size(), 2u);
  EXPECT_EQ(listing->files[0].size, 12u);
  EXPECT_EQ(listing->files[0].git_sha1, "89abcdef0123456789abcdef0123456789abcdef");
  EXPECT_EQ(listing->files[0].sha256, "");
  EXPECT_EQ(listing->files[1].size, 56u);
  EXPECT_EQ(listing->files[1].git_sha1, "");
  EXPECT_EQ(listing->files[1].sha256, "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
  const auto bare = parse_model_info(R"({"siblings":[{"rfilename":"config.json"}]})", "x/y");
  ASSERT_TRUE(bare.has_value());
  EXPECT_FALSE(bare->has_sizes);
  EXPECT_EQ(bare->commit, "");
}

TEST(ModelInfo, WhatCannotBeIsRefused) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"", "JSON"},
      {"[]", "object"},
      {"{}", "siblings"},
      {R"({"sha":"main","siblings":[]})", "sha"},
      {R"({"siblings":[1]})", "no object"},
      {R"({"siblings":[{}]})", "no path"},
      {R"({"siblings":[{"rfilename":5}]})", "no path"},
      {R"({"siblings":[{"rfilename":"a","size":-1}]})", "size"},
      {R"({"siblings":[{"rfilename":"a","size":1e99}]})", "size"},
      {R"({"siblings":[{"rfilename":"a","size":18446744073709551615}]})", "size"},
      {R"({"siblings":[{"rfilename":"a","size":1,"blobId":"short"}]})", "hash"},
      {R"({"siblings":[{"rfilename":"a","size":1},{"rfilename":"a","size":1}]})", "twice"},
      {R"({"siblings":[{"rfilename":"a","size":1,"lfs":{"sha256":"../../x"}}]})", "hash"}};
  for (const auto& [text, says] : cases) expect_error(parse_model_info(text, "x/y"), {"x/y", says});
}

TEST(Tree, FilesOnly) {
  const auto listing = parse_tree(
      R"([{"type":"directory","path":"a","oid":"x"},
        {"type":"file","path":"a/b.gguf","size":7,"oid":"89abcdef0123456789abcdef0123456789abcdef"}])",
      "x/y");
  ASSERT_TRUE(listing.has_value()) << listing.error().message;
  ASSERT_EQ(listing->files.size(), 1u);
  EXPECT_EQ(listing->files[0].path, "a/b.gguf");
  expect_error(parse_tree(R"([{"type":"file","path":"a"}])", "x/y"), {"no size"});
  expect_error(parse_tree(R"({"error":"no"})", "x/y"), {"array"});
  auto twice = *listing;
  expect_error(append_page(twice, *listing, "x/y"), {"twice"});
}

TEST(Choice, WhatIsFetched) {
  const auto kind = [](const Listing& listing) { return choose_files(listing, "", "x/y")->kind; };
  EXPECT_EQ(kind(listing_of({"config.json", "model.safetensors", "a.gguf"})), Choice::Kind::kSafetensors);
  EXPECT_EQ(kind(listing_of({"config.json", "model.safetensors", "a.h1b"})), Choice::Kind::kH1b);
  EXPECT_EQ(kind(listing_of({"config.json", "a.gguf"})), Choice::Kind::kGguf);
  EXPECT_EQ(choose_files(listing_of({"config.json", "model.safetensors.index.json", "model.safetensors"}), "", "x/y")
                ->files.size(),
            2u);  // the weights are those of the index
  expect_error(choose_files(listing_of({"a.gguf", "b.gguf"}), "", "x/y"), {"--file", "a.gguf, b.gguf"});
  expect_error(choose_files(listing_of({"pytorch_model.bin"}), "", "x/y"), {"nothing that can be converted"});
  expect_error(choose_files(listing_of({"model.safetensors"}), "", "x/y"), {"nothing that can be converted"});
  expect_error(choose_files(listing_of({"config.json"}), "config.json", "x/y"), {"no .gguf or .h1b"});
}

TEST(PartRecord, ComesBackAsItWas) {
  const PartRecord record{
      .size = 250, .chunk = 100, .sha256 = "s", .git_sha1 = "g", .etag = "\"e\"", .done = {100, 7, 50}};
  const auto read = parse_part_record(to_json(record), "record");
  ASSERT_TRUE(read.has_value()) << read.error().message;
  EXPECT_EQ(read->done, record.done);
  EXPECT_EQ(read->etag, record.etag);
  auto wrong = record;
  wrong.done.back() = 51;
  expect_error(parse_part_record(to_json(wrong), "record"), {"more than its 50"});
  wrong.done.pop_back();
  expect_error(parse_part_record(to_json(wrong), "record"), {"do not make 250"});
}

TEST(RateMeter, ForgetsWhatIsLongAgo) {
  using namespace std::chrono_literals;
  const RateMeter::Time begin{};
  RateMeter meter;
  meter.add(begin, 1'000'000);  // that were there before count for nothing
  EXPECT_FALSE(meter.rate());
  EXPECT_FALSE(meter.seconds_for(1));
  for (int i = 1; i <= 50; ++i) meter.add(begin + i * 100ms, 1'000'000 + static_cast<uint64_t>(i) * 100);
  EXPECT_NEAR(meter.rate().value_or(0), 1000, 1);
  EXPECT_NEAR(meter.seconds_for(5000).value_or(0), 5, 0.1);
  for (int i = 51; i <= 200; ++i) meter.add(begin + i * 100ms, 1'005'000);  // it has stopped
  EXPECT_NEAR(meter.rate().value_or(1), 0, 1e-9);
  EXPECT_FALSE(meter.seconds_for(1));
  meter.add(begin + 21s, 0);  // begun anew
  EXPECT_FALSE(meter.rate());
}

}  // namespace
}  // namespace onebit::hub
