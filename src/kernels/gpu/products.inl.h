// Products for many tokens on the matrix instructions: exact, since they are sums of integers.
//
// A warp multiplies 16 rows of weights by kTokens tokens. A thread's words of a block of 64 bytes are what the
// instruction wants of it, four columns a field, if the columns of 8 blocks are taken in the order of fields: columns
// of a product may come in any order, as long as weights and activations agree.
#pragma once

#include "kernels/gpu/packed.inl.h"

namespace onebit::gpu {
namespace {

inline constexpr uint32_t kProductThreads = 256;
inline constexpr uint32_t kProductWarps = kProductThreads / kWarp;

/// Quantised rows: [rows][stride] bytes in the order of place_of, padded to whole units.
struct QuantizedRows {
  int8_t* q;
  float* s;      // [rows]
  int32_t* sum;  // [rows]
  uint32_t stride;
};

enum class Finish : uint32_t {
  kStore,  // y = product
  kAdd,    // y += product
  kGate,   // y = relu(first)² · second
};

struct ProductArgs {
  DeviceMatrix matrix[3];  // one after another; kGate: gate and up
  uint32_t matrices;
  QuantizedRows x;
  uint32_t tokens;
  float* y;  // [tokens][y_stride], rows of a matrix from a multiple of 16 on
  uint64_t y_stride;
};

/// Of four words of weights, two rows of two blocks, the operands of the matrix instruction for each field.
template <Code kCode>
struct WeightOperands {
  uint32_t a[kFields<kCode>][4];

  GPU_DEVICE void set(const uint32_t (&codes)[4], const uint32_t* table) {
    GPU_UNROLL_ALL
    for (uint32_t i = 0; i < 4; ++i) {
      if constexpr (kCode == Code::kQ8) {
        a[0][i] = codes[i];
      } else {
        uint32_t fields = codes[i];
        if constexpr (kCode == Code::kT1_6) {
          const auto trits = decode_trits(codes[i], table);
          fields = trits.x;
          a[4][i] = trits.y;
        }
        GPU_UNROLL_ALL
        for (uint32_t j = 0; j < 4; ++j) a[j][i] = fields >> (2 * j) & 0x03030303u;
      }
    }
  }
};

/// A warp's sums: 16 rows by 8 · kTiles tokens.
template <Code kCode, uint32_t kTiles>
struct ProductSums {
  int32_t d[kTiles][4];

  GPU_DEVICE void clear() {
    GPU_UNROLL_ALL
    for (auto& tile : d)
      for (auto& sum : tile) sum = 0;
  }

  /// A thread's words of a unit whose first block is `index`. group: the 16 rows' weights.
  GPU_DEVICE static void load(uint32_t (&codes)[4], const unsigned char* group, uint32_t row_blocks, uint32_t index) {
    const uint32_t lane = thread() % kWarp, g = lane / 4, t = lane % 4;
    GPU_UNROLL_ALL
    for (uint32_t i = 0; i < 4; ++i) {
      const uint32_t at = index + t + (i / 2) * 4, row = g + i % 2 * 8;
      // Past the last block nothing is multiplied: the code that stands for no weight at all is a zero field.
      codes[i] = at < row_blocks ? *reinterpret_cast<const uint32_t*>(group + (at * kTileRows16 + row) * 4) : 0u;
    }
  }

  GPU_DEVICE void add_unit(const uint32_t (&codes)[4], uint32_t row_blocks, uint32_t index, const QuantizedRows& x,
                           uint32_t first_token, uint32_t tokens, const uint32_t* table) {
    const uint32_t lane = thread() % kWarp, g = lane / 4, t = lane % 4;
    WeightOperands<kCode> weights;
    weights.set(codes, table);
    const uint32_t padded = (row_blocks + kUnitBlocks - 1) / kUnitBlocks * kUnitBlocks;
    GPU_UNROLL_ALL
    for (uint32_t tile = 0; tile < kTiles; ++tile) {
      const uint32_t token = first_token + tile * 8 + g;
      const int8_t* q = x.q + static_cast<uint64_t>(token < tokens ? token : tokens - 1) * x.stride;
      const Words<kCode> low = words_of<kCode>(q, index + t, padded), high = words_of<kCode>(q, index + t + 4, padded);
      GPU_UNROLL_ALL
      for (uint32_t j = 0; j < kFields<kCode>; ++j)
        multiply_16x8x32<kCode == Code::kQ8>(d[tile], weights.a[j], low.w[j], high.w[j]);
    }
  }
};

/// Rows of 16 · kGroups by 8 · kTiles tokens a block; the warps that share a group divide its columns.
template <Code kCode, uint32_t kTiles, uint32_t kGroups, Finish kFinish>
GPU_KERNEL(kProductThreads, 2)
products(GPU_ARGUMENT ProductArgs argument) {
  const auto& a = argument_of(argument);
  constexpr uint32_t kTokens = kTiles * 8, kRows = kGroups * kTileRows16, kParts = kProductWarps / kGroups;
  auto* table = reinterpret_cast<uint32_t*>(shared_memory());
  auto* tile = reinterpret_cast<int32_t*>(shared_memory() + (kCode == Code::kT1_6 ? kTritTableBytes : 0));
  if constexpr (kCode == Code::kT1_6) fill_trit_table(table);
  for (uint32_t i = thread(); i < kRows * kTokens; i += kProductThreads) tile[i] = 0;
  sync_block();

  const uint32_t token_tiles = (a.tokens + kTokens - 1) / kTokens;
  const uint32_t first_token = block() % token_tiles * kTokens;
  const uint32_t warp = thread() / kWarp, mine = warp % kGroups, part = warp / kGroups;
  // Of gate and up a block takes the same groups.
  constexpr uint32_t kEach = kFinish == Finish::kGate ? kGroups / 2 : kGroups;
  const uint32_t first_group = block() / token_tiles * kEach;
  uint32_t group = first_group + mine % kEach, which = 0;
  if constexpr (kFinish == Finish::kGate)
    which = mine / kEach;
  else
    while (which + 1 < a.matrices && group >= a.matrix[which].groups) group -= a.matrix[which++].groups;
  const DeviceMatrix& m = a.matrix[which];
  ProductSums<kCode, kTiles> sums;
  sums.clear();
  if (group < m.groups) {
    const unsigned char* data = m.data + static_cast<uint64_t>(group) * m.blocks * kBlockSize;
    const uint32_t units = m.units(), end = units * (part + 1) / kParts;
    uint32_t unit = units * part / kParts;
    uint32_t codes[4], next[4] = {};
    if (unit < end) sums.load(codes, data, m.blocks, unit * kUnitBlocks);
    for (; unit < end; ++unit) {
      // The next unit's weights, from far away, are on their way while this one's are multiplied.
      if (unit + 1 < end) sums.load(next, data, m.blocks, (unit + 1) * kUnitBlocks);
      sums.add_unit(codes, m.blocks, unit * kUnitBlocks, a.x, first_token, a.tokens, table);
      GPU_UNROLL_ALL
      for (uint32_t i = 0; i < 4; ++i) codes[i] = next[i];
    }
  }
  const uint32_t lane = thread() % kWarp;
  GPU_UNROLL_ALL
  for (uint32_t i = 0; i < 4 * kTiles; ++i) {
    const uint32_t row = mine * kTileRows16 + lane / 4 + i % 4 / 2 * 8, token = i / 4 * 8 + lane % 4 * 2 + i % 2;
    // Rows and tokens are interleaved so that a warp's additions meet in no bank.
    atomic_add(tile + token * kRows + row, sums.d[i / 4][i % 4]);
  }
  sync_block();

  for (uint32_t i = thread(); i < kEach * kTileRows16 * kTokens; i += kProductThreads) {
    const uint32_t row = i % (kEach * kTileRows16), token = i / (kEach * kTileRows16);
    if (first_token + token >= a.tokens) break;
    const float s = a.x.s[first_token + token];
    const int32_t offset = kCode == Code::kQ8 ? 0 : a.x.sum[first_token + token];
    const uint32_t at = first_group * kTileRows16 + row;  // among the rows of all matrices
    uint32_t matrix = 0, in_matrix = at;
    if constexpr (kFinish != Finish::kGate)
      while (matrix + 1 < a.matrices && in_matrix >= a.matrix[matrix].groups * kTileRows16)
        in_matrix -= a.matrix[matrix++].groups * kTileRows16;
    const DeviceMatrix& w = a.matrix[matrix];
    if (in_matrix >= w.rows) continue;
    float* y = a.y + (first_token + token) * a.y_stride + at;
    const float value = static_cast<float>(tile[token * kRows + row] - offset) * product_scale(w.scale(in_matrix), s);
    if constexpr (kFinish == Finish::kStore) *y = value;
    if constexpr (kFinish == Finish::kAdd) *y = *y + value;
    if constexpr (kFinish == Finish::kGate) {
      const int32_t second = tile[token * kRows + kEach * kTileRows16 + row] - offset;
      *y = squared_relu_gate(value, static_cast<float>(second) * product_scale(a.matrix[1].scale(in_matrix), s));
    }
  }
}

/// Logits of a head in half precision: lane sums of 256 by a warp, 8 lanes a thread. x: [tokens][columns].
struct HalfHeadArgs {
  const uint16_t* weights;  // [rows][columns]
  uint32_t is_bf16, rows, columns;
  const float* x;
  uint32_t tokens;
  float* y;  // [tokens][rows]
};
GPU_KERNEL(kProductThreads, 1)
half_products(GPU_ARGUMENT HalfHeadArgs a) {
  const uint32_t lane = thread() % kWarp;
  const uint64_t task = static_cast<uint64_t>(block()) * kProductWarps + thread() / kWarp;
  const uint32_t row = static_cast<uint32_t>(task % a.rows), token = static_cast<uint32_t>(task / a.rows);
  if (token >= a.tokens) return;
  const uint16_t* w = a.weights + static_cast<uint64_t>(row) * a.columns;
  const float* x = a.x + static_cast<uint64_t>(token) * a.columns;
  float sum[8] = {};
  for (uint32_t begin = 0; begin < a.columns; begin += kLaneCount) {
    GPU_UNROLL_ALL
    for (uint32_t i = 0; i < 8; ++i) {
      const uint32_t at = begin + i * kWarp + lane;
      if (at < a.columns)
        sum[i] = std::fma(x[at], a.is_bf16 != 0 ? bf16_to_float(w[at]) : half_to_float(w[at]), sum[i]);
    }
  }
  GPU_UNROLL_ALL
  for (uint32_t half = 4; half > 0; half /= 2) {
    GPU_UNROLL_ALL
    for (uint32_t i = 0; i < half; ++i) sum[i] = sum[i] + sum[i + half];
  }
  const float all = reduce_warp(sum[0], [](float p, float q) { return p + q; });
  if (lane == 0) a.y[task] = all;
}

}  // namespace
}  // namespace onebit::gpu
