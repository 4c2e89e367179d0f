#include "base/daemon.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <thread>

namespace onebit {
namespace {

using namespace std::chrono_literals;

/// In a process of its own, since signals and limits are of the whole process. `work` returns 0 where all is well.
template <class Work>
void expect_well(Work work) {
  EXPECT_EXIT(std::_Exit(work()), ::testing::ExitedWithCode(0), "");
}

bool comes(const std::atomic<int>& number, int wanted) {
  for (int i = 0; i < 500 && number != wanted; ++i) std::this_thread::sleep_for(10ms);
  return number == wanted;
}

TEST(Signals, EachHasItsUse) {
  expect_well([] {
    Signals::block();
    std::atomic<int> ends{0}, rereads{0};
    const Signals signals([&] { ++ends; }, [&] { ++rereads; });
    ::kill(::getpid(), SIGTERM);
    if (!comes(ends, 1)) return 1;
    ::kill(::getpid(), SIGHUP);
    if (!comes(rereads, 1)) return 2;
    ::kill(::getpid(), SIGUSR1);  // nobody's
    ::kill(::getpid(), SIGPIPE);
    ::kill(::getpid(), SIGINT);
    return comes(ends, 2) && rereads == 1 ? 0 : 3;
  });
}

TEST(Signals, HangingUpEndsWhatHasNothingToReread) {
  expect_well([] {
    Signals::block();
    std::atomic<int> ends{0};
    const Signals signals([&] { ++ends; }, nullptr);
    ::kill(::getpid(), SIGHUP);
    return comes(ends, 1) ? 0 : 1;
  });
}

TEST(AllowFiles, RaisesTheLimitAsFarAsItGoes) {
  expect_well([] {
    rlimit limit{.rlim_cur = 64, .rlim_max = 256};
    if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) return 1;
    if (allow_files(32) != 64 || allow_files(128) != 128 || allow_files(100'000) != 256) return 2;
    ::getrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur == 256 ? 0 : 3;
  });
}

}  // namespace
}  // namespace onebit
