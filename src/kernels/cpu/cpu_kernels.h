// The operations of the production CPU engine (gen-2), one table of them for each instruction set. Each gives
// the bits of its sibling in kernels/reference.h, which says what it computes.
//
// The tables' code is compiled for its instruction set. So that no inline function of it can end up in somebody
// else's code, everything here is plain data and pointers, and those files include no standard template.
#pragma once

#include <cstddef>
#include <cstdint>

namespace onebit::cpu {

/// A ternary or q8 matrix (format/packing.h) as kernels take it.
struct PackedMatrix {
  const uint8_t* data = nullptr;
  uint32_t rows = 0, columns = 0;
  uint32_t groups = 0;  // of 16 rows
  uint32_t blocks = 0;  // of 64 bytes in a group
  enum Kind : uint32_t { kT2, kT1_6, kS1_25, kQ8 } kind = kT2;
  const float* scales = nullptr;
  enum Scales : uint32_t { kOne, kPerRow, kPerGroup } granularity = kOne;
  uint32_t scale_group = 0;  // columns a scale serves; kPerGroup only

  size_t group_bytes() const { return size_t{blocks} * 64; }
};

/// Quantised activations of some tokens. Rows of q are zero from `columns` to `stride`, which is past a packed row's
/// last unit.
struct QuantizedRows {
  int8_t* q = nullptr;     // [tokens][stride]; for s1_25 in its order (Kernels::sparse_order)
  size_t stride = 0;       // a multiple of 64
  float* scale = nullptr;  // [tokens]: s / 127, with s as reference::quantize returns it
  int32_t* sum = nullptr;  // [tokens]: Σ q
  uint32_t tokens = 0;
};

/// What a product does with its result: y = Wx, or y = y + Wx (the residual).
enum class Output { kStore, kAdd };

/// Keys and values of 64 positions of one KV head in one layer, as gen-2 keeps them. D is head_dim padded to 16.
struct KvBlockView {
  const void* k = nullptr;         // f32, f16: [D][64]; q8: int8 [D / 4][64][4]
  const void* v = nullptr;         // [64][D]
  const float* k_scale = nullptr;  // [64], s / 127; q8 only
  const float* v_scale = nullptr;
};

enum class KvFormat : uint32_t { kF32, kF16, kQ8 };

/// Queries that meet one block together, and what attention gathers of it for each.
struct AttendBlock {
  KvBlockView kv;
  uint32_t head_dim = 0, queries = 0;
  float score_factor = 0;             // 1 / sqrt(head_dim)
  const float* const* q = nullptr;    // [queries] of [D], zero from head_dim on; f32 and f16
  const int8_t* const* q8 = nullptr;  // [queries] of [D], zero from head_dim on; q8
  const float* q_scale = nullptr;     // [queries], s / 127; q8
  const uint32_t* count = nullptr;    // [queries], positions that take part: 1 to 64
  float* const* m = nullptr;          // [queries], to one value each
  float* const* l = nullptr;
  float* const* o = nullptr;  // [queries] of [D]
};

struct Kernels {
  const char* name;

  /// Rows of a tile of `multiply`; its ranges should begin at multiples of them.
  uint32_t tile_groups;

  /// Decode: one token times the groups [begin, end) of w into y, which is that of row 0. With kPerGroup for t2
  /// and t1_6 only.
  void (*matvec)(const PackedMatrix& w, uint32_t begin, uint32_t end, const QuantizedRows& x, float* y, Output output);
  /// Prefill and batches: all tokens of x times the groups [begin, end) of w into y [tokens][y_stride].
  /// `scratch` has multiply_scratch(w, tokens) bytes, 64-byte aligned.
  void (*multiply)(const PackedMatrix& w, uint32_t begin, uint32_t end, const QuantizedRows& x, float* y,
                   size_t y_stride, Output output, void* scratch);
  size_t (*multiply_scratch)(const PackedMatrix& w, uint32_t tokens);

  /// Head in half precision: logits of rows [begin, end) for one token, each a lane_dot.
  void (*half_rows)(const uint16_t* w, bool bf16, uint32_t columns, uint32_t begin, uint32_t end, const float* x,
                    float* y);

  /// rms_norm of x [n] into y (in place is allowed).
  void (*rms_norm)(const float* x, const float* weight, float epsilon, uint32_t n, float* y);
  /// quantize: x [n] into q, filled with zeros up to `stride`; s / 127 and Σ q.
  void (*quantize)(const float* x, uint32_t n, int8_t* q, size_t stride, float* scale, int32_t* sum);
  /// Puts quantised activations [stride] in the order in which products with s1_25 take them.
  void (*sparse_order)(int8_t* q, size_t stride);
  void (*rope)(float* x, uint32_t heads, uint32_t head_dim, const float* cos, const float* sin);
  void (*squared_relu_gate)(const float* gate, const float* up, uint32_t n, float* y);
  void (*silu_gate)(const float* gate, const float* up, uint32_t n, float* y);
  void (*widen_bf16)(const uint16_t* x, uint32_t n, float* y);
  /// One position's key or value of a KV head into a block.
  void (*append_key)(KvFormat format, const float* k, uint32_t head_dim, uint32_t position, void* block, float* scales);
  void (*append_value)(KvFormat format, const float* v, uint32_t head_dim, uint32_t position, void* block,
                       float* scales);

  void (*attend)(KvFormat format, const AttendBlock& block);
  /// Folds the second partial result into the first (contract, 5).
  void (*fold)(float* m1, float* l1, float* o1, const float* m2, const float* l2, const float* o2, uint32_t head_dim);
  void (*divide)(const float* o, const float* l, uint32_t n, float* y);
  /// y = exp(x - max), for x [n] none of which is above max.
  void (*exp_below)(const float* x, float max, uint32_t n, float* y);
  /// The bits of the largest |x|, at least those of 1e-5: from 0x7f800000 on, something is not finite.
  uint32_t (*largest_magnitude)(const float* x, uint32_t n);

  /// For the roofline: reads `bytes` (a multiple of 512), fetching `ahead` bytes further (0: not); the result only
  /// keeps the reads from being left out.
  uint32_t (*read_bytes)(const uint8_t* data, size_t bytes, size_t ahead);
  /// Products of int8 in registers; returns how many. A round is about a thousand.
  uint64_t (*dot_peak)(uint64_t rounds);
};

/// Best first; null where this build or this machine lacks it.
const Kernels* avx512_kernels();
const Kernels* avx2_vnni_kernels();
const Kernels* avx2_kernels();
const Kernels* neon_kernels();
const Kernels* scalar_kernels();

}  // namespace onebit::cpu
