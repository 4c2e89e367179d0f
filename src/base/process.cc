#include "base/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <span>

#include "base/utf8.h"

extern char** environ;

namespace onebit {
namespace {

using SteadyClock = std::chrono::steady_clock;
constexpr int kTickMs = 10;  // how soon a stop is seen
constexpr size_t kMostComplaint = 400;

class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { close(); }
  void set(int fd) {
    close();
    fd_ = fd;
  }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

/// A child, which has ended and was waited for when this is gone.
class Child {
 public:
  explicit Child(pid_t pid) : pid_(pid) {}
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (!status_) end();
  }

  /// Its status where it has ended.
  std::optional<int> ended() {
    int status = 0;
    // Not waited for yet, so that the group's number stays its own until what is left of the group is ended below.
    siginfo_t info{};
    if (!status_ && ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
        info.si_pid == pid_) {
      ::kill(-pid_, SIGKILL);
      if (::waitpid(pid_, &status, 0) == pid_) status_ = status;
    }
    return status_;
  }
  void end() {
    int status = 0;
    ::kill(-pid_, SIGKILL);
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    status_ = status;
  }

 private:
  pid_t pid_;
  std::optional<int> status_;
};

struct Pipes {
  Descriptor input, output, errors;                    // ours
  Descriptor child_input, child_output, child_errors;  // the program's
};

Status open_pipes(Pipes& pipes) {
  int ends[2];
  // A socket, since writing to one that is closed can be had without a signal.
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return fail("no socket: {}", std::strerror(errno));
  pipes.input.set(ends[0]);
  pipes.child_input.set(ends[1]);
  for (auto* pair : {&pipes.output, &pipes.errors}) {
    if (::pipe2(ends, O_CLOEXEC) != 0) return fail("no pipe: {}", std::strerror(errno));
    pair->set(ends[0]);
    (pair == &pipes.output ? pipes.child_output : pipes.child_errors).set(ends[1]);
  }
  for (const int fd : {pipes.input.get(), pipes.output.get(), pipes.errors.get()})
    if (::fcntl(fd, F_SETFL, O_NONBLOCK) != 0) return fail("fcntl: {}", std::strerror(errno));
  return {};
}

Result<pid_t> start_process(const std::vector<std::string>& program, Pipes& pipes) {
  std::vector<char*> arguments;
  for (const auto& argument : program) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawn_file_actions_adddup2(&actions, pipes.child_input.get(), STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, pipes.child_output.get(), STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, pipes.child_errors.get(), STDERR_FILENO);
  sigset_t none, usual;
  sigemptyset(&none);
  sigemptyset(&usual);
  for (const int signal : {SIGINT, SIGTERM, SIGPIPE, SIGHUP, SIGQUIT, SIGXFSZ}) sigaddset(&usual, signal);
  ::posix_spawnattr_setpgroup(&attributes, 0);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &usual);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  pid_t pid = 0;
  const int error = ::posix_spawnp(&pid, arguments[0], &actions, &attributes, arguments.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  pipes.child_input.close();
  pipes.child_output.close();
  pipes.child_errors.close();
  if (error != 0) return fail("{}: {}", program.front(), std::strerror(error));
  return pid;
}

/// Writes what the program takes now; closes its input where it wants no more.
void write_some(Descriptor& fd, std::string_view& input) {
  while (!input.empty()) {
    const ssize_t n = ::send(fd.get(), input.data(), input.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n < 0) break;
    input.remove_prefix(static_cast<size_t>(n));
  }
  fd.close();
}

/// What can be read now; closes at the end.
std::string_view read_some(Descriptor& fd, std::span<char> buffer) {
  const ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
  if (n > 0) return {buffer.data(), static_cast<size_t>(n)};
  if (n == 0 || (errno != EAGAIN && errno != EINTR)) fd.close();
  return {};
}

}  // namespace

Status run_process(const std::vector<std::string>& program, std::string_view input,
                   const std::function<bool(std::string_view output)>& sink, const ProcessBounds& bounds) {
  if (program.empty()) return fail("no program is named");
  const auto deadline = SteadyClock::now() + bounds.timeout;
  Pipes pipes;
  RETURN_IF_ERROR(open_pipes(pipes));
  ASSIGN_OR_RETURN(const auto pid, start_process(program, pipes));
  Child child(pid);
  std::array<char, 1 << 14> buffer{};
  std::string complaint;
  uint64_t bytes = 0;
  if (input.empty()) pipes.input.close();
  while (true) {
    if (bounds.stop.stop_requested()) return {};
    if (SteadyClock::now() >= deadline)
      return fail("{}: did not end within {} ms", program.front(), bounds.timeout.count());
    const bool open = pipes.output.get() >= 0 || pipes.errors.get() >= 0;
    if (!open && child.ended()) break;
    std::array<pollfd, 3> waited{
        {{pipes.output.get(), POLLIN, 0}, {pipes.errors.get(), POLLIN, 0}, {pipes.input.get(), POLLOUT, 0}}};
    ::poll(waited.data(), waited.size(), kTickMs);
    if (waited[2].revents != 0) write_some(pipes.input, input);
    if (waited[1].revents != 0) {
      const auto part = read_some(pipes.errors, buffer);
      complaint += part.substr(0, kMostComplaint - std::min(kMostComplaint, complaint.size()));
    }
    if (waited[0].revents != 0) {
      const auto part = read_some(pipes.output, buffer);
      bytes += part.size();
      if (bytes > bounds.most_bytes) return fail("{}: wrote more than {} bytes", program.front(), bounds.most_bytes);
      if (!part.empty() && !sink(part)) return {};
    }
    // What it started may hold the pipes although it has ended: with it the group is ended, and the pipes close.
    if (open) child.ended();
  }
  const int status = *child.ended();
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  const auto how = WIFSIGNALED(status) ? fmt::format("was ended by signal {}", WTERMSIG(status))
                                       : fmt::format("failed with status {}", WEXITSTATUS(status));
  const auto line = complaint.substr(0, complaint.find('\n'));
  return fail("{}: {}{}", program.front(), how, line.empty() ? "" : ": " + printable(line, 200));
}

struct ProcessInput::Impl {
  std::string name;
  Pipes pipes;
  std::optional<Child> child;
};

ProcessInput::ProcessInput(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ProcessInput::ProcessInput(ProcessInput&&) noexcept = default;
ProcessInput& ProcessInput::operator=(ProcessInput&&) noexcept = default;
ProcessInput::~ProcessInput() = default;

Result<ProcessInput> ProcessInput::start(const std::vector<std::string>& program) {
  if (program.empty()) return fail("no program is named");
  auto impl = std::make_unique<Impl>();
  impl->name = program.front();
  RETURN_IF_ERROR(open_pipes(impl->pipes));
  ASSIGN_OR_RETURN(const auto pid, onebit::start_process(program, impl->pipes));
  impl->child.emplace(pid);
  return ProcessInput(std::move(impl));
}

Status ProcessInput::write(std::string_view bytes, const std::stop_token& stop) {
  auto& pipes = impl_->pipes;
  std::array<char, 4096> ignored{};
  while (!bytes.empty() && !stop.stop_requested()) {
    if (pipes.input.get() < 0 || impl_->child->ended()) return fail("{}: has ended", impl_->name);
    std::array<pollfd, 3> waited{
        {{pipes.output.get(), POLLIN, 0}, {pipes.errors.get(), POLLIN, 0}, {pipes.input.get(), POLLOUT, 0}}};
    ::poll(waited.data(), waited.size(), kTickMs);
    if (waited[0].revents != 0) read_some(pipes.output, ignored);
    if (waited[1].revents != 0) read_some(pipes.errors, ignored);
    if (waited[2].revents == 0) continue;
    const ssize_t n = ::send(pipes.input.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && errno != EINTR && errno != EAGAIN)
      return fail("{}: takes no more: {}", impl_->name, std::strerror(errno));
    if (n > 0) bytes.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

Status ProcessInput::finish(const std::stop_token& stop) {
  impl_->pipes.input.close();
  std::array<char, 4096> ignored{};
  while (!stop.stop_requested()) {
    if (const auto status = impl_->child->ended()) {
      if (WIFEXITED(*status) && WEXITSTATUS(*status) == 0) return {};
      return fail("{}: failed", impl_->name);
    }
    std::array<pollfd, 2> waited{{{impl_->pipes.output.get(), POLLIN, 0}, {impl_->pipes.errors.get(), POLLIN, 0}}};
    ::poll(waited.data(), waited.size(), kTickMs);
    if (waited[0].revents != 0) read_some(impl_->pipes.output, ignored);
    if (waited[1].revents != 0) read_some(impl_->pipes.errors, ignored);
  }
  return {};
}

}  // namespace onebit
