// Files that change under a mapping.
#include "base/bus_guard.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <thread>
#include <vector>

#include "base/mapped_file.h"
#include "tests/support/temp_folder.h"

namespace onebit {
namespace {

namespace fs = std::filesystem;
using test::TempFolder;
using test::write_file;

const auto kPage = static_cast<size_t>(::sysconf(_SC_PAGESIZE));

class BusGuardTest : public ::testing::Test {
 protected:
  /// A file of `pages` pages of 'x', mapped.
  MappedFile make(const std::string& name, size_t pages = 8) {
    write_file(path(name), std::string(pages * kPage, 'x'));
    auto file = MappedFile::open(path(name));
    EXPECT_TRUE(file) << (file ? "" : file.error().message);
    return *std::move(file);
  }
  std::string path(const std::string& name) const { return folder_.path(name); }

  TempFolder folder_;
};

char at(const MappedFile& file, size_t offset) {
  return static_cast<char>(*static_cast<const volatile std::byte*>(&file.bytes()[offset]));
}

size_t count(const MappedFile& file, char wanted) {
  return static_cast<size_t>(std::count(file.bytes().begin(), file.bytes().end(), static_cast<std::byte>(wanted)));
}

void expect_error(const Status& status, const std::string& path, const std::string& part) {
  ASSERT_FALSE(status) << "expected: " << part;
  EXPECT_EQ(status.error().message.find(path + ": "), 0u) << status.error().message;
  EXPECT_NE(status.error().message.find(part), std::string::npos) << status.error().message;
}

/// How a child process ended that did `work`: its exit code, or 128 and the signal.
template <class Work>
int exit_of(Work work) {
  const pid_t child = ::fork();
  if (child == 0) {
    work();
    ::_exit(0);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

TEST_F(BusGuardTest, AWholeFileIsReadable) {
  const auto file = make("a");
  EXPECT_EQ(count(file, 'x'), 8 * kPage);
  EXPECT_TRUE(file.check_readable());
  EXPECT_TRUE(file.check_unchanged());
}

TEST_F(BusGuardTest, WhatWasCutOffReadsAsZerosAndIsTold) {
  const auto file = make("a");
  fs::resize_file(path("a"), 3 * kPage);
  EXPECT_EQ(count(file, 'x'), 3 * kPage);
  EXPECT_EQ(count(file, '\0'), 5 * kPage);
  expect_error(file.check_readable(), path("a"), "cut short");
}

TEST_F(BusGuardTest, AFileEmptiedReadsAsZeros) {
  const auto file = make("a");
  fs::resize_file(path("a"), 0);
  EXPECT_EQ(count(file, '\0'), 8 * kPage);
  expect_error(file.check_readable(), path("a"), "cut short");
}

/// The last page that is left is filled up with zeros by the system, without a signal.
TEST_F(BusGuardTest, ACutInsideTheLastPageIsToldToo) {
  const auto file = make("a", 1);
  fs::resize_file(path("a"), kPage - 1);
  EXPECT_EQ(at(file, kPage - 1), '\0');
  expect_error(file.check_readable(), path("a"), "cut short");
}

/// What was read meanwhile is wrong, however whole the file is again.
TEST_F(BusGuardTest, AFileCutAndGrownAgainStaysUnreadable) {
  const auto file = make("a");
  fs::resize_file(path("a"), kPage);
  EXPECT_EQ(at(file, 7 * kPage), '\0');
  fs::resize_file(path("a"), 8 * kPage);
  expect_error(file.check_readable(), path("a"), "could not be read");
}

TEST_F(BusGuardTest, OnlyTheFileThatWasCutIsMarked) {
  const auto first = make("a"), second = make("b"), third = make("c");
  fs::resize_file(path("b"), 0);
  EXPECT_EQ(count(second, '\0'), 8 * kPage);
  EXPECT_EQ(count(first, 'x'), 8 * kPage);
  EXPECT_EQ(count(third, 'x'), 8 * kPage);
  EXPECT_TRUE(first.check_readable());
  EXPECT_FALSE(second.check_readable());
  EXPECT_TRUE(third.check_readable());
}

TEST_F(BusGuardTest, TheMarkMovesWithTheFile) {
  auto first = make("a"), second = make("b");
  fs::resize_file(path("a"), 0);
  EXPECT_EQ(at(first, 0), '\0');
  fs::resize_file(path("a"), 8 * kPage);  // so that the mark alone tells
  std::swap(first, second);
  EXPECT_TRUE(first.check_readable());
  EXPECT_FALSE(second.check_readable());
  const MappedFile moved = std::move(second);
  expect_error(moved.check_readable(), path("a"), "could not be read");
}

TEST_F(BusGuardTest, ManyThreadsMayMeetTheEndAtOnce) {
  const auto file = make("a", 256);
  fs::resize_file(path("a"), kPage);
  std::vector<size_t> zeros(4);
  std::vector<std::thread> threads;
  for (auto& found : zeros) threads.emplace_back([&] { found = count(file, '\0'); });
  for (auto& thread : threads) thread.join();
  for (const size_t found : zeros) EXPECT_EQ(found, 255 * kPage);
  EXPECT_FALSE(file.check_readable());
}

TEST_F(BusGuardTest, SlotsAreFreeAgainAfterUnmappingAndUnmarked) {
  for (int i = 0; i < 1000; ++i) {  // more than there are slots
    const auto file = make("a", 2);
    EXPECT_TRUE(file.check_readable()) << i;
    fs::resize_file(path("a"), kPage);
    ASSERT_EQ(at(file, kPage), '\0') << i;
    fs::resize_file(path("a"), 2 * kPage);
    ASSERT_FALSE(file.check_readable()) << i;
  }
}

TEST_F(BusGuardTest, MoreMappingsThanCanBeGuardedAreRefused) {
  std::vector<MappedFile> files;
  for (size_t i = 0; i < bus_guard::kMostMappings; ++i) files.push_back(make(std::to_string(i), 1));
  write_file(path("more"), "x");
  const auto one_more = MappedFile::open(path("more"));
  ASSERT_FALSE(one_more);
  EXPECT_NE(one_more.error().message.find("512 files"), std::string::npos);
  files.pop_back();
  EXPECT_TRUE(MappedFile::open(path("more")));
  EXPECT_EQ(at(files.front(), 0), 'x');
}

TEST_F(BusGuardTest, AnEmptyFileIsReadableUntilItChanges) {
  write_file(path("a"), "");
  const auto file = MappedFile::open(path("a"));
  ASSERT_TRUE(file);
  EXPECT_TRUE(file->check_readable());
  EXPECT_TRUE(file->check_unchanged());
  write_file(path("a"), "x");
  expect_error(file->check_unchanged(), path("a"), "changed");
}

/// A mapping past the end of a file, which nobody guards.
const volatile char* map_past_the_end(const std::string& path) {
  write_file(path, "");
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  void* data = ::mmap(nullptr, kPage, PROT_READ, MAP_SHARED, fd, 0);
  ::close(fd);
  return data == MAP_FAILED ? nullptr : static_cast<const volatile char*>(data);
}

TEST_F(BusGuardTest, ABusErrorOutsideAnyMappingStillEndsTheProcess) {
  const auto guarded = make("a");
  const int ended = exit_of([&] {
    ::close(STDERR_FILENO);  // a sanitizer has something to say here
    ::signal(SIGALRM, SIG_DFL);
    ::alarm(20);
    (void)*map_past_the_end(path("b"));
  });
  EXPECT_NE(ended, 0);
  EXPECT_NE(ended, 128 + SIGALRM) << "the read is tried for ever";
#ifndef ONEBIT_SANITIZED  // which brings a handler of its own
  EXPECT_EQ(ended, 128 + SIGBUS);
#endif
}

TEST_F(BusGuardTest, ABusErrorThatAProcessSentStillEndsThisOne) {
  const auto guarded = make("a");
  const int ended = exit_of([] {
    ::close(STDERR_FILENO);
    ::kill(::getpid(), SIGBUS);
  });
  EXPECT_NE(ended, 0);
#ifndef ONEBIT_SANITIZED
  EXPECT_EQ(ended, 128 + SIGBUS);
#endif
}

/// What such a signal brings along may look like an address of ours: a handler that believed it would go on.
TEST_F(BusGuardTest, ABusErrorThatAProcessSentIsNoMissingPageWhateverItSays) {
  const auto file = make("a");
  const int ended = exit_of([&] {
    ::close(STDERR_FILENO);
    siginfo_t info{};
    info.si_code = SI_QUEUE;
    info.si_addr = const_cast<std::byte*>(file.bytes().data());
    ::syscall(SYS_rt_tgsigqueueinfo, ::getpid(), ::getpid(), SIGBUS, &info);
  });
  EXPECT_NE(ended, 0);
}

class BusGuardDeathTest : public BusGuardTest {
 protected:
  BusGuardDeathTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

/// The guard is installed once a process, so what was there before it is another program's matter: this one,
/// started anew with a handler of its own.
TEST_F(BusGuardDeathTest, AHandlerThatWasThereBeforeIsCalled) {
#ifdef ONEBIT_EMULATED
  GTEST_SKIP() << "an emulated program cannot start itself anew";
#endif
  for (const bool with_info : {true, false}) {
    const auto missing = path("b");
    const auto test = [&] {
      struct sigaction before{};
      if (with_info) {
        before.sa_flags = SA_SIGINFO;
        before.sa_sigaction = [](int, siginfo_t*, void*) { ::_exit(42); };
      } else {
        before.sa_handler = [](int) { ::_exit(42); };
      }
      ::sigaction(SIGBUS, &before, nullptr);
      const auto file = make("a");
      fs::resize_file(path("a"), 0);
      if (at(file, 0) != '\0') ::_exit(1);
      (void)*map_past_the_end(missing);
    };
    EXPECT_EXIT((test(), ::_exit(0)), ::testing::ExitedWithCode(42), "");
  }
}

TEST_F(BusGuardTest, TellsAFileThatWasCutGrownOrWrittenTo) {
  {
    const auto file = make("a");
    fs::resize_file(path("a"), kPage);
    expect_error(file.check_unchanged(), path("a"), "cut short");
  }
  {
    const auto file = make("b");
    fs::resize_file(path("b"), 9 * kPage);
    EXPECT_TRUE(file.check_readable()) << "all that was there is";
    expect_error(file.check_unchanged(), path("b"), "changed");
  }
  {
    const auto file = make("c");
    ::usleep(20'000);  // more than the file system's clock is coarse
    write_file(path("c"), std::string(8 * kPage, 'y'));
    EXPECT_TRUE(file.check_readable());
    expect_error(file.check_unchanged(), path("c"), "changed");
  }
}

TEST_F(BusGuardTest, AnotherFileOfTheSameNameIsNoChange) {
  const auto file = make("a");
  write_file(path("b"), "other");
  fs::rename(path("b"), path("a"));
  EXPECT_TRUE(file.check_unchanged());
  EXPECT_EQ(count(file, 'x'), 8 * kPage);
  fs::remove(path("a"));
  EXPECT_TRUE(file.check_unchanged());
}

}  // namespace
}  // namespace onebit
