// Threads of a GPU as fibers of one thread of the host: what gpu_host.h is made of.
//
// A launch runs on the thread that makes it. A fiber runs until it has to wait (for its warp, its block, or another
// block); then the next one does. So a kernel's threads never run at the same time, a kernel does the same thing every
// time, and a barrier that some thread never reaches is seen: everybody waits, and nobody can go on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <source_location>
#include <string>
#include <vector>

#include "kernels/gpu/gpu_types.h"

namespace onebit::gpu::host {

/// What a thread waits for.
enum class Wait : uint8_t { kNothing, kOthers, kWarp, kShuffle, kMultiply, kBlock, kEnded };

/// Of 16 bytes; one of nothing to nowhere ends a group.
struct Copy {
  void* to;
  const void* from;
};

/// What the lanes of a warp publish for each other. Two, taken in turn: nobody can be two exchanges ahead of another.
struct Warp {
  static constexpr size_t kBytes = 1536;
  alignas(64) unsigned char published[2][kBytes];
};

/// A copy that a warp has ordered; to nowhere: how many bytes there will be.
struct Bulk {
  const void* barrier;
  void* to;
  const void* from;
  uint32_t bytes;
};

struct Block {
  uint32_t index = 0;
  unsigned char* shared = nullptr;  // 128-byte aligned
  std::vector<Bulk> bulk;           // under way
};

struct Thread {
  Wait wait = Wait::kNothing;
  uint32_t index = 0;
  uint32_t exchanges = 0;  // made
  uint32_t atomics = 0;    // done
  Warp* warp = nullptr;
  Block* block = nullptr;
  const LaunchShape* shape = nullptr;
  std::source_location where;  // the call that waits
  std::vector<Copy> copies;    // under way, oldest first
};

/// The thread of a kernel that runs now on this thread of the host.
extern constinit thread_local Thread* running;

/// Lets others run until what the thread waits for has come. Throws (to end the thread's function) if the launch fails
/// meanwhile.
void wait(Wait what, const std::source_location& where);

/// Fails the launch; the thread's function ends here.
[[noreturn]] void fail(const char* text, const std::source_location& where);

/// Where this thread and the others of its warp publish something; read it after a wait() for them, until the next
/// exchange.
inline unsigned char* begin_exchange() {
  return running->warp->published[running->exchanges++ % 2];
}

/// Performs the oldest groups of copies until at most `left` are under way.
void finish_copies(uint32_t left);

/// Performs a barrier's copies; whether they have as many bytes as was said.
bool finish_bulk(const void* barrier);

/// Calls `body` as every thread of `shape` (threads: whole warps). Returns what went wrong, empty if nothing did.
/// `order`: which thread is let run first where several may; 0 is ascending, other values shuffle in other ways.
std::string run(const LaunchShape& shape, const std::function<void()>& body, uint32_t order);

}  // namespace onebit::gpu::host
