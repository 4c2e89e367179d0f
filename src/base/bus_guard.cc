#include "base/bus_guard.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <mutex>

namespace onebit::bus_guard {
namespace {

/// A free slot has end 0. The handler may run at any instruction, so `end` is written last and cleared
/// first; everything in it is lock-free.
struct Slot {
  std::atomic<uintptr_t> begin{0}, end{0};
  std::atomic<bool> faulted{false};
};
static_assert(std::atomic<uintptr_t>::is_always_lock_free);

std::array<Slot, kMostMappings> g_slots;
std::mutex g_mutex;  // guards adding and removing
struct sigaction g_previous;

uintptr_t page_size() {
  static const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));  // set before the handler is installed
  return page;
}

/// Puts a page of zeros at `address` if it lies in a guarded range.
bool heal(uintptr_t address) {
  for (auto& slot : g_slots) {
    const uintptr_t begin = slot.begin.load();
    if (address < begin || address >= slot.end.load()) continue;
    if (slot.begin.load() != begin) continue;  // the slot changed hands in between: it is not the reader's
    slot.faulted.store(true);
    // NOLINTNEXTLINE(performance-no-int-to-ptr): the kernel gave the address as a number
    void* at = reinterpret_cast<void*>(address / page_size() * page_size());
    // The system call itself: the thread sanitizer takes mmap() for a write that races with other readers.
    return ::syscall(SYS_mmap, at, page_size(), PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != -1;
  }
  return false;
}

/// What would have happened without this handler.
void pass_on(int signal, siginfo_t* info, void* context) {
  if ((g_previous.sa_flags & SA_SIGINFO) != 0) return g_previous.sa_sigaction(signal, info, context);
  if (g_previous.sa_handler != SIG_DFL && g_previous.sa_handler != SIG_IGN) return g_previous.sa_handler(signal);
  const bool sent = info->si_code <= 0;  // by a process: returning does not bring it again
  if (sent && g_previous.sa_handler == SIG_IGN) return;
  ::sigaction(SIGBUS, &g_previous, nullptr);
  if (sent) ::raise(signal);
}

void on_bus_error(int signal, siginfo_t* info, void* context) {
  const int saved_errno = errno;
  // Only a page that cannot be had: not what a process sent, nor an unaligned access, which would come again.
  const bool missing = info->si_code > 0 && info->si_code != BUS_ADRALN;
  // The read is tried again and finds zeros.
  if (!missing || !heal(reinterpret_cast<uintptr_t>(info->si_addr))) pass_on(signal, info, context);
  errno = saved_errno;
}

void install() {
  page_size();
  struct sigaction action{};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGBUS, nullptr, &g_previous);  // known before the handler can need it
  ::sigaction(SIGBUS, &action, nullptr);
}

}  // namespace

int add(const void* begin, size_t size) {
  static std::once_flag installed;
  std::call_once(installed, install);
  const std::lock_guard lock(g_mutex);
  for (size_t i = 0; i < g_slots.size(); ++i) {
    auto& slot = g_slots[i];
    if (slot.end.load() != 0) continue;
    slot.faulted.store(false);
    slot.begin.store(reinterpret_cast<uintptr_t>(begin));
    // Up to the end of its last page, where a wide load that begins inside may fault.
    slot.end.store((reinterpret_cast<uintptr_t>(begin) + size + page_size() - 1) / page_size() * page_size());
    return static_cast<int>(i);
  }
  return -1;
}

void remove(int slot) {
  if (slot < 0) return;
  const std::lock_guard lock(g_mutex);
  g_slots[static_cast<size_t>(slot)].end.store(0);
}

bool faulted(int slot) {
  return slot >= 0 && g_slots[static_cast<size_t>(slot)].faulted.load();
}

}  // namespace onebit::bus_guard
