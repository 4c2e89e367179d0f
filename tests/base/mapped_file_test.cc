#include "base/mapped_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

namespace onebit {
namespace {

namespace fs = std::filesystem;

class MappedFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "mapped-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
    std::ofstream(folder_ / "hello") << "hello";
    std::ofstream(folder_ / "empty") << "";
    ::mkfifo((folder_ / "pipe").c_str(), 0600);
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string path(const char* name) const { return (folder_ / name).string(); }
  fs::path folder_;
};

TEST_F(MappedFileTest, MapsTheWholeFileAndSurvivesMoves) {
  auto file = MappedFile::open(path("hello"));
  ASSERT_TRUE(file);
  const auto bytes = file->bytes();
  const MappedFile moved = *std::move(file);
  ASSERT_EQ(bytes.size(), 5u);
  EXPECT_EQ(std::memcmp(bytes.data(), "hello", 5), 0);
  EXPECT_EQ(moved.bytes().data(), bytes.data());
}

TEST_F(MappedFileTest, AnEmptyFileIsEmpty) {
  const auto file = MappedFile::open(path("empty"));
  ASSERT_TRUE(file);
  EXPECT_TRUE(file->bytes().empty());
}

TEST_F(MappedFileTest, WhatIsNoFileIsRefusedByName) {
  for (const auto& bad : {path("missing"), folder_.string(), path("pipe"), std::string("/dev/zero")}) {
    const auto file = MappedFile::open(bad);
    ASSERT_FALSE(file) << bad;
    EXPECT_TRUE(file.error().message.starts_with(bad)) << file.error().message;
    EXPECT_FALSE(read_text_file(bad, 100)) << bad;
  }
}

TEST_F(MappedFileTest, TextFilesAreReadWholeOrNotAtAll) {
  EXPECT_EQ(*read_text_file(path("hello"), 5), "hello");
  EXPECT_EQ(*read_text_file(path("empty"), 5), "");
  EXPECT_FALSE(read_text_file(path("hello"), 4));
}

}  // namespace
}  // namespace onebit
