#include "base/thread_pool.h"

#include <sched.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace onebit {
namespace {

/// Looks this often before it sleeps: a few microseconds, about what a phase's end takes to be seen. Longer
/// spinning takes time from whoever else wants the processor, most of all from our own other threads.
constexpr int kSpins = 100;

void pause_briefly() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// Until `value` is no longer `old`.
void wait_for_change(const std::atomic<uint32_t>& value, uint32_t old) {
  for (int i = 0; i < kSpins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    pause_briefly();
  }
  value.wait(old);
}

void pin_to(unsigned thread) {
  cpu_set_t allowed;
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  unsigned seen = 0;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed) || seen++ != thread % available_processors()) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    ::sched_setaffinity(0, sizeof one, &one);  // a wish: where it is refused, the thread runs anywhere
    return;
  }
}

}  // namespace

bool ChunkRange::take(bool front, uint32_t size, uint32_t& count) {
  uint64_t old = taken.load(std::memory_order_relaxed);
  while (true) {
    const auto from_front = static_cast<uint32_t>(old), from_back = static_cast<uint32_t>(old >> 32);
    if (from_front + from_back >= size) return false;
    count = front ? from_front : from_back;
    const uint64_t one = front ? 1 : uint64_t{1} << 32;
    if (taken.compare_exchange_weak(old, old + one, std::memory_order_acq_rel, std::memory_order_relaxed)) return true;
  }
}

void Walker::end_phase(PhaseProgress& p) {
  p.ended.store(1);
  p.ended.notify_all();
}

void Walker::wait(PhaseProgress& p) {
  wait_for_change(p.ended, 0);
}

ThreadPool::ThreadPool(unsigned threads, bool pin) : threads_(threads) {
  for (unsigned i = 1; i < threads; ++i)
    workers_.emplace_back([this, i, pin] {
      if (pin) pin_to(i);
      work(i);
    });
}

ThreadPool::~ThreadPool() {
  stop_ = true;
  runs_.fetch_add(1);
  runs_.notify_all();
  for (auto& worker : workers_) worker.join();
}

void ThreadPool::run(Program& program) {
  if (program.ranges_.size() != program.phases_.size() * threads())
    program.ranges_ = std::vector<ChunkRange>(program.phases_.size() * threads());
  for (auto& range : program.ranges_) range.taken.store(0, std::memory_order_relaxed);
  for (auto& p : program.phases_) {
    p.done.store(0, std::memory_order_relaxed);
    p.ended.store(0, std::memory_order_relaxed);
  }
  if (!workers_.empty()) {
    {
      const std::lock_guard lock(mutex_);
      current_ = &program;
    }
    runs_.fetch_add(1);
    runs_.notify_all();
  }
  Walker walker(program.phases_, program.ranges_, threads(), 0);
  program.walk(walker);
  if (workers_.empty()) return;
  const std::lock_guard lock(mutex_);
  current_ = nullptr;  // who comes late finds nothing to do
}

void ThreadPool::work(unsigned thread) {
  uint32_t seen = 0;
  while (true) {
    wait_for_change(runs_, seen);
    if (stop_) return;
    seen = runs_.load();
    Program* program = nullptr;
    {
      const std::lock_guard lock(mutex_);
      program = current_;
      if (program != nullptr) program->visitors_.fetch_add(1);
    }
    if (program == nullptr) continue;
    Walker walker(program->phases_, program->ranges_, threads(), thread);
    program->walk(walker);
    program->visitors_.fetch_sub(1, std::memory_order_release);
  }
}

unsigned available_processors() {
  cpu_set_t allowed;
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return 1;
  const int count = CPU_COUNT(&allowed);
  return count > 0 ? static_cast<unsigned>(count) : 1;
}

}  // namespace onebit
