// The shim (gpu_api.h) for CUDA. Needs compute capability 8.0.
#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "kernels/gpu/gpu_types.h"

#define GPU_DEVICE __device__ __forceinline__
#define GPU_FUNCTION static __device__ __noinline__
#define GPU_KERNEL(threads, blocks) __global__ void __launch_bounds__(threads, blocks)
#define GPU_ARGUMENT const __grid_constant__
#define GPU_PRAGMA(text) _Pragma(#text)
#define GPU_UNROLL(n) GPU_PRAGMA(unroll n)
#define GPU_UNROLL_ALL _Pragma("unroll")

namespace onebit::gpu {

GPU_DEVICE uint32_t thread() {
  return threadIdx.x;
}
GPU_DEVICE uint32_t threads() {
  return blockDim.x;
}
GPU_DEVICE uint32_t block() {
  return blockIdx.x;
}
GPU_DEVICE uint32_t blocks() {
  return gridDim.x;
}

/// A kernel's only argument, where it lies.
template <class T>
GPU_DEVICE const T& argument_of(const T& argument) {
  return argument;
}

GPU_DEVICE unsigned char* shared_memory() {
  extern __shared__ __align__(128) unsigned char shared[];
  return shared;
}

GPU_DEVICE void sync_block() {
  __syncthreads();
}
GPU_DEVICE void sync_warp() {
  __syncwarp();
}
template <class T>
GPU_DEVICE T shuffle_xor(T v, uint32_t mask) {
  return __shfl_xor_sync(0xffffffffu, v, mask);
}
template <class T>
GPU_DEVICE T shuffle(T v, uint32_t lane) {
  return __shfl_sync(0xffffffffu, v, lane);
}

GPU_DEVICE uint32_t largest_in_warp(uint32_t v) {
  return __reduce_max_sync(0xffffffffu, v);
}
GPU_DEVICE int32_t sum_in_warp(int32_t v) {
  return __reduce_add_sync(0xffffffffu, v);
}

template <class T>
GPU_DEVICE T atomic_add(T* p, T v) {
  return atomicAdd(p, v);
}
GPU_DEVICE uint32_t atomic_max(uint32_t* p, uint32_t v) {
  return atomicMax(p, v);
}
GPU_DEVICE uint64_t atomic_max(uint64_t* p, uint64_t v) {
  return atomicMax(reinterpret_cast<unsigned long long*>(p), static_cast<unsigned long long>(v));
}
/// Without the invalidation of the first-level cache that an acquire is here: load_fresh does not look there.
GPU_DEVICE uint32_t load_flag(const uint32_t* p) {
  uint32_t v;
  asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
  return v;
}
GPU_DEVICE uint64_t load_relaxed(const uint64_t* p) {
  // Not by assembly: the compiler then has no addresses in registers that differ by a constant alone.
  return __nv_atomic_load_n(const_cast<uint64_t*>(p), __NV_ATOMIC_RELAXED, __NV_THREAD_SCOPE_DEVICE);
}
GPU_DEVICE void store_relaxed(uint64_t* p, uint64_t v) {
  asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(p), "l"(v) : "memory");
}
GPU_DEVICE uint32_t atomic_add_release(uint32_t* p, uint32_t v) {
  uint32_t old;
  asm volatile("atom.add.release.gpu.global.u32 %0, [%1], %2;" : "=r"(old) : "l"(p), "r"(v) : "memory");
  return old;
}
/// What other blocks wrote before a barrier, never this multiprocessor's older copy.
GPU_DEVICE float load_fresh(const float* p) {
  float v;
  asm volatile("ld.global.cg.f32 %0, [%1];" : "=f"(v) : "l"(p) : "memory");
  return v;
}
GPU_DEVICE float4 load_fresh(const float4* p) {
  float4 v;
  asm volatile("ld.global.cg.v4.f32 {%0,%1,%2,%3}, [%4];"
               : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
               : "l"(p)
               : "memory");
  return v;
}
GPU_DEVICE int32_t load_fresh(const int32_t* p) {
  int32_t v;
  asm volatile("ld.global.cg.s32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
  return v;
}
/// Towards the second-level cache.
GPU_DEVICE void prefetch(const void* p) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(p));
}
GPU_DEVICE void fence() {
  __threadfence();
}
GPU_DEVICE void pause() {}

GPU_DEVICE uint4 load_stream(const void* p) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(p));
  return v;
}
GPU_DEVICE void copy_async(void* shared, const void* global) {
  const auto to = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(global) : "memory");
}
GPU_DEVICE void copy_async_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int kLeft>
GPU_DEVICE void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
}

/// Copies in bulk: from compute capability 9.0 one instruction of one thread, before that cp.async of a warp.
struct alignas(8) CopyBarrier {
  uint64_t word;
};
namespace cuda {
GPU_DEVICE uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}
}  // namespace cuda
GPU_DEVICE void begin(CopyBarrier* b) {
#if __CUDA_ARCH__ >= 900
  asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(cuda::shared_address(b)) : "memory");
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#else
  asm volatile("mbarrier.init.shared.b64 [%0], 32;" ::"r"(cuda::shared_address(b)) : "memory");
#endif
}
GPU_DEVICE void copy_begin(CopyBarrier* b, uint32_t bytes) {
#if __CUDA_ARCH__ >= 900
  if (thread() % kWarp != 0) return;
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(cuda::shared_address(b)), "r"(bytes)
               : "memory");
#endif
}
GPU_DEVICE void copy_bulk(CopyBarrier* b, void* shared, const void* global, uint32_t bytes) {
#if __CUDA_ARCH__ >= 900
  if (thread() % kWarp == 0)
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                     cuda::shared_address(shared)),
                 "l"(global), "r"(bytes), "r"(cuda::shared_address(b))
                 : "memory");
#else
  for (uint32_t at = thread() % kWarp * 16; at < bytes; at += kWarp * 16)
    copy_async(static_cast<unsigned char*>(shared) + at, static_cast<const unsigned char*>(global) + at);
#endif
}
GPU_DEVICE void copy_end(CopyBarrier* b) {
#if __CUDA_ARCH__ < 900
  asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(cuda::shared_address(b)) : "memory");
#endif
}
GPU_DEVICE void copy_wait(CopyBarrier* b, uint32_t parity) {
  uint32_t done = 0;
  while (done == 0)
#if __CUDA_ARCH__ >= 900
    asm volatile(
        "{\n\t.reg .pred p;\n\tmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n\tselp.b32 %0, 1, 0, p;\n\t}"
        : "=r"(done)
        : "r"(cuda::shared_address(b)), "r"(parity)
        : "memory");
#else
    asm volatile("{\n\t.reg .pred p;\n\tmbarrier.test_wait.parity.shared.b64 p, [%1], %2;\n\tselp.b32 %0, 1, 0, p;\n\t}"
                 : "=r"(done)
                 : "r"(cuda::shared_address(b)), "r"(parity)
                 : "memory");
#endif
}

GPU_DEVICE uint32_t opaque(uint32_t v) {
  asm volatile("" : "+r"(v));
  return v;
}
GPU_DEVICE int32_t dot4(int32_t acc, uint32_t u, uint32_t s) {
  int32_t d;
  asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(d) : "r"(u), "r"(s), "r"(acc));
  return d;
}
GPU_DEVICE int32_t dot4_signed(int32_t acc, uint32_t a, uint32_t b) {
  return __dp4a(static_cast<int>(a), static_cast<int>(b), acc);
}
/// Bytes of {a, b} picked by the nibbles of `selector`: 0 to 3 of a, 4 to 7 of b.
GPU_DEVICE uint32_t pick_bytes(uint32_t a, uint32_t b, uint32_t selector) {
  return __byte_perm(a, b, selector);
}

/// d += A B: A 16×32 bytes, B 32×8 signed bytes. Lane l = 4 g + t holds of A rows g and g + 8 at columns 4 t … + 3
/// (a[0], a[1]) and 16 + 4 t … + 3 (a[2], a[3]), of B column g at rows 4 t … + 3 (b[0]) and 16 + 4 t … + 3 (b[1]), of d
/// rows g (d[0], d[1]) and g + 8 (d[2], d[3]) at columns 2 t and 2 t + 1.
template <bool kSigned>
GPU_DEVICE void multiply_16x8x32(int32_t (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  if constexpr (kSigned)
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  else
    asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// Waits for the kernels launched before, where this one may have begun before they ended (LaunchShape::early).
GPU_DEVICE void wait_for_earlier() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
/// From here on the next kernel may begin, if it was launched so.
GPU_DEVICE void let_next_begin() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

GPU_DEVICE float half_to_float(uint16_t bits) {
  return __half2float(__ushort_as_half(bits));
}
GPU_DEVICE uint16_t float_to_half(float x) {
  return __half_as_ushort(__float2half_rn(x));
}
GPU_DEVICE uint64_t clock_ns() {
  uint64_t t;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(t));
  return t;
}

}  // namespace onebit::gpu

#include "kernels/gpu/multiply_tiles.h"

#include "kernels/gpu/gpu_cuda_multiply.h"

#define GPU_RUNTIME(name) cuda##name
#include "kernels/gpu/gpu_runtime.h"
#undef GPU_RUNTIME
