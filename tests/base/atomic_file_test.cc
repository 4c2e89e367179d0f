#include "base/atomic_file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <vector>

namespace onebit {
namespace {

namespace fs = std::filesystem;

std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

std::string contents(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

class AtomicFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "atomic-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string path(const char* name) const { return (folder_ / name).string(); }
  size_t files() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }

  fs::path folder_;
};

TEST_F(AtomicFileTest, AppearsOnCommitAndNotBefore) {
  auto file = AtomicFile::create(path("a"));
  ASSERT_TRUE(file) << file.error().message;
  ASSERT_TRUE(file->write(bytes("hello world")));
  ASSERT_TRUE(file->write_at(6, bytes("there")));
  EXPECT_EQ(files(), 0u);
  ASSERT_TRUE(file->commit());
  EXPECT_EQ(contents(path("a")), "hello there");
  EXPECT_EQ(files(), 1u);
}

TEST_F(AtomicFileTest, AnAbandonedFileLeavesTheOldOneAndNothingElse) {
  std::ofstream(path("a")) << "old";
  {
    auto file = AtomicFile::create(path("a"));
    ASSERT_TRUE(file);
    ASSERT_TRUE(file->write(bytes("new")));
  }
  EXPECT_EQ(contents(path("a")), "old");
  EXPECT_EQ(files(), 1u);
}

TEST_F(AtomicFileTest, AKilledWriterLeavesNothing) {
  std::ofstream(path("a")) << "old";
  const pid_t child = ::fork();
  if (child == 0) {
    auto file = AtomicFile::create(path("a"));
    if (!file || !file->write(bytes("half of the new one"))) ::_exit(1);
    ::raise(SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(contents(path("a")), "old");
  EXPECT_EQ(files(), 1u);
}

/// A process that was killed in the last instant leaves a finished file of this name.
TEST_F(AtomicFileTest, RemovesWhatAKilledWriterLeftInItsLastInstant) {
  std::ofstream(path("a")) << "old";
  std::ofstream(path(".a.1bit-new")) << "of another";
  auto file = AtomicFile::create(path("a"));
  ASSERT_TRUE(file);
  ASSERT_TRUE(file->write(bytes("new")));
  ASSERT_TRUE(file->commit()) << "commit";
  EXPECT_EQ(contents(path("a")), "new");
  EXPECT_EQ(files(), 1u);
}

TEST_F(AtomicFileTest, TakesTheLongestNameThatTheFileSystemTakes) {
  const auto name = path(std::string(255, 'n').c_str());
  for (const auto* text : {"first", "second"}) {
    auto file = AtomicFile::create(name);
    ASSERT_TRUE(file);
    ASSERT_TRUE(file->write(bytes(text)));
    ASSERT_TRUE(file->commit());
    EXPECT_EQ(contents(name), text);
  }
  EXPECT_EQ(files(), 1u);
}

TEST_F(AtomicFileTest, WritersOfOneTargetAtOnceAllSucceedAndLeaveTheFileOfOne) {
  constexpr int kWriters = 8, kRounds = 20;
  std::vector<pid_t> children;
  for (int i = 0; i < kWriters; ++i) {
    children.push_back(::fork());
    if (children.back() != 0) continue;
    for (int round = 0; round < kRounds; ++round) {
      auto file = AtomicFile::create(path("a"));
      if (!file || !file->write(bytes(std::string(5000, static_cast<char>('a' + i)))) || !file->commit()) ::_exit(1);
    }
    ::_exit(0);
  }
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  const auto text = contents(path("a"));
  EXPECT_EQ(text, std::string(5000, text.empty() ? '?' : text[0]));
  EXPECT_EQ(files(), 1u);
}

TEST_F(AtomicFileTest, ReplacesTheFileBehindALink) {
  std::ofstream(path("real")) << "old";
  fs::create_symlink("real", path("link"));
  auto file = AtomicFile::create(path("link"));
  ASSERT_TRUE(file);
  ASSERT_TRUE(file->write(bytes("new")));
  ASSERT_TRUE(file->commit());
  EXPECT_TRUE(fs::is_symlink(path("link")));
  EXPECT_EQ(contents(path("real")), "new");
}

TEST_F(AtomicFileTest, ErrorsNameTheTarget) {
  for (const auto& bad : {path("no/such/folder"), folder_.string(), std::string("/dev/null")}) {
    const auto file = AtomicFile::create(bad);
    ASSERT_FALSE(file) << bad;
    EXPECT_NE(file.error().message.find(bad), std::string::npos) << file.error().message;
  }
}

TEST_F(AtomicFileTest, AFullDiskIsAnErrorThatChangesNothing) {
  std::ofstream(path("a")) << "old";
  const pid_t child = ::fork();  // the limit is for this process only
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1000, 1000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    auto file = AtomicFile::create(path("a"));
    const std::string big(5000, 'x');
    const auto status = file->write(bytes(big));
    const bool told = !status && status.error().message.find("nothing was changed") != std::string::npos;
    ::_exit(told ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(contents(path("a")), "old");
  EXPECT_EQ(files(), 1u);
}

}  // namespace
}  // namespace onebit
