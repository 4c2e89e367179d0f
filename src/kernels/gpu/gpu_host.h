// The shim (gpu_api.h) for the host: threads of a block are fibers (gpu_fibers.h), memory is the heap's, every call is
// finished when it returns. It is for tests, so it is stricter than a GPU: a barrier that not all threads reach, a
// launch that a small GPU would refuse and threads that wait for ever are errors of the launch; copies to shared memory
// arrive when they are waited for, not before; threads go on in an order that no kernel can rely on; memory starts
// with a pattern, never with zeros. Under AddressSanitizer device memory and each block's shared memory have exactly
// the size that was asked for.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <source_location>
#include <string>
#include <tuple>
#include <type_traits>

#include "base/half.h"
#include "kernels/gpu/gpu_fibers.h"
#include "kernels/gpu/gpu_types.h"

#define GPU_DEVICE inline
// The bounds are the compiler's business; launch() cannot know them.
#define GPU_FUNCTION inline
#define GPU_KERNEL(threads, blocks) inline void
#define GPU_ARGUMENT const
#define GPU_UNROLL(n)
#define GPU_UNROLL_ALL

namespace onebit::gpu {

using Where = std::source_location;

struct alignas(8) uint2 {
  uint32_t x, y;
};
struct alignas(16) uint4 {
  uint32_t x, y, z, w;
};
struct alignas(16) float4 {
  float x, y, z, w;
};

inline uint32_t thread() {
  return host::running->index;
}
inline uint32_t threads() {
  return host::running->shape->threads;
}
inline uint32_t block() {
  return host::running->block->index;
}
inline uint32_t blocks() {
  return host::running->shape->blocks;
}
template <class T>
const T& argument_of(const T& argument) {
  return argument;  // NOLINT(bugprone-return-const-ref-from-parameter): a kernel's own parameter
}
inline unsigned char* shared_memory() {
  return host::running->block->shared;
}

inline void sync_block(const Where& where = Where::current()) {
  host::wait(host::Wait::kBlock, where);
}
inline void sync_warp(const Where& where = Where::current()) {
  host::wait(host::Wait::kWarp, where);
}
template <class T>
T shuffle(T v, uint32_t lane, const Where& where = Where::current()) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8);
  auto* published = host::begin_exchange();
  std::memcpy(published + thread() % kWarp * 8, &v, sizeof(T));
  host::wait(host::Wait::kShuffle, where);
  std::memcpy(&v, published + lane % kWarp * 8, sizeof(T));
  return v;
}
template <class T>
T shuffle_xor(T v, uint32_t mask, const Where& where = Where::current()) {
  if (mask >= kWarp) host::fail("shuffle_xor beyond the warp", where);
  return gpu::shuffle(v, thread() ^ mask, where);  // not std::shuffle
}

inline uint32_t largest_in_warp(uint32_t v) {
  for (uint32_t mask = kWarp / 2; mask > 0; mask /= 2) {
    const uint32_t other = shuffle_xor(v, mask);
    v = v > other ? v : other;
  }
  return v;
}
inline int32_t sum_in_warp(int32_t v) {
  for (uint32_t mask = kWarp / 2; mask > 0; mask /= 2) v += shuffle_xor(v, mask);
  return v;
}

namespace host {
/// Threads that wait for others by atomic operations alone let them run now and then.
inline void count_atomic(const Where& where) {
  if (++running->atomics % 1024 == 0) wait(Wait::kOthers, where);
}
}  // namespace host

template <class T>
T atomic_add(T* p, T v, const Where& where = Where::current()) {
  static_assert(std::is_same_v<T, int32_t> || std::is_same_v<T, uint32_t>);
  host::count_atomic(where);
  return std::atomic_ref<T>(*p).fetch_add(v);
}
inline uint32_t atomic_max(uint32_t* p, uint32_t v, const Where& where = Where::current()) {
  host::count_atomic(where);
  const std::atomic_ref<uint32_t> at(*p);
  uint32_t old = at.load();
  while (old < v && !at.compare_exchange_weak(old, v)) {
  }
  return old;
}
inline uint32_t load_acquire(const uint32_t* p, const Where& where = Where::current()) {
  host::wait(host::Wait::kOthers, where);
  return std::atomic_ref<uint32_t>(*const_cast<uint32_t*>(p)).load(std::memory_order_acquire);
}
inline uint64_t atomic_max(uint64_t* p, uint64_t v, const Where& where = Where::current()) {
  host::count_atomic(where);
  const std::atomic_ref<uint64_t> at(*p);
  uint64_t old = at.load();
  while (old < v && !at.compare_exchange_weak(old, v)) {
  }
  return old;
}
inline float load_fresh(const float* p) {
  return *p;
}
inline float4 load_fresh(const float4* p) {
  return *p;
}
inline int32_t load_fresh(const int32_t* p) {
  return *p;
}
inline void prefetch(const void*) {}
inline uint32_t load_flag(const uint32_t* p, const Where& where = Where::current()) {
  return load_acquire(p, where);
}
inline uint64_t load_relaxed(const uint64_t* p) {
  return std::atomic_ref<uint64_t>(*const_cast<uint64_t*>(p)).load(std::memory_order_relaxed);
}
inline void store_relaxed(uint64_t* p, uint64_t v) {
  std::atomic_ref<uint64_t>(*p).store(v, std::memory_order_relaxed);
}
inline uint32_t atomic_add_release(uint32_t* p, uint32_t v, const Where& where = Where::current()) {
  return gpu::atomic_add(p, v, where);
}
inline void fence() {
  std::atomic_thread_fence(std::memory_order_seq_cst);
}
inline void pause(const Where& where = Where::current()) {
  host::wait(host::Wait::kOthers, where);
}

inline uint4 load_stream(const void* p) {
  return *static_cast<const uint4*>(p);
}
inline void copy_async(void* shared, const void* global, const Where& where = Where::current()) {
  if (reinterpret_cast<uintptr_t>(shared) % 16 != 0 || reinterpret_cast<uintptr_t>(global) % 16 != 0)
    host::fail("copy_async between addresses that are not multiples of 16", where);
  host::running->copies.push_back({shared, global});
}
inline void copy_async_commit() {
  host::running->copies.push_back({nullptr, nullptr});
}
template <int kLeft>
void copy_async_wait() {
  host::finish_copies(kLeft);
}

/// Copies in bulk; the first who waits for them makes them.
struct CopyBarrier {
  uint32_t ordered, done;
};
inline void begin(CopyBarrier* b) {
  *b = {};
}
inline void copy_begin(CopyBarrier* b, uint32_t bytes, const Where& where = Where::current()) {
  if (thread() % kWarp != 0) return;
  if (b->ordered != b->done) host::fail("copies ordered before the last ones were waited for", where);
  host::running->block->bulk.push_back({b, nullptr, nullptr, bytes});
}
inline void copy_bulk(CopyBarrier* b, void* shared, const void* global, uint32_t bytes,
                      const Where& where = Where::current()) {
  if (thread() % kWarp != 0) return;
  if (reinterpret_cast<uintptr_t>(shared) % 16 != 0 || reinterpret_cast<uintptr_t>(global) % 16 != 0 || bytes % 16 != 0)
    host::fail("copy_bulk of what is no multiple of 16 bytes", where);
  host::running->block->bulk.push_back({b, shared, global, bytes});
}
inline void copy_end(CopyBarrier* b) {
  if (thread() % kWarp == 0) ++b->ordered;
}
inline void copy_wait(CopyBarrier* b, uint32_t parity, const Where& where = Where::current()) {
  while ((b->done & 1u) == parity) {
    if (b->ordered == b->done)
      host::wait(host::Wait::kOthers, where);
    else if (host::finish_bulk(b))
      ++b->done;
    else
      host::fail("copies are not of the bytes that copy_begin was told", where);
  }
}

inline uint32_t opaque(uint32_t v) {
  return v;
}
/// Overflow is a mistake that the undefined-behaviour sanitizer sees.
inline int32_t dot4(int32_t acc, uint32_t u, uint32_t s) {
  for (int i = 0; i < 32; i += 8) acc += static_cast<uint8_t>(u >> i) * static_cast<int8_t>(s >> i);
  return acc;
}
inline int32_t dot4_signed(int32_t acc, uint32_t a, uint32_t b) {
  for (int i = 0; i < 32; i += 8) acc += static_cast<int8_t>(a >> i) * static_cast<int8_t>(b >> i);
  return acc;
}
/// Bytes of {a, b} picked by the nibbles of `selector`: 0 to 3 of a, 4 to 7 of b.
inline uint32_t pick_bytes(uint32_t a, uint32_t b, uint32_t selector) {
  const uint64_t both = static_cast<uint64_t>(b) << 32 | a;
  uint32_t picked = 0;
  for (int i = 0; i < 4; ++i) picked |= static_cast<uint32_t>(both >> (selector >> 4 * i & 7) * 8 & 0xff) << 8 * i;
  return picked;
}

/// d += A B: A 16×32 bytes, B 32×8 signed bytes. Lane l = 4 g + t holds of A rows g and g + 8 at columns 4 t … + 3
/// (a[0], a[1]) and 16 + 4 t … + 3 (a[2], a[3]), of B column g at rows 4 t … + 3 (b[0]) and 16 + 4 t … + 3 (b[1]), of d
/// rows g (d[0], d[1]) and g + 8 (d[2], d[3]) at columns 2 t and 2 t + 1.
template <bool kSigned>
void multiply_16x8x32(int32_t (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                      const Where& where = Where::current()) {
  // The 16 rows of A, then the 8 columns of B: as int16, of which compilers multiply several at a time.
  using Line = int16_t[32];
  auto* lines = reinterpret_cast<Line*>(host::begin_exchange());
  static_assert(24 * sizeof(Line) <= host::Warp::kBytes);
  const uint32_t g = thread() % kWarp / 4, t = thread() % 4;
  const auto publish = [&](uint32_t word, bool is_signed, uint32_t line, uint32_t half) {
    for (uint32_t i = 0; i < 4; ++i) {
      const auto byte = static_cast<uint8_t>(word >> 8 * i);
      lines[line][16 * half + 4 * t + i] = is_signed ? static_cast<int8_t>(byte) : byte;
    }
  };
  for (uint32_t i = 0; i < 4; ++i) publish(a[i], kSigned, g + i % 2 * 8, i / 2);
  publish(b0, true, 16 + g, 0);
  publish(b1, true, 16 + g, 1);
  host::wait(host::Wait::kMultiply, where);
  for (uint32_t i = 0; i < 4; ++i) {
    const auto &row = lines[g + i / 2 * 8], &column = lines[16 + 2 * t + i % 2];
    int32_t sum = 0;
    for (uint32_t k = 0; k < 32; ++k) sum += row[k] * column[k];
    d[i] += sum;
  }
}

}  // namespace onebit::gpu

#include "kernels/gpu/multiply_tiles.h"

namespace onebit::gpu {

inline constexpr uint32_t kMultiplyLag = 0;
template <bool kSigned, uint32_t kTiles>
GPU_DEVICE void multiply_shared(int32_t (&d)[kTiles][4], const uint32_t (&a)[4], const unsigned char* b,
                                uint32_t stride, uint32_t tiles, bool first) {
  multiply_tiles<kSigned>(d, a, b, stride, tiles, first);
}
GPU_DEVICE void multiply_begin() {}
GPU_DEVICE void multiply_commit() {}
template <uint32_t kLeft>
GPU_DEVICE void multiply_wait() {}
GPU_DEVICE void multiply_sees_shared() {}
template <uint32_t kTiles>
GPU_DEVICE void multiply_done(int32_t (& /*d*/)[kTiles][4]) {}

GPU_DEVICE void wait_for_earlier() {}
GPU_DEVICE void let_next_begin() {}

inline float half_to_float(uint16_t bits) {
  return onebit::half_to_float(bits);
}
/// As GPUs convert: infinite from 65520, where the file's and the caches' conversion clamps.
inline uint16_t float_to_half(float x) {
  const uint16_t clamped = onebit::float_to_half(x);
  const bool too_large = x >= 65520.0f || x <= -65520.0f;
  return too_large ? static_cast<uint16_t>((clamped & 0x8000u) | 0x7c00u) : clamped;
}
inline uint64_t clock_ns() {
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
          .count());
}

namespace host {

enum class Code { kSuccess, kMemory, kInvalid, kFailed, kLost };
struct Error {
  Code code = Code::kSuccess;
  std::string text;  // of kFailed: what the kernel did; of kInvalid: what is wrong
};
struct Errors {
  using Type = Error;
  static bool good(const Error& error) { return error.code == Code::kSuccess; }
  static bool out_of_memory(const Error& error) { return error.code == Code::kMemory; }
  static std::string text(const Error& error);
  static void forget() {}
};

struct Stream;
struct Event;
struct Graph;

}  // namespace host

using NativeError = host::Error;
using Outcome = BasicOutcome<host::Errors>;
using Stream = host::Stream*;
using Event = host::Event*;
using Graph = host::Graph*;

namespace host {

/// The machine that tests are given. Small, so that kernels meet its limits.
struct Machine {
  int devices = 1;
  uint32_t multiprocessors = 3;
  uint32_t resident_blocks = 2;  // of a multiprocessor, if its shared memory has room
  uint64_t shared_bytes = 64 << 10;
  uint64_t memory_bytes = 1 << 30;
  bool integrated = true;  // reads the host's memory in place
  /// Which threads are let run first, see run(). Every value must give the same results.
  uint32_t order = 1;
  /// So many launches go well, then the device is lost: every launch, copy and wait fails. Negative: never.
  int64_t launches_until_lost = -1;
  int lost_device = -1;  // which that is about; negative: all
};
/// For tests. What is allocated stays.
void set_machine(const Machine& machine);
Machine machine();

void launch(const void* kernel, const LaunchShape& shape, gpu::Stream stream, Outcome& outcome,
            std::function<void()> body);
void allow_shared(const void* kernel, uint64_t bytes, Outcome& outcome);
uint32_t resident_blocks(uint32_t block_threads, uint64_t shared_bytes);

}  // namespace host

// As in gpu_runtime.h.
int device_count();
std::string pci_address(int device);
void use_device(int device, Outcome& outcome);
DeviceProperties device_properties(int device, Outcome& outcome);
void* allocate_device(size_t bytes, Outcome& outcome);
void free_device(void* p);
void* allocate_pinned(size_t bytes, Outcome& outcome);
void free_pinned(void* p);
const void* map_host(const void* host, size_t bytes, int device);
void unmap_host(const void* host);
void copy_to_device(void* to, const void* from, size_t bytes, Stream stream, Outcome& outcome);
void copy_to_host(void* to, const void* from, size_t bytes, Stream stream, Outcome& outcome);
void copy_on_device(void* to, const void* from, size_t bytes, Stream stream, Outcome& outcome);
void fill_zero(void* to, size_t bytes, Stream stream, Outcome& outcome);
Stream new_stream(Outcome& outcome);
void end_stream(Stream stream);
void wait_for(Stream stream, Outcome& outcome);
Event new_event(Outcome& outcome);
void end_event(Event event);
void record(Event event, Stream stream, Outcome& outcome);
inline void wait_for_event(Event, Outcome&) {}
double seconds_between(Event begin, Event end, Outcome& outcome);
void begin_graph(Stream stream, Outcome& outcome);
Graph end_graph(Stream stream, Outcome& outcome);
void launch_graph(Graph graph, Stream stream, Outcome& outcome);
void free_graph(Graph graph);

template <class... Parameters>
void allow_shared(void (*kernel)(Parameters...), uint64_t bytes, Outcome& outcome) {
  host::allow_shared(reinterpret_cast<const void*>(kernel), bytes, outcome);
}
template <class... Parameters>
uint32_t resident_blocks(void (* /*kernel*/)(Parameters...), uint32_t block_threads, uint64_t shared_bytes,
                         Outcome& outcome) {
  return outcome.ok() ? host::resident_blocks(block_threads, shared_bytes) : 0;
}
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), const LaunchShape& shape, Stream stream, Outcome& outcome,
            const Arguments&... arguments) {
  if (!outcome.ok()) return;
  auto body = [kernel, parameters = std::tuple<Parameters...>(arguments...)] { std::apply(kernel, parameters); };
  host::launch(reinterpret_cast<const void*>(kernel), shape, stream, outcome, std::move(body));
}

}  // namespace onebit::gpu
