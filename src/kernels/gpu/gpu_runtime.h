// Memory, copies and launches: the runtimes of CUDA and HIP differ in the names' first four letters.
// Included by gpu_cuda.h and gpu_hip.h with GPU_RUNTIME(name) defined.
#pragma once

#include "kernels/gpu/gpu_types.h"

namespace onebit::gpu {

using NativeError = GPU_RUNTIME(Error_t);
using Stream = GPU_RUNTIME(Stream_t);
using Event = GPU_RUNTIME(Event_t);
using Graph = GPU_RUNTIME(GraphExec_t);

struct NativeErrors {
  using Type = NativeError;
  static bool good(Type error) { return error == GPU_RUNTIME(Success); }
  static bool out_of_memory(Type error) { return error == GPU_RUNTIME(ErrorMemoryAllocation); }
  static std::string text(Type error) { return GPU_RUNTIME(GetErrorString)(error); }
  static void forget() { static_cast<void>(GPU_RUNTIME(GetLastError)()); }
};
using Outcome = BasicOutcome<NativeErrors>;

inline int device_count() {
  int n = 0;
  if (GPU_RUNTIME(GetDeviceCount)(&n) != GPU_RUNTIME(Success)) {
    static_cast<void>(GPU_RUNTIME(GetLastError)());
    return 0;
  }
  return n;
}

inline void use_device(int device, Outcome& outcome) {
  outcome.take(GPU_RUNTIME(SetDevice)(device));
}

inline DeviceProperties device_properties(int device, Outcome& outcome) {
  DeviceProperties p;
  int value = 0;
  const auto attribute = [&](auto which) {
    outcome.take(GPU_RUNTIME(DeviceGetAttribute)(&value, which, device));
    return outcome.ok() ? value : 0;
  };
#if defined(__HIP__)
  hipDeviceProp_t native{};
  outcome.take(hipGetDeviceProperties(&native, device));
  p.name = native.name;
  p.architecture = native.gcnArchName;
  p.shared_bytes = static_cast<uint64_t>(attribute(hipDeviceAttributeMaxSharedMemoryPerBlock));
  p.multiprocessors = static_cast<uint32_t>(attribute(hipDeviceAttributeMultiprocessorCount));
  p.l2_bytes = static_cast<uint64_t>(attribute(hipDeviceAttributeL2CacheSize));
  p.integrated = attribute(hipDeviceAttributeIntegrated) != 0;
#else
  cudaDeviceProp native{};
  outcome.take(cudaGetDeviceProperties(&native, device));
  p.name = native.name;
  p.architecture = "sm_" + std::to_string(native.major) + std::to_string(native.minor);
  p.shared_bytes = static_cast<uint64_t>(attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin));
  p.multiprocessors = static_cast<uint32_t>(attribute(cudaDevAttrMultiProcessorCount));
  p.l2_bytes = static_cast<uint64_t>(attribute(cudaDevAttrL2CacheSize));
  p.integrated = attribute(cudaDevAttrIntegrated) != 0;
#endif
  size_t available = 0, total = 0;
  outcome.take(GPU_RUNTIME(MemGetInfo)(&available, &total));
  p.free_bytes = available;
  p.memory_bytes = total;
  return p;
}

inline std::string pci_address(int device) {
  char text[32] = {};
  const bool told = NativeErrors::good(GPU_RUNTIME(DeviceGetPCIBusId)(text, sizeof text, device));
  NativeErrors::forget();
  return told ? text : "";
}

inline void* allocate_device(size_t bytes, Outcome& outcome) {
  void* p = nullptr;
  if (outcome.ok()) outcome.take(GPU_RUNTIME(Malloc)(&p, bytes));
  return outcome.ok() ? p : nullptr;
}
inline void free_device(void* p) {
  static_cast<void>(GPU_RUNTIME(Free)(p));
}
/// Host memory that copies may go on from and to while the host does something else.
inline void* allocate_pinned(size_t bytes, Outcome& outcome) {
  void* p = nullptr;
#if defined(__HIP__)
  if (outcome.ok()) outcome.take(hipHostMalloc(&p, bytes, 0));
#else
  if (outcome.ok()) outcome.take(cudaHostAlloc(&p, bytes, 0));
#endif
  return outcome.ok() ? p : nullptr;
}
inline void free_pinned(void* p) {
#if defined(__HIP__)
  static_cast<void>(hipHostFree(p));
#else
  static_cast<void>(cudaFreeHost(p));
#endif
}

/// Where the device reads host memory in place: `bytes` from `host`, a page's beginning, in a file that is mapped
/// read-only. Null where it cannot; that is no error. What is not null ends with unmap_host(), before the memory does.
inline const void* map_host(const void* host, size_t bytes, int device) {
  void* const memory = const_cast<void*>(host);  // registering takes no other; nothing is written
  void* there = nullptr;
#if defined(__HIP__)
  const auto flags = hipHostRegisterMapped;
  const auto reads_any = hipDeviceAttributePageableMemoryAccess;
#else
  const auto flags = cudaHostRegisterMapped | cudaHostRegisterReadOnly;
  const auto reads_any = cudaDevAttrPageableMemoryAccess;
#endif
  if (NativeErrors::good(GPU_RUNTIME(HostRegister)(memory, bytes, flags))) {
    if (NativeErrors::good(GPU_RUNTIME(HostGetDevicePointer)(&there, memory, 0))) return there;
    static_cast<void>(GPU_RUNTIME(HostUnregister)(memory));
  }
  NativeErrors::forget();
  int yes = 0;
  const bool told = NativeErrors::good(GPU_RUNTIME(DeviceGetAttribute)(&yes, reads_any, device));
  NativeErrors::forget();
  return told && yes != 0 ? host : nullptr;
}
inline void unmap_host(const void* host) {
  static_cast<void>(GPU_RUNTIME(HostUnregister)(const_cast<void*>(host)));  // fails where it was not registered
  NativeErrors::forget();
}

inline void copy_to_device(void* to, const void* from, size_t bytes, Stream stream, Outcome& outcome) {
  if (outcome.ok()) outcome.take(GPU_RUNTIME(MemcpyAsync)(to, from, bytes, GPU_RUNTIME(MemcpyHostToDevice), stream));
}
inline void copy_to_host(void* to, const void* from, size_t bytes, Stream stream, Outcome& outcome) {
  if (outcome.ok()) outcome.take(GPU_RUNTIME(MemcpyAsync)(to, from, bytes, GPU_RUNTIME(MemcpyDeviceToHost), stream));
}
inline void copy_on_device(void* to, const void* from, size_t bytes, Stream stream, Outcome& outcome) {
  if (outcome.ok()) outcome.take(GPU_RUNTIME(MemcpyAsync)(to, from, bytes, GPU_RUNTIME(MemcpyDeviceToDevice), stream));
}
inline void fill_zero(void* to, size_t bytes, Stream stream, Outcome& outcome) {
  if (outcome.ok()) outcome.take(GPU_RUNTIME(MemsetAsync)(to, 0, bytes, stream));
}

inline Stream new_stream(Outcome& outcome) {
  Stream stream = nullptr;
  if (outcome.ok()) outcome.take(GPU_RUNTIME(StreamCreateWithFlags)(&stream, GPU_RUNTIME(StreamNonBlocking)));
  return stream;
}
inline void end_stream(Stream stream) {
  if (stream != nullptr) static_cast<void>(GPU_RUNTIME(StreamDestroy)(stream));
}
inline void wait_for(Stream stream, Outcome& outcome) {
  if (outcome.ok()) outcome.take(GPU_RUNTIME(StreamSynchronize)(stream));
}

inline Event new_event(Outcome& outcome) {
  Event event = nullptr;
  if (outcome.ok()) outcome.take(GPU_RUNTIME(EventCreate)(&event));
  return event;
}
inline void end_event(Event event) {
  if (event != nullptr) static_cast<void>(GPU_RUNTIME(EventDestroy)(event));
}
inline void record(Event event, Stream stream, Outcome& outcome) {
  if (outcome.ok()) outcome.take(GPU_RUNTIME(EventRecord)(event, stream));
}
inline void wait_for_event(Event event, Outcome& outcome) {
  if (outcome.ok()) outcome.take(GPU_RUNTIME(EventSynchronize)(event));
}
inline double seconds_between(Event begin, Event end, Outcome& outcome) {
  float ms = 0;
  if (outcome.ok()) outcome.take(GPU_RUNTIME(EventElapsedTime)(&ms, begin, end));
  return static_cast<double>(ms) * 1e-3;
}

/// What is launched between begin_graph and end_graph, to be launched again as one.
inline void begin_graph(Stream stream, Outcome& outcome) {
  if (outcome.ok()) outcome.take(GPU_RUNTIME(StreamBeginCapture)(stream, GPU_RUNTIME(StreamCaptureModeThreadLocal)));
}
inline Graph end_graph(Stream stream, Outcome& outcome) {
  GPU_RUNTIME(Graph_t) graph = nullptr;
  outcome.take(GPU_RUNTIME(StreamEndCapture)(stream, &graph));
  Graph made = nullptr;
#if defined(__HIP__)
  if (outcome.ok()) outcome.take(hipGraphInstantiate(&made, graph, nullptr, nullptr, 0));
#else
  if (outcome.ok()) outcome.take(cudaGraphInstantiate(&made, graph, 0));
#endif
  if (graph != nullptr) static_cast<void>(GPU_RUNTIME(GraphDestroy)(graph));
  return made;
}
inline void launch_graph(Graph graph, Stream stream, Outcome& outcome) {
  if (outcome.ok()) outcome.take(GPU_RUNTIME(GraphLaunch)(graph, stream));
}
inline void free_graph(Graph graph) {
  if (graph != nullptr) static_cast<void>(GPU_RUNTIME(GraphExecDestroy)(graph));
}

/// A kernel may then be launched with so much shared memory.
template <class... Parameters>
void allow_shared([[maybe_unused]] void (*kernel)(Parameters...), [[maybe_unused]] uint64_t bytes,
                  [[maybe_unused]] Outcome& outcome) {
#if !defined(__HIP__)
  if (outcome.ok())
    outcome.take(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                      cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)));
#endif
}

/// Blocks of a kernel that fit on one multiprocessor at once.
template <class... Parameters>
uint32_t resident_blocks(void (*kernel)(Parameters...), uint32_t block_threads, uint64_t shared_bytes,
                         Outcome& outcome) {
  int n = 0;
  if (outcome.ok())
    outcome.take(GPU_RUNTIME(OccupancyMaxActiveBlocksPerMultiprocessor)(&n, reinterpret_cast<const void*>(kernel),
                                                                        static_cast<int>(block_threads), shared_bytes));
  return static_cast<uint32_t>(n);
}

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), const LaunchShape& shape, Stream stream, Outcome& outcome,
            const Arguments&... arguments) {
  if (!outcome.ok()) return;
  auto call = [&](Parameters... parameters) {
    void* pointers[] = {&parameters...};
    const auto* function = reinterpret_cast<const void*>(kernel);
    const dim3 grid(shape.blocks), block(shape.threads);
    const auto shared = static_cast<uint32_t>(shape.shared_bytes);
#if !defined(__HIP__)
    if (shape.early) {
      cudaLaunchAttribute early{};
      early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
      early.val.programmaticStreamSerializationAllowed = 1;
      cudaLaunchConfig_t config{};
      config.gridDim = grid;
      config.blockDim = block;
      config.dynamicSmemBytes = shared;
      config.stream = stream;
      config.attrs = &early;
      config.numAttrs = 1;
      outcome.take(cudaLaunchKernelExC(&config, function, pointers));
      return;
    }
#endif
    outcome.take(shape.together ? GPU_RUNTIME(LaunchCooperativeKernel)(function, grid, block, pointers, shared, stream)
                                : GPU_RUNTIME(LaunchKernel)(function, grid, block, pointers, shared, stream));
  };
  call(arguments...);
}

}  // namespace onebit::gpu
