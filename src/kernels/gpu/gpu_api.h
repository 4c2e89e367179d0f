// The only shim between GPU kernels and the machine they run on. One source of kernels (the *.inl.h beside this file)
// is compiled three times: by nvcc (gpu_cuda.h), by clang as HIP (gpu_hip.h), and by any C++ compiler for the host
// (gpu_host.h), where the threads of a block are fibers, so that every kernel runs in tests without a GPU.
//
// Each implementation offers, in namespace onebit::gpu, for device code:
//   GPU_DEVICE, GPU_KERNEL(threads, blocks)   specifiers; a kernel takes its arguments by value
//   GPU_FUNCTION                              of a device function that stays one: it is not inlined
//   GPU_ARGUMENT                              of a large argument: const, where it lies
//   argument_of(a)                            the kernel's only argument, to index it or take its address
//   GPU_UNROLL(n), GPU_UNROLL_ALL            of the loop that follows
//   thread(), threads(), block(), blocks()    one-dimensional blocks and grids; warps are 32 threads
//   shared_memory()                           the block's dynamic shared memory, 128-byte aligned
//   sync_block(), sync_warp()                 barriers
//   shuffle_xor(v, mask), shuffle(v, lane)    between the 32 threads of a warp; all of them call it
//   largest_in_warp(v), sum_in_warp(v)        of uint32; of int32
//   atomic_add(p, v)                          int32 and uint32, global or shared; returns the old value
//   atomic_max(p, v)                          uint32 and uint64
//   atomic_add_release(p, v), load_flag(p)    a block that reads the flag which another raised finds by load_fresh
//   pause()                                   all that the other wrote before; while it waits for that
//   load_fresh(p)                             float, float4 or int32 that other blocks wrote before a barrier
//   load_relaxed(p), store_relaxed(p, v)      64 bits at once, seen by other blocks, without any order beside that
//   prefetch(p)                               a hint: the line's 128 bytes will be read
//   load_stream(p)                            16 bytes that are read once
//   copy_async(shared, global)                16 bytes on their way to shared memory, in groups that
//   copy_async_commit(), copy_async_wait<N>() close, and that wait until at most N of them are under way
//   CopyBarrier, in shared memory             of copies that a whole warp orders and that run beside all threads:
//   begin(b)                                  by one thread, before a sync_block
//   copy_begin(b, bytes), copy_bulk(b, shared, global, bytes) …, copy_end(b)
//                                             by a warp: copies of multiples of 16 bytes, `bytes` in all
//   copy_wait(b, parity)                      until the copies whose number (0, 1, …) has this parity are there;
//                                             the next but one is ordered only after all threads have waited
//   opaque(v)                                 v, of which the compiler knows nothing
//   dot4(acc, u, s), dot4_signed(acc, a, b)   acc + Σ of four products of bytes; u unsigned, the others signed
//   multiply_16x8x32<signed>(d, a, b0, b1)    d += A B on a warp's matrix instruction: see each
//   multiply_shared<signed>(d, a, b, stride, tiles, first)   the same for 8 columns of B a tile, in shared memory from
//                                             b on, `stride` from one tile to the next: [2][8 columns][16 bytes]. 128
//                                             threads together, the same b. Sums of tiles from `tiles` on are
//                                             undefined. first: d = A B, whatever d was
//   multiply_begin(), multiply_commit()       around some of them, whose end the threads do not wait for:
//   multiply_wait<N>(), multiply_done(d)      at most N such groups are under way; none is, and d may be read
//   kMultiplyLag                              1 where any may be under way: what they read stays as it is,
//                                             shared memory and the variables that a is made of
//   multiply_sees_shared()                    between writing shared memory and the barrier before they read it
//   wait_for_earlier(), let_next_begin()      of kernels launched `early`, see LaunchShape
//   half_to_float(bits), float_to_half(x)     IEEE binary16, to nearest even
//   clock_ns()                                a clock all blocks share
// and for host code:
//   Device, Stream, DeviceBuffer, launch(): memory, copies and launches, errors as values
#pragma once

#if defined(__HIP__)
#include "kernels/gpu/gpu_hip.h"
#elif defined(__CUDACC__)
#include "kernels/gpu/gpu_cuda.h"
#else
#include "kernels/gpu/gpu_host.h"
#endif
