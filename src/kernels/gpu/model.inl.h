// A model in a device's memory, as kernels see it.
#pragma once

#include "kernels/gpu/engine.h"
#include "kernels/gpu/gpu_api.h"

namespace onebit::gpu {
namespace {

/// Columns of a block of 64 bytes, and 32-bit words of activations that it meets.
template <Code kCode>
inline constexpr uint32_t kColumns = kCode == Code::kT2     ? 16
                                     : kCode == Code::kT1_6 ? 20
                                                            : 4;
template <Code kCode>
inline constexpr uint32_t kFields = kColumns<kCode> / 4;

inline constexpr uint32_t kTileRows16 = 16;
inline constexpr uint32_t kBlockSize = 64;
/// What a warp reads at once: 8 blocks, 16 bytes a thread.
inline constexpr uint32_t kUnitBlocks = 8;
inline constexpr uint32_t kUnitBytes = kUnitBlocks * kBlockSize;

struct DeviceMatrix {
  const unsigned char* data;  // [groups][blocks][16 rows][4]
  const float* scales;        // a row each, or null
  float one_scale;            // where there is one for all
  uint32_t rows, columns;
  uint32_t groups;  // of 16 rows
  uint32_t blocks;  // of a group

  GPU_DEVICE float scale(uint32_t row) const { return scales != nullptr ? scales[row] : one_scale; }
  GPU_DEVICE uint32_t units() const { return (blocks + kUnitBlocks - 1) / kUnitBlocks; }
};

struct alignas(16) DeviceLayer {  // copied by 16 bytes
  const float *attn_norm, *attn_sub_norm, *ffn_norm, *ffn_sub_norm;
  DeviceMatrix attn_q, attn_k, attn_v, attn_output, ffn_gate, ffn_up, ffn_down;
};

/// Where things lie in a KV page: [layer][kv head] blocks of [k][v][k scales][v scales].
/// f16 and f32: k [head_dim][64], v [64][head_dim]. q8: k [head_dim / 4][64][4], v [64][head_dim], scales [64].
struct KvPlan {
  unsigned char* pages;
  uint64_t page_bytes;
  uint32_t block_bytes, v_offset, k_scale_offset, v_scale_offset;
  uint32_t kv_heads;

  GPU_DEVICE unsigned char* at(uint32_t page, uint32_t layer, uint32_t kv_head) const {
    return pages + page * page_bytes + (static_cast<uint64_t>(layer) * kv_heads + kv_head) * block_bytes;
  }
};

struct DeviceModel {
  Shape shape;
  const uint16_t* embedding;  // bf16 [vocabulary][hidden]
  const DeviceLayer* layers;
  const float* output_norm;
  DeviceMatrix head;          // where the head is an integer matrix
  const uint16_t* half_head;  // where it is not
  uint32_t half_is_bf16;
  const float *rope_cos, *rope_sin;
  KvPlan kv;
};

/// What a step's kernels report.
struct Problems {
  uint32_t residual, logits;  // not 0: a value there is not a finite number
};

}  // namespace
}  // namespace onebit::gpu
