// Threads that walk through the same program together and share its work in small pieces.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

namespace onebit {

/// Chunks of a phase that one thread begins with: a run of neighbours, so that each thread reads memory as a stream of
/// its own. Its thread takes them from the front; who has finished his own takes from the back.
struct alignas(64) ChunkRange {
  std::atomic<uint64_t> taken{0};  // from the front in the low half, from the back in the high half

  /// One more from the front or the back of a range of `size`; false where none is left. `count`: taken before there.
  bool take(bool front, uint32_t size, uint32_t& count);
};

/// How far a phase has come. Phases end when all their chunks are done, not when all threads arrive: a thread
/// that the system has put aside between two chunks holds nobody up.
struct PhaseProgress {
  alignas(64) std::atomic<uint32_t> done{0};   // chunks done
  alignas(64) std::atomic<uint32_t> ended{0};  // 1: the phase is over
};

/// One thread's way through a program.
class Walker {
 public:
  Walker(std::span<PhaseProgress> phases, std::span<ChunkRange> ranges, unsigned threads, unsigned thread)
      : phases_(phases), ranges_(ranges), threads_(threads), thread_(thread) {}

  /// 0 is the thread that runs the program, the others are workers.
  unsigned thread() const { return thread_; }

  /// Takes part in the next phase: body(chunk) for chunks of 0 … chunks - 1 as they come. Returns when all are done.
  template <class Body>
  void phase(uint32_t chunks, Body body) {
    phase(chunks, body, [](auto) {}, [] {});
  }
  /// idle(over) is run by each thread that finds no chunk left, before it waits for the others: something of use that
  /// may end at any time, and should once over() is true. after() is run once, by the thread that ends the last chunk,
  /// before the phase is over (never without chunks).
  template <class Body, class Idle, class After>
  void phase(uint32_t chunks, Body body, Idle idle, After after) {
    auto& p = phases_[at_];
    const auto ranges = ranges_.subspan(at_++ * threads_, threads_);
    if (chunks == 0) return;
    uint32_t mine = 0;
    for (unsigned i = 0; i < threads_; ++i) {
      const unsigned owner = (thread_ + i) % threads_;
      const uint32_t begin = first_chunk(chunks, owner), end = first_chunk(chunks, owner + 1);
      const bool own = i == 0;
      for (uint32_t n = 0; ranges[owner].take(own, end - begin, n); ++mine) {
        body(own ? begin + n : end - 1 - n);
      }
    }
    if (mine > 0 && p.done.fetch_add(mine) + mine == chunks) {
      after();
      end_phase(p);
    } else {
      idle([&p] { return p.ended.load(std::memory_order_acquire) != 0; });
      wait(p);
    }
  }

  /// Where the range of `chunks` chunks begins that a thread takes first.
  uint32_t first_chunk(uint32_t chunks, unsigned thread) const {
    return static_cast<uint32_t>(uint64_t{chunks} * thread / threads_);
  }

 private:
  static void end_phase(PhaseProgress& p);
  static void wait(PhaseProgress& p);

  std::span<PhaseProgress> phases_;
  std::span<ChunkRange> ranges_;  // [phases][threads]
  size_t at_ = 0;
  unsigned threads_, thread_;
};

/// What the threads do: the same phases in the same order on each. Between phases it may only read what does not
/// change while a thread may be inside (see ThreadPool::run).
class Program {
 public:
  explicit Program(size_t phases) : phases_(phases) {}
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  virtual ~Program() = default;

  /// True where no thread is inside any more; only then may it be changed or run again.
  bool idle() const { return visitors_.load(std::memory_order_acquire) == 0; }

 protected:
  virtual void walk(Walker& walker) = 0;

 private:
  friend class ThreadPool;
  std::vector<PhaseProgress> phases_;  // as many as the longest walk has
  std::vector<ChunkRange> ranges_;     // [phases][threads]
  std::atomic<uint32_t> visitors_{0};
};

class ThreadPool {
 public:
  /// `threads` in all, the caller's among them: 1 starts none. `pin`: each on a processor of its own.
  explicit ThreadPool(unsigned threads, bool pin = false);
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  /// Waits until no program has a visitor.
  ~ThreadPool();

  unsigned threads() const { return threads_; }

  /// Runs an idle program on the caller and on whichever workers come in time; returns when its last phase is
  /// over. Workers may still be on their way out: the program must outlive the pool or be idle before it goes.
  void run(Program& program);

 private:
  void work(unsigned thread);

  const unsigned threads_;
  std::mutex mutex_;  // guards current_ and its visitors' entry
  Program* current_ = nullptr;
  std::atomic<uint32_t> runs_{0};  // counts programs; workers wait for a change
  std::atomic<bool> stop_{false};
  std::vector<std::thread> workers_;
};

/// Processors this process may use, at least 1.
unsigned available_processors();

}  // namespace onebit
