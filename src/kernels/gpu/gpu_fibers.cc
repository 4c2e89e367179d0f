#include "kernels/gpu/gpu_fibers.h"

// The switch itself, below Boost.Context's public classes: those enter a fiber once when it is made, unseen by
// sanitizers, and unwind it by an exception of their own.
#include <algorithm>
#include <boost/context/detail/fcontext.hpp>
#include <boost/context/protected_fixedsize_stack.hpp>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <span>

// The sanitizers' own functions where the program is built with one, null elsewhere.
extern "C" {
// NOLINTBEGIN(bugprone-reserved-identifier)
__attribute__((weak)) void __sanitizer_start_switch_fiber(void** fake_stack, const void* bottom, size_t size);
__attribute__((weak)) void __sanitizer_finish_switch_fiber(void* fake_stack, const void** bottom, size_t* size);
__attribute__((weak)) void* __tsan_get_current_fiber();
__attribute__((weak)) void* __tsan_create_fiber(unsigned flags);
__attribute__((weak)) void __tsan_destroy_fiber(void* fiber);
__attribute__((weak)) void __tsan_switch_to_fiber(void* fiber, unsigned flags);
// AddressSanitizer's second stack for what may be used after a function's return takes megabytes a fiber.
__attribute__((used)) const char* __asan_default_options() {
  return "detect_stack_use_after_return=0";
}
// NOLINTEND(bugprone-reserved-identifier)
}

namespace onebit::gpu::host {

constinit thread_local Thread* running = nullptr;

namespace {

namespace context = boost::context;
using context::detail::transfer_t;

// Sanitizers make frames several times as large.
#if defined(ONEBIT_SANITIZED)
constexpr size_t kStackBytes = 256 << 10;
#else
constexpr size_t kStackBytes = 64 << 10;
#endif

/// Uninitialised shared memory: huge as a float, not a number as a half, far away as an index.
constexpr unsigned char kPoison = 0x7f;

/// Rounds in which threads only look whether others have done something.
constexpr uint32_t kPatience = 20000;

struct Cancelled {};

class Launch;

struct Fiber : Thread {
  context::stack_context stack;
  context::detail::fcontext_t at = nullptr;  // where it was left
  void* fake_stack = nullptr;                // AddressSanitizer's, while it is left
  void* tsan = nullptr;
};

/// The fibers of one thread of the host, kept between launches, and the stack they return to.
class Fibers {
 public:
  Fibers() = default;
  Fibers(const Fibers&) = delete;
  Fibers& operator=(const Fibers&) = delete;
  ~Fibers() {
    launch = nullptr;  // each returns for good
    for (auto& fiber : all_) {
      Fiber* const one[] = {fiber.get()};
      enter(one);
      if (__tsan_destroy_fiber != nullptr) __tsan_destroy_fiber(fiber->tsan);
      context::protected_fixedsize_stack(kStackBytes).deallocate(fiber->stack);
    }
  }

  /// Sees to it that there are `count`, so many that operator[] knows them.
  void reserve(size_t count) {
    while (all_.size() < count) {
      auto fiber = std::make_unique<Fiber>();
      fiber->stack = context::protected_fixedsize_stack(kStackBytes).allocate();
      // Not all from the same place in a page: they would compete for the same lines of the cache.
      const size_t indent = all_.size() % 32 * 128;
      fiber->at = context::detail::make_fcontext(static_cast<char*>(fiber->stack.sp) - indent,
                                                 fiber->stack.size - indent, life);
      if (__tsan_create_fiber != nullptr) fiber->tsan = __tsan_create_fiber(0);
      all_.push_back(std::move(fiber));
    }
  }
  Fiber& operator[](size_t i) { return *all_[i]; }

  /// Runs the fibers of `queue`, one after the other; each until it leaves.
  void enter(std::span<Fiber* const> queue) {
    queue_ = queue;
    if (!queue.empty()) go(nullptr, next());
  }

  /// To the next one of the queue, or back to enter(), until the fiber's turn comes again; which is never, if
  /// `for_good`.
  void leave(Fiber& fiber, bool for_good = false) { go(&fiber, next(), for_good); }

  /// Nobody of the queue is entered any more.
  void end_queue() { queue_ = {}; }

  Launch* launch = nullptr;  // that fibers work for

 private:
  static void life(transfer_t from);

  Fiber* next() {
    if (queue_.empty()) return nullptr;
    auto* fiber = queue_.front();
    queue_ = queue_.subspan(1);
    return fiber;
  }

  /// From one fiber's stack to another's; null: the stack that enter() was called on.
  void go(Fiber* from, Fiber* to, bool for_good = false) {
    auto& fake_stack = from == nullptr ? fake_stack_ : from->fake_stack;
    if (__sanitizer_start_switch_fiber != nullptr) {
      const auto* bottom = to == nullptr ? bottom_ : static_cast<char*>(to->stack.sp) - to->stack.size;
      __sanitizer_start_switch_fiber(for_good ? nullptr : &fake_stack, bottom, to == nullptr ? size_ : to->stack.size);
    }
    if (__tsan_switch_to_fiber != nullptr) {
      if (from == nullptr) tsan_ = __tsan_get_current_fiber();
      __tsan_switch_to_fiber(to == nullptr ? tsan_ : to->tsan, 0);
    }
    running = to;
    arrive(context::detail::jump_fcontext(to == nullptr ? back_ : to->at, from), fake_stack);
  }

  /// `left` tells who was left for the one that now goes on.
  void arrive(const transfer_t& left, void* fake_stack) {
    auto* fiber = static_cast<Fiber*>(left.data);
    (fiber == nullptr ? back_ : fiber->at) = left.fctx;
    if (__sanitizer_finish_switch_fiber == nullptr) return;
    __sanitizer_finish_switch_fiber(fake_stack, &left_bottom_, &left_size_);
    if (fiber == nullptr) bottom_ = left_bottom_, size_ = left_size_;
  }

  std::vector<std::unique_ptr<Fiber>> all_;
  std::span<Fiber* const> queue_;
  // Of the stack that enter() was called on.
  context::detail::fcontext_t back_ = nullptr;
  const void* bottom_ = nullptr;
  size_t size_ = 0;
  void* fake_stack_ = nullptr;
  void* tsan_ = nullptr;
  // Of the stack that was left last. No variables of arrive(): a sanitizer makes taking their address expensive.
  const void* left_bottom_ = nullptr;
  size_t left_size_ = 0;
};

thread_local Fibers fibers;

struct LiveBlock {
  Block block;
  size_t first_fiber = 0;
  bool ended = false;
};

struct FreeAligned {
  void operator()(unsigned char* p) const { ::operator delete(p, std::align_val_t{128}); }
};
using SharedMemory = std::unique_ptr<unsigned char, FreeAligned>;

std::string place(const std::source_location& where) {
  std::string file = where.file_name();
  file.erase(0, file.rfind('/') + 1);
  return file + ":" + std::to_string(where.line());
}

const char* name(Wait wait) {
  constexpr const char* kNames[] = {"nothing",          "other blocks", "sync_warp", "a shuffle",
                                    "a matrix product", "sync_block",   "ended"};
  return kNames[static_cast<size_t>(wait)];
}

std::string describe(const Thread& thread) {
  const auto who = "thread " + std::to_string(thread.index) + " of block " + std::to_string(thread.block->index);
  if (thread.wait == Wait::kEnded) return who + " has ended";
  return who + " waits for " + name(thread.wait) + " at " + place(thread.where);
}

class Launch {
 public:
  Launch(const LaunchShape& shape, const std::function<void()>& body, uint32_t order)
      : shape_(shape), body_(body), order_(order), alive_(shape.together ? shape.blocks : 1) {
    fibers_.reserve(size_t{alive_} * shape.threads);
    warps_.resize(size_t{alive_} * warps_of_block());
    blocks_.resize(alive_);
    shared_.resize(alive_);
  }

  std::string run() {
    fibers_.launch = this;
    if (shape_.together) {
      for (uint32_t i = 0; i < alive_; ++i) begin(i, i);
      run_alive();
    } else {
      for_all(shape_.blocks, [&](uint32_t i) {
        begin(0, i);
        run_alive();
      });
    }
    cancel();
    return error_;
  }

  void body() {
    try {
      if (error_.empty()) body_();
    } catch (const Cancelled&) {  // NOLINT(bugprone-empty-catch): how a launch that failed ends its threads
    } catch (const std::exception& e) {
      report(std::string("an exception: ") + e.what());
    } catch (...) {
      report("an exception");
    }
  }

  bool failed() const { return !error_.empty(); }
  /// The first one is kept.
  void report(std::string error) {
    if (error_.empty()) error_ = std::move(error);
    fibers_.end_queue();
  }

 private:
  uint32_t warps_of_block() const { return shape_.threads / kWarp; }
  Thread& thread(const LiveBlock& live, uint32_t i) { return fibers_[live.first_fiber + i]; }

  /// Calls `visit` with all of 0 … n - 1: from somewhere, up or down, differently each time.
  template <class Visit>
  void for_all(uint32_t n, const Visit& visit) {
    if (order_ == 0) {
      for (uint32_t i = 0; i < n && error_.empty(); ++i) visit(i);
      return;
    }
    const uint32_t hash = (order_ + ++phase_ * 0x85ebca6bu) * 0x9e3779b1u;
    const uint32_t start = (hash >> 8) % n;
    const bool up = (hash & 0x80u) != 0;
    uint32_t i = start;
    for (uint32_t seen = 0; seen < n && error_.empty(); ++seen) {
      visit(i);
      if (up)
        i = i + 1 == n ? 0 : i + 1;
      else
        i = i == 0 ? n - 1 : i - 1;
    }
  }

  void begin(uint32_t slot, uint32_t index) {
    auto& live = blocks_[slot];
    // New for each block and exactly as large as asked for, so that AddressSanitizer sees the byte behind it.
    shared_[slot].reset(static_cast<unsigned char*>(::operator new(shape_.shared_bytes, std::align_val_t{128})));
    std::memset(shared_[slot].get(), kPoison, shape_.shared_bytes);
    live.block = {index, shared_[slot].get(), {}};
    live.first_fiber = size_t{slot} * shape_.threads;
    live.ended = false;
    for (uint32_t i = 0; i < shape_.threads; ++i) {
      auto& t = thread(live, i);
      t.wait = Wait::kNothing;
      t.index = i;
      t.exchanges = t.atomics = 0;
      t.warp = &warps_[slot * warps_of_block() + i / kWarp];
      t.block = &live.block;
      t.shape = &shape_;
      t.copies.clear();
    }
  }

  void run_alive() {
    uint32_t idle = 0;
    for (uint32_t left = alive_; left > 0 && error_.empty();) {
      progress_ = false;
      for_all(alive_, [&](uint32_t i) {
        if (blocks_[i].ended) return;
        advance(blocks_[i]);
        if (blocks_[i].ended) --left;
      });
      idle = progress_ ? 0 : idle + 1;
      if (idle > kPatience) report("nobody goes on: " + first_waiting());
    }
  }

  /// Lets every thread of a block run as far as it can without other blocks.
  void advance(LiveBlock& live) {
    do {
      for_all(warps_of_block(), [&](uint32_t i) { advance_warp(live, i * kWarp); });
    } while (error_.empty() && release_block(live));
  }

  void advance_warp(LiveBlock& live, uint32_t first) {
    do {
      Fiber* queue[kWarp];
      uint32_t n = 0;
      for_all(kWarp, [&](uint32_t i) {
        auto& fiber = fibers_[live.first_fiber + first + i];
        if (fiber.wait > Wait::kOthers) return;
        progress_ = progress_ || fiber.wait == Wait::kNothing;
        fiber.wait = Wait::kNothing;
        queue[n++] = &fiber;
      });
      fibers_.enter({queue, n});
      for (uint32_t i = 0; i < n; ++i) progress_ = progress_ || queue[i]->wait != Wait::kOthers;
    } while (error_.empty() && release_warp(live, first));
  }

  /// Whether all lanes had come to the same place, and may go on.
  bool release_warp(LiveBlock& live, uint32_t first) {
    auto& one = thread(live, first);
    bool same = true;
    for (uint32_t i = 0; i < kWarp; ++i) {
      const auto& t = thread(live, first + i);
      if (t.wait == Wait::kOthers) return false;
      same = same && t.wait == one.wait && (t.wait == Wait::kEnded || t.where.line() == one.where.line());
    }
    if (!same) return diverged(live, first, first + kWarp);
    if (one.wait == Wait::kBlock || one.wait == Wait::kEnded) return false;
    for (uint32_t i = 0; i < kWarp; ++i) thread(live, first + i).wait = Wait::kNothing;
    return true;
  }

  /// Whether all threads wait for the block, and may go on.
  bool release_block(LiveBlock& live) {
    const auto first = thread(live, 0).wait;
    bool same = true;
    for (uint32_t i = 0; i < shape_.threads; ++i) {
      const auto wait = thread(live, i).wait;
      if (wait != Wait::kBlock && wait != Wait::kEnded) return false;
      same = same && wait == first;
    }
    if (!same) return diverged(live, 0, shape_.threads);
    live.ended = first == Wait::kEnded;
    for (uint32_t i = 0; i < shape_.threads && !live.ended; ++i) thread(live, i).wait = Wait::kNothing;
    progress_ = true;
    return !live.ended;
  }

  bool diverged(LiveBlock& live, uint32_t begin, uint32_t end) {
    const auto& one = thread(live, begin);
    for (uint32_t i = begin; i < end; ++i) {
      const auto& t = thread(live, i);
      if (t.wait != one.wait || (t.wait != Wait::kEnded && t.where.line() != one.where.line())) {
        report("a barrier that not all reach: " + describe(one) + ", " + describe(t));
        break;
      }
    }
    return false;
  }

  std::string first_waiting() {
    for (const auto& live : blocks_)
      for (uint32_t i = 0; i < shape_.threads && !live.ended; ++i)
        if (thread(live, i).wait == Wait::kOthers) return describe(thread(live, i));
    return "every thread";
  }

  /// Ends the threads that a failed launch leaves in the middle of their work.
  void cancel() {
    if (error_.empty()) return;
    for (const auto& live : blocks_)
      for (uint32_t i = 0; i < shape_.threads && live.block.shared != nullptr; ++i) {
        auto& fiber = fibers_[live.first_fiber + i];
        Fiber* const one[] = {&fiber};
        while (fiber.wait != Wait::kEnded) fibers_.enter(one);
      }
  }

  Fibers& fibers_ = fibers;
  const LaunchShape shape_;
  const std::function<void()>& body_;
  const uint32_t order_;
  const uint32_t alive_;  // blocks that run at the same time
  uint32_t phase_ = 0;
  bool progress_ = false;
  std::vector<Warp> warps_;
  std::vector<LiveBlock> blocks_;
  std::vector<SharedMemory> shared_;
  std::string error_;
};

void Fibers::life(transfer_t from) {
  auto& fiber = static_cast<Fiber&>(*running);
  fibers.arrive(from, nullptr);
  while (fibers.launch != nullptr) {
    fibers.launch->body();
    fiber.wait = Wait::kEnded;
    fibers.leave(fiber);
  }
  fibers.leave(fiber, true);
}

}  // namespace

void wait(Wait what, const std::source_location& where) {
  running->wait = what;
  running->where = where;
  fibers.leave(static_cast<Fiber&>(*running));  // all threads are made as fibers
  if (fibers.launch->failed()) throw Cancelled{};
}

void fail(const char* text, const std::source_location& where) {
  fibers.launch->report(text + (": thread " + std::to_string(running->index)) + " of block " +
                        std::to_string(running->block->index) + " at " + place(where));
  throw Cancelled{};
}

void finish_copies(uint32_t left) {
  auto& copies = running->copies;
  auto groups = std::count_if(copies.begin(), copies.end(), [](const Copy& copy) { return copy.to == nullptr; });
  size_t done = 0;
  for (; groups > static_cast<std::ptrdiff_t>(left); ++done) {
    if (copies[done].to != nullptr)
      std::memcpy(copies[done].to, copies[done].from, 16);
    else
      --groups;
  }
  copies.erase(copies.begin(), copies.begin() + static_cast<std::ptrdiff_t>(done));
}

bool finish_bulk(const void* barrier) {
  uint64_t left = 0;
  auto& all = running->block->bulk;
  for (const Bulk& b : all) {
    if (b.barrier != barrier) continue;
    if (b.to == nullptr) {
      left += b.bytes;
    } else {
      std::memcpy(b.to, b.from, b.bytes);
      left -= b.bytes;
    }
  }
  std::erase_if(all, [&](const Bulk& b) { return b.barrier == barrier; });
  return left == 0;
}

std::string run(const LaunchShape& shape, const std::function<void()>& body, uint32_t order) {
  return Launch(shape, body, order).run();
}

}  // namespace onebit::gpu::host
