// The shim (gpu_api.h) for HIP on AMD's RDNA 3 to 4 (gfx11*, gfx12*), wave32: by clang's builtins alone, without ROCm's
// device libraries or device headers. Compile with `clang++ -x hip -nogpulib -nogpuinc -include cstdlib -include
// hip/hip_runtime_api.h` and the contract's flags (docs/numerics.md, 1); src/kernels/gpu/CMakeLists.txt has them all.
#pragma once

#include <hip/hip_runtime_api.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>

#include "kernels/gpu/gpu_types.h"

#define GPU_DEVICE __device__ __attribute__((always_inline)) inline
// A multiprocessor has four SIMDs, which share a block's waves: so many that `blocks` are on it at once.
#define GPU_FUNCTION GPU_DEVICE
#define GPU_KERNEL(threads, blocks)                                       \
  __global__ void __attribute__((amdgpu_flat_work_group_size(1, threads), \
                                 amdgpu_waves_per_eu((threads) * (blocks) < 128 ? 1 : (threads) * (blocks) / 128)))
#define GPU_ARGUMENT const
#define GPU_PRAGMA(text) _Pragma(#text)
#define GPU_UNROLL(n) GPU_PRAGMA(unroll n)
#define GPU_UNROLL_ALL _Pragma("unroll")

namespace onebit::gpu {

struct alignas(8) uint2 {
  uint32_t x, y;
};
struct alignas(16) uint4 {
  uint32_t x, y, z, w;
};
struct alignas(16) float4 {
  float x, y, z, w;
};

GPU_DEVICE uint32_t thread() {
  return __builtin_amdgcn_workitem_id_x();
}
GPU_DEVICE uint32_t threads() {
  return __builtin_amdgcn_workgroup_size_x();
}
GPU_DEVICE uint32_t block() {
  return __builtin_amdgcn_workgroup_id_x();
}
/// The first of the arguments that the runtime adds to a kernel's own (code object version 5).
GPU_DEVICE uint32_t blocks() {
  return *reinterpret_cast<const uint32_t*>(reinterpret_cast<uintptr_t>(__builtin_amdgcn_implicitarg_ptr()));
}

/// A kernel's only argument, where it lies. Of one that is indexed at run time the compiler would otherwise make a copy
/// in every thread's scratch memory.
template <class T>
GPU_DEVICE const T& argument_of(const T& /*argument*/) {
  return *reinterpret_cast<const T*>(reinterpret_cast<uintptr_t>(__builtin_amdgcn_kernarg_segment_ptr()));
}

GPU_DEVICE unsigned char* shared_memory() {
  extern __shared__ __attribute__((aligned(128))) unsigned char dynamic_shared[];
  return dynamic_shared;
}

GPU_DEVICE void sync_block() {
  __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
  __builtin_amdgcn_s_barrier();
  __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
}
GPU_DEVICE void sync_warp() {
  __builtin_amdgcn_fence(__ATOMIC_RELEASE, "wavefront");
  __builtin_amdgcn_wave_barrier();
  __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "wavefront");
}

namespace hip {

/// Calls `move` with each 32-bit word of `v` and returns what it makes of them.
template <class T, class Move>
GPU_DEVICE T by_words(T v, const Move& move) {
  static_assert(std::is_trivially_copyable_v<T> && (sizeof(T) == 4 || sizeof(T) == 8));
  if constexpr (sizeof(T) == 4) {
    return __builtin_bit_cast(T, move(__builtin_bit_cast(int32_t, v)));
  } else {
    const auto words = __builtin_bit_cast(uint64_t, v);
    const auto low = static_cast<uint32_t>(move(static_cast<int32_t>(words)));
    const auto high = static_cast<uint32_t>(move(static_cast<int32_t>(words >> 32)));
    return __builtin_bit_cast(T, static_cast<uint64_t>(high) << 32 | low);
  }
}

/// From the lane whose number differs in the bits of kMask, 1 to 15: DPP's row_xmask.
template <uint32_t kMask>
GPU_DEVICE int32_t row_xor(int32_t v) {
  return __builtin_amdgcn_update_dpp(0, v, 0x160 + kMask, 0xf, 0xf, true);
}
/// From the same place in the warp's other half.
GPU_DEVICE int32_t other_half(int32_t v) {
  return static_cast<int32_t>(__builtin_amdgcn_permlanex16(0, v, 0x76543210, 0xfedcba98, false, true));
}

}  // namespace hip

template <class T>
GPU_DEVICE T shuffle(T v, uint32_t lane) {
  return hip::by_words(
      v, [&](int32_t word) { return __builtin_amdgcn_ds_bpermute(static_cast<int32_t>(lane * 4), word); });
}
/// With a mask known to the compiler, a power of two, a move between lanes instead of a way through shared memory.
template <class T>
GPU_DEVICE T shuffle_xor(T v, uint32_t mask) {
  if (__builtin_constant_p(mask)) {
    if (mask == 1) return hip::by_words(v, hip::row_xor<1>);
    if (mask == 2) return hip::by_words(v, hip::row_xor<2>);
    if (mask == 4) return hip::by_words(v, hip::row_xor<4>);
    if (mask == 8) return hip::by_words(v, hip::row_xor<8>);
    if (mask == 16) return hip::by_words(v, hip::other_half);
  }
  return shuffle(v, (thread() % kWarp) ^ mask);
}

GPU_DEVICE uint32_t largest_in_warp(uint32_t v) {
  for (uint32_t mask = kWarp / 2; mask > 0; mask /= 2) {
    const uint32_t other = shuffle_xor(v, mask);
    v = v > other ? v : other;
  }
  return v;
}
GPU_DEVICE int32_t sum_in_warp(int32_t v) {
  for (uint32_t mask = kWarp / 2; mask > 0; mask /= 2) v += shuffle_xor(v, mask);
  return v;
}

template <class T>
GPU_DEVICE T atomic_add(T* p, T v) {
  return __hip_atomic_fetch_add(p, v, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
}
GPU_DEVICE uint32_t atomic_max(uint32_t* p, uint32_t v) {
  return __hip_atomic_fetch_max(p, v, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
}
GPU_DEVICE uint64_t atomic_max(uint64_t* p, uint64_t v) {
  return __hip_atomic_fetch_max(p, v, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
}
/// What other blocks wrote before a barrier, never this multiprocessor's older copy.
template <class T>
GPU_DEVICE T load_fresh(const T* p) {
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, int32_t>);
  return __hip_atomic_load(p, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
}
GPU_DEVICE float4 load_fresh(const float4* p) {
  const auto* each = reinterpret_cast<const float*>(p);
  return {load_fresh(each), load_fresh(each + 1), load_fresh(each + 2), load_fresh(each + 3)};
}
GPU_DEVICE void prefetch(const void* /*p*/) {}
GPU_DEVICE uint32_t load_flag(const uint32_t* p) {
  return __hip_atomic_load(p, __ATOMIC_ACQUIRE, __HIP_MEMORY_SCOPE_AGENT);
}
GPU_DEVICE uint64_t load_relaxed(const uint64_t* p) {
  return __hip_atomic_load(p, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
}
GPU_DEVICE void store_relaxed(uint64_t* p, uint64_t v) {
  __hip_atomic_store(p, v, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
}
GPU_DEVICE uint32_t atomic_add_release(uint32_t* p, uint32_t v) {
  return __hip_atomic_fetch_add(p, v, __ATOMIC_RELEASE, __HIP_MEMORY_SCOPE_AGENT);
}
GPU_DEVICE uint32_t load_acquire(const uint32_t* p) {
  return __hip_atomic_load(p, __ATOMIC_ACQUIRE, __HIP_MEMORY_SCOPE_AGENT);
}
GPU_DEVICE void fence() {
  __builtin_amdgcn_fence(__ATOMIC_SEQ_CST, "agent");
}
GPU_DEVICE void pause() {
  __builtin_amdgcn_s_sleep(1);
}

namespace hip {
using Words2 = int32_t __attribute__((ext_vector_type(2)));
using Words4 = int32_t __attribute__((ext_vector_type(4)));
using Words8 = int32_t __attribute__((ext_vector_type(8)));
}  // namespace hip

GPU_DEVICE uint4 load_stream(const void* p) {
  return __builtin_bit_cast(uint4, __builtin_nontemporal_load(static_cast<const hip::Words4*>(p)));
}
/// These machines have no such copies: the data goes through registers.
GPU_DEVICE void copy_async(void* shared, const void* global) {
  *static_cast<hip::Words4*>(shared) = *static_cast<const hip::Words4*>(global);
}
GPU_DEVICE void copy_async_commit() {}
template <int kLeft>
GPU_DEVICE void copy_async_wait() {}

/// Nor copies in bulk: a warp makes them, and counts those that are done.
struct alignas(8) CopyBarrier {
  uint32_t done, unused;
};
GPU_DEVICE void begin(CopyBarrier* b) {
  b->done = 0;
}
GPU_DEVICE void copy_begin(CopyBarrier*, uint32_t) {}
GPU_DEVICE void copy_bulk(CopyBarrier*, void* shared, const void* global, uint32_t bytes) {
  for (uint32_t at = thread() % kWarp * 16; at < bytes; at += kWarp * 16)
    copy_async(static_cast<unsigned char*>(shared) + at, static_cast<const unsigned char*>(global) + at);
}
GPU_DEVICE void copy_end(CopyBarrier* b) {
  sync_warp();
  if (thread() % kWarp == 0) __hip_atomic_fetch_add(&b->done, 1u, __ATOMIC_RELEASE, __HIP_MEMORY_SCOPE_WORKGROUP);
}
GPU_DEVICE void copy_wait(CopyBarrier* b, uint32_t parity) {
  while ((__hip_atomic_load(&b->done, __ATOMIC_ACQUIRE, __HIP_MEMORY_SCOPE_WORKGROUP) & 1u) == parity) pause();
}

GPU_DEVICE uint32_t opaque(uint32_t v) {
  asm volatile("" : "+v"(v));
  return v;
}
// v_dot4_i32_iu8
GPU_DEVICE int32_t dot4(int32_t acc, uint32_t u, uint32_t s) {
  return __builtin_amdgcn_sudot4(false, static_cast<int32_t>(u), true, static_cast<int32_t>(s), acc, false);
}
GPU_DEVICE int32_t dot4_signed(int32_t acc, uint32_t a, uint32_t b) {
  return __builtin_amdgcn_sudot4(true, static_cast<int32_t>(a), true, static_cast<int32_t>(b), acc, false);
}
/// Bytes of {a, b} picked by the nibbles of `selector`: 0 to 3 of a, 4 to 7 of b.
GPU_DEVICE uint32_t pick_bytes(uint32_t a, uint32_t b, uint32_t selector) {
  selector &= 0x7777;
  selector = (selector | selector << 8) & 0x00ff00ff;
  selector = (selector | selector << 4) & 0x07070707;
  return __builtin_amdgcn_perm(b, a, selector);
}

/// d += A B: A 16×32 bytes, B 32×8 signed bytes. Lane l = 4 g + t holds of A rows g and g + 8 at columns 4 t … + 3
/// (a[0], a[1]) and 16 + 4 t … + 3 (a[2], a[3]), of B column g at rows 4 t … + 3 (b[0]) and 16 + 4 t … + 3 (b[1]), of d
/// rows g (d[0], d[1]) and g + 8 (d[2], d[3]) at columns 2 t and 2 t + 1.
/// Right, not fast: dot products of what the other lanes hold.
template <bool kSigned>
GPU_DEVICE void multiply_16x8x32(int32_t (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  const uint32_t lane = thread() % kWarp, t = lane % 4;
  const auto step = [&](uint32_t k, const uint32_t(&row)[4]) {
    for (uint32_t i = 0; i < 2; ++i) {
      const uint32_t from = 4 * (2 * t + i) + (t ^ k);
      const uint32_t columns[] = {shuffle(b0, from), shuffle(b1, from)};
      for (uint32_t j = 0; j < 4; ++j) {
        auto& sum = d[j % 2 * 2 + i];
        sum = kSigned ? dot4_signed(sum, row[j], columns[j / 2]) : dot4(sum, row[j], columns[j / 2]);
      }
    }
  };
  const auto from_neighbour = [&](uint32_t k) {
    const uint32_t row[] = {shuffle_xor(a[0], k), shuffle_xor(a[1], k), shuffle_xor(a[2], k), shuffle_xor(a[3], k)};
    step(k, row);
  };
  step(0, a);
  from_neighbour(1);
  from_neighbour(2);
  from_neighbour(3);
  // One product after another, or what the lanes exchange for many of them fills the registers.
  for (auto& sum : d) sum = static_cast<int32_t>(opaque(static_cast<uint32_t>(sum)));
  __builtin_amdgcn_sched_barrier(0);
}

#if defined(__GFX11__)
/// d += A B, each 16×16, A of signed or unsigned bytes, B signed (v_wmma_i32_16x16x16_iu8). Lanes l and l + 16 both
/// hold row l of A and column l of B, byte k at byte k % 4 of word k / 4; lane l + 16 h holds d's rows 2 r + h in d[r],
/// at column l.
using WmmaOperand = hip::Words4;
template <bool kSigned>
GPU_DEVICE void wmma_16x16x16(hip::Words8& d, WmmaOperand a, WmmaOperand b) {
  d = __builtin_amdgcn_wmma_i32_16x16x16_iu8_w32(kSigned, a, true, b, d, false);
}
#elif defined(__GFX12__)
/// d += A B, each 16×16, A of signed or unsigned bytes, B signed (v_wmma_i32_16x16x16_iu8). Lane l + 16 h holds bytes
/// 8 h … 8 h + 7 of row l of A and of column l of B, and d's rows 8 h + r in d[r], at column l.
using WmmaOperand = hip::Words2;
template <bool kSigned>
GPU_DEVICE void wmma_16x16x16(hip::Words8& d, WmmaOperand a, WmmaOperand b) {
  d = __builtin_amdgcn_wmma_i32_16x16x16_iu8_w32_gfx12(kSigned, a, true, b, d, false);
}
#endif

GPU_DEVICE float half_to_float(uint16_t bits) {
  return static_cast<float>(__builtin_bit_cast(_Float16, bits));
}
GPU_DEVICE uint16_t float_to_half(float x) {
  return __builtin_bit_cast(uint16_t, static_cast<_Float16>(x));
}
/// Of a counter of 100 MHz.
GPU_DEVICE uint64_t clock_ns() {
  return __builtin_readsteadycounter() * 10;
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

}  // namespace onebit::gpu

#define GPU_RUNTIME(name) hip##name
#include "kernels/gpu/gpu_runtime.h"
#undef GPU_RUNTIME
