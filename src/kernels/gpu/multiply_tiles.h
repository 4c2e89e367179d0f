// Products with an operand in shared memory, of 8 columns at a time, for machines without an instruction for it.
// Included by the implementations of the shim (gpu_api.h).
#pragma once

namespace onebit::gpu {

template <bool kSigned, uint32_t kTiles>
GPU_DEVICE void multiply_tiles(int32_t (&d)[kTiles][4], const uint32_t (&a)[4], const unsigned char* b, uint32_t stride,
                               uint32_t tiles, bool first) {
  const uint32_t lane = thread() % kWarp;
  GPU_UNROLL_ALL
  for (uint32_t i = 0; i < kTiles; ++i) {
    if (first) d[i][0] = d[i][1] = d[i][2] = d[i][3] = 0;
    if (i >= tiles) continue;
    // Lane 4 g + t: of column g the bytes from 4 t and from 16 + 4 t on.
    const auto* words = reinterpret_cast<const uint32_t*>(b + i * stride) + lane;
    multiply_16x8x32<kSigned>(d[i], a, words[0], words[32]);
  }
}

}  // namespace onebit::gpu
