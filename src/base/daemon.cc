#include "base/daemon.h"

#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <utility>

namespace onebit {
namespace {

sigset_t signals_of_daemons() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int s : {SIGINT, SIGTERM, SIGHUP, SIGUSR1}) ::sigaddset(&set, s);
  return set;
}

}  // namespace

void Signals::block() {
  const auto set = signals_of_daemons();
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
}

Signals::Signals(std::function<void()> end, std::function<void()> reread)
    : end_(std::move(end)), reread_(std::move(reread)), thread_([this] { wait(); }) {}

Signals::~Signals() {
  ending_ = true;
  ::pthread_kill(thread_.native_handle(), SIGUSR1);
  thread_.join();
}

void Signals::wait() {
  const auto set = signals_of_daemons();
  while (true) {
    int signal = 0;
    if (::sigwait(&set, &signal) != 0 || ending_) return;
    if (signal == SIGUSR1) continue;  // from somebody else
    const auto& use = signal == SIGHUP && reread_ != nullptr ? reread_ : end_;
    use();
  }
}

uint64_t allow_files(uint64_t wanted) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  if (limit.rlim_cur >= wanted) return limit.rlim_cur;
  auto more = limit;
  more.rlim_cur = std::min<rlim_t>(wanted, limit.rlim_max);
  return ::setrlimit(RLIMIT_NOFILE, &more) == 0 ? more.rlim_cur : limit.rlim_cur;
}

}  // namespace onebit
