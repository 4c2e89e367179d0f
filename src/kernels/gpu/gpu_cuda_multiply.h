// The shim's matrix products with an operand in shared memory (gpu_api.h), on the instructions that Hopper has for
// them: four warps multiply together, and go on while the product is under way. Part of gpu_cuda.h.
#pragma once

namespace onebit::gpu {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

inline constexpr uint32_t kMultiplyLag = 1;

/// What the instruction is told of B: where it lies, 128 bytes from 16 rows to the next, `stride` from 8 columns to the
/// next, no swizzling.
GPU_DEVICE uint64_t shared_operand(const unsigned char* b, uint32_t stride) {
  const auto at = static_cast<uint32_t>(__cvta_generic_to_shared(b));
  return static_cast<uint64_t>((at & 0x3ffffu) >> 4) | uint64_t{128 >> 4} << 16 |
         static_cast<uint64_t>(stride >> 4) << 32;
}

#define GPU_SUMS_2(i)                                                                                                  \
  "+r"(d[i][0]), "+r"(d[i][1]), "+r"(d[i][2]), "+r"(d[i][3]), "+r"(d[i + 1][0]), "+r"(d[i + 1][1]), "+r"(d[i + 1][2]), \
      "+r"(d[i + 1][3])
#define GPU_SUMS_8(i) GPU_SUMS_2(i), GPU_SUMS_2(i + 2), GPU_SUMS_2(i + 4), GPU_SUMS_2(i + 6)
#define GPU_SUMS_16(i) GPU_SUMS_8(i), GPU_SUMS_8(i + 8)
#define GPU_WGMMA_2(type)                                                                                   \
  asm volatile("{\n.reg .pred p;\nsetp.eq.u32 p, %13, 0;\nwgmma.mma_async.sync.aligned.m64n16k32.s32." type \
               ".s8 {"                                                                                      \
               "%0, %1, %2, %3, %4, %5, %6, %7"                                                             \
               "}, {%8, %9, %10, %11}, %12, p;\n}\n"                                                        \
               : GPU_SUMS_2(0)                                                                              \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(operand), "r"(overwrites))
#define GPU_WGMMA_8(type)                                                                                   \
  asm volatile("{\n.reg .pred p;\nsetp.eq.u32 p, %37, 0;\nwgmma.mma_async.sync.aligned.m64n64k32.s32." type \
               ".s8 {"                                                                                      \
               "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                     \
               "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"             \
               "}, {%32, %33, %34, %35}, %36, p;\n}\n"                                                      \
               : GPU_SUMS_8(0)                                                                              \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(operand), "r"(overwrites))
#define GPU_WGMMA_16(type)                                                                                   \
  asm volatile("{\n.reg .pred p;\nsetp.eq.u32 p, %69, 0;\nwgmma.mma_async.sync.aligned.m64n128k32.s32." type \
               ".s8 {"                                                                                       \
               "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                      \
               "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "            \
               "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "            \
               "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"              \
               "}, {%64, %65, %66, %67}, %68, p;\n}\n"                                                       \
               : GPU_SUMS_16(0)                                                                              \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(operand), "r"(overwrites))

template <bool kSigned, uint32_t kTiles>
GPU_DEVICE void multiply_shared(int32_t (&d)[kTiles][4], const uint32_t (&a)[4], const unsigned char* b,
                                uint32_t stride, uint32_t /*tiles*/, bool first) {
  static_assert(kTiles == 2 || kTiles == 8 || kTiles == 16);
  const uint64_t operand = shared_operand(b, stride);
  const uint32_t overwrites = first ? 1 : 0;
  if constexpr (kTiles == 2 && kSigned) GPU_WGMMA_2("s8");
  if constexpr (kTiles == 2 && !kSigned) GPU_WGMMA_2("u8");
  if constexpr (kTiles == 8 && kSigned) GPU_WGMMA_8("s8");
  if constexpr (kTiles == 8 && !kSigned) GPU_WGMMA_8("u8");
  if constexpr (kTiles == 16 && kSigned) GPU_WGMMA_16("s8");
  if constexpr (kTiles == 16 && !kSigned) GPU_WGMMA_16("u8");
}
#undef GPU_WGMMA_2
#undef GPU_WGMMA_8
#undef GPU_WGMMA_16
#undef GPU_SUMS_2
#undef GPU_SUMS_8
#undef GPU_SUMS_16

GPU_DEVICE void multiply_begin() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
GPU_DEVICE void multiply_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <uint32_t kLeft>
GPU_DEVICE void multiply_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kLeft) : "memory");
}
GPU_DEVICE void multiply_sees_shared() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

#else

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

#endif

/// Before sums are read that multiply_wait<0>() has waited for.
template <uint32_t kTiles>
GPU_DEVICE void multiply_done(int32_t (&d)[kTiles][4]) {
  GPU_UNROLL_ALL
  for (auto& tile : d) {
    GPU_UNROLL_ALL
    for (auto& sum : tile) asm volatile("" : "+r"(sum)::"memory");
  }
}

}  // namespace onebit::gpu
