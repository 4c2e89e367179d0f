#include "kernels/gpu/gpu_host.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <new>
#include <vector>

namespace onebit::gpu {
namespace host {

using Operation = std::function<void(Outcome&)>;

struct Graph {
  std::vector<Operation> operations;
};
struct Stream {
  bool recording = false;
  Graph graph;  // being recorded
};
struct Event {
  uint64_t ns = 0;  // 0: not recorded
};

namespace {

constexpr uint32_t kMostThreads = 1024;
constexpr uint64_t kSharedUnasked = 48 << 10;  // what a kernel may have without allow_shared
constexpr std::align_val_t kAlignment{256};
/// As for shared memory, gpu_fibers.cc.
constexpr int kPoison = 0x7f;

struct State {
  std::mutex mutex;
  Machine machine;
  std::map<const void*, size_t> allocations;     // on the device
  uint64_t allocated = 0;                        // bytes of those
  std::map<const void*, uint64_t> shared_bytes;  // of kernels that allow_shared was called for
};
State& state() {
  static State* one = new State;  // outlives what is freed at exit
  return *one;
}

Error invalid(std::string text) {
  return {Code::kInvalid, std::move(text)};
}

/// Of the calling thread, as with the runtimes of GPUs.
thread_local int current_device = 0;

bool may_be_lost(const Machine& m) {
  return m.lost_device < 0 || m.lost_device == current_device;
}

/// Success unless the device is lost.
Error alive() {
  const auto m = machine();
  if (m.launches_until_lost != 0 || !may_be_lost(m)) return {};
  return {Code::kLost, {}};
}

/// Now, or when the graph that the stream records is launched.
void perform(gpu::Stream stream, Outcome& outcome, Operation operation) {
  if (!outcome.ok()) return;
  outcome.take(alive());
  if (!outcome.ok()) return;
  if (stream != nullptr && stream->recording)
    stream->graph.operations.push_back(std::move(operation));
  else
    operation(outcome);
}

void* allocate(size_t bytes) {
  auto* p = ::operator new(bytes, kAlignment);
  std::memset(p, kPoison, bytes);
  return p;
}

/// What a GPU's runtime refuses, too.
Error check(const void* kernel, const LaunchShape& shape) {
  auto& s = state();
  const std::lock_guard lock(s.mutex);
  if (shape.blocks == 0 || shape.threads == 0 || shape.threads > kMostThreads || shape.threads % kWarp != 0)
    return invalid("a launch of " + std::to_string(shape.blocks) + " blocks of " + std::to_string(shape.threads) +
                   " threads");
  const auto allowed = s.shared_bytes.find(kernel);
  const uint64_t most =
      allowed == s.shared_bytes.end() ? std::min(kSharedUnasked, s.machine.shared_bytes) : allowed->second;
  if (shape.shared_bytes > most)
    return invalid("a launch with " + std::to_string(shape.shared_bytes) + " bytes of shared memory, allowed are " +
                   std::to_string(most));
  return {};
}

}  // namespace

std::string Errors::text(const Error& error) {
  switch (error.code) {
    case Code::kSuccess:
      return "no error";
    case Code::kMemory:
      return "out of memory";
    case Code::kLost:
      return "the device is lost";
    case Code::kInvalid:
    case Code::kFailed:
      break;
  }
  return error.text;
}

void set_machine(const Machine& machine) {
  auto& s = state();
  const std::lock_guard lock(s.mutex);
  s.machine = machine;
}
Machine machine() {
  auto& s = state();
  const std::lock_guard lock(s.mutex);
  return s.machine;
}

void allow_shared(const void* kernel, uint64_t bytes, Outcome& outcome) {
  if (!outcome.ok()) return;
  auto& s = state();
  const std::lock_guard lock(s.mutex);
  if (bytes > s.machine.shared_bytes) {
    outcome.take(invalid("allow_shared of " + std::to_string(bytes) + " bytes"));
    return;
  }
  s.shared_bytes[kernel] = bytes;
}

uint32_t resident_blocks(uint32_t block_threads, uint64_t shared_bytes) {
  const auto m = machine();
  if (block_threads > kMostThreads) return 0;
  if (shared_bytes == 0) return m.resident_blocks;
  return static_cast<uint32_t>(std::min<uint64_t>(m.resident_blocks, m.shared_bytes / shared_bytes));
}

void launch(const void* kernel, const LaunchShape& shape, gpu::Stream stream, Outcome& outcome,
            std::function<void()> body) {
  outcome.take(check(kernel, shape));
  if (shape.together && shape.blocks > resident_blocks(shape.threads, shape.shared_bytes) * machine().multiprocessors)
    outcome.take(invalid("a launch of " + std::to_string(shape.blocks) + " blocks together: they do not fit"));
  perform(stream, outcome, [shape, body = std::move(body)](Outcome& result) {
    result.take(alive());
    if (!result.ok()) return;
    auto problem = run(shape, body, machine().order);
    if (!problem.empty()) result.take({Code::kFailed, std::move(problem)});
    auto& s = state();
    const std::lock_guard lock(s.mutex);
    if (s.machine.launches_until_lost > 0 && may_be_lost(s.machine)) --s.machine.launches_until_lost;
  });
}

}  // namespace host

int device_count() {
  return host::machine().devices;
}

std::string pci_address(int) {
  return {};
}

void use_device(int device, Outcome& outcome) {
  if (device < 0 || device >= device_count()) return outcome.take(host::invalid("no such device"));
  host::current_device = device;
}

DeviceProperties device_properties(int device, Outcome& outcome) {
  use_device(device, outcome);
  auto& s = host::state();
  const std::lock_guard lock(s.mutex);
  const auto& m = s.machine;
  return {.name = "fibers of the host",
          .architecture = "host",
          .multiprocessors = m.multiprocessors,
          .shared_bytes = m.shared_bytes,
          .memory_bytes = m.memory_bytes,
          .free_bytes = m.memory_bytes - std::min(m.memory_bytes, s.allocated),
          .l2_bytes = 1 << 20,
          .integrated = m.integrated};
}

void* allocate_device(size_t bytes, Outcome& outcome) {
  outcome.take(host::alive());
  if (!outcome.ok()) return nullptr;
  auto& s = host::state();
  const std::lock_guard lock(s.mutex);
  if (bytes > s.machine.memory_bytes - std::min(s.machine.memory_bytes, s.allocated)) {
    outcome.take({host::Code::kMemory, {}});
    return nullptr;
  }
  auto* p = host::allocate(bytes);
  s.allocations[p] = bytes;
  s.allocated += bytes;
  return p;
}
void free_device(void* p) {
  if (p == nullptr) return;
  auto& s = host::state();
  const std::lock_guard lock(s.mutex);
  const auto found = s.allocations.find(p);
  if (found != s.allocations.end()) {
    s.allocated -= found->second;
    s.allocations.erase(found);
  }
  ::operator delete(p, host::kAlignment);  // twice, too: AddressSanitizer tells
}
void* allocate_pinned(size_t bytes, Outcome& outcome) {
  return outcome.ok() ? host::allocate(bytes) : nullptr;
}
void free_pinned(void* p) {
  ::operator delete(p, host::kAlignment);
}

const void* map_host(const void* host, size_t, int) {
  return host::machine().integrated ? host : nullptr;
}
void unmap_host(const void*) {}

void copy_to_device(void* to, const void* from, size_t bytes, Stream stream, Outcome& outcome) {
  host::perform(stream, outcome, [=](Outcome&) {
    if (bytes != 0) std::memcpy(to, from, bytes);
  });
}
void copy_to_host(void* to, const void* from, size_t bytes, Stream stream, Outcome& outcome) {
  copy_to_device(to, from, bytes, stream, outcome);
}
void copy_on_device(void* to, const void* from, size_t bytes, Stream stream, Outcome& outcome) {
  copy_to_device(to, from, bytes, stream, outcome);
}
void fill_zero(void* to, size_t bytes, Stream stream, Outcome& outcome) {
  host::perform(stream, outcome, [=](Outcome&) {
    if (bytes != 0) std::memset(to, 0, bytes);
  });
}

Stream new_stream(Outcome& outcome) {
  return outcome.ok() ? new host::Stream : nullptr;
}
void end_stream(Stream stream) {
  delete stream;
}
void wait_for(Stream stream, Outcome& outcome) {
  outcome.take(host::alive());
  if (stream != nullptr && stream->recording) outcome.take(host::invalid("waiting for a stream that records a graph"));
}

Event new_event(Outcome& outcome) {
  return outcome.ok() ? new host::Event : nullptr;
}
void end_event(Event event) {
  delete event;
}
void record(Event event, Stream stream, Outcome& outcome) {
  host::perform(stream, outcome, [=](Outcome&) { event->ns = clock_ns(); });
}
double seconds_between(Event begin, Event end, Outcome& outcome) {
  if (!outcome.ok()) return 0;
  if (begin->ns == 0 || end->ns == 0) {
    outcome.take(host::invalid("the time between events that were not recorded"));
    return 0;
  }
  return (static_cast<double>(end->ns) - static_cast<double>(begin->ns)) * 1e-9;
}

void begin_graph(Stream stream, Outcome& outcome) {
  if (!outcome.ok()) return;
  if (stream == nullptr || stream->recording) {
    outcome.take(host::invalid("a graph of a stream that cannot record one"));
    return;
  }
  stream->recording = true;
  stream->graph = {};
}
Graph end_graph(Stream stream, Outcome& outcome) {
  if (stream == nullptr || !stream->recording) {
    outcome.take(host::invalid("the end of a graph that was not begun"));
    return nullptr;
  }
  stream->recording = false;
  return outcome.ok() ? new host::Graph(std::move(stream->graph)) : nullptr;
}
void launch_graph(Graph graph, Stream stream, Outcome& outcome) {
  host::perform(stream, outcome, [=](Outcome& result) {
    for (const auto& operation : graph->operations)
      if (result.ok()) operation(result);
  });
}
void free_graph(Graph graph) {
  delete graph;
}

}  // namespace onebit::gpu
