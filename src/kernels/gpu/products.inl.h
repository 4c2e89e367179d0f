// Products for many tokens on the matrix instructions: exact, since they are sums of integers.
//
// A thread's words of a block of 64 bytes are what the instruction wants of it, four columns a field, if the columns of
// 8 blocks are taken in the order of fields: columns of a product may come in any order, as long as weights and
// activations agree. So weights are unpacked in registers, and activations, which the kernels before have put in that
// order, go to shared memory as they are. Both are fetched some chunks ahead.
#pragma once

#include "kernels/gpu/packed.inl.h"

namespace onebit::gpu {
namespace {

inline constexpr uint32_t kProductThreads = 256;
inline constexpr uint32_t kProductWarps = kProductThreads / kWarp;
/// Threads that multiply together: each of their 4 warps 16 rows, twice.
inline constexpr uint32_t kTeam = 128;
inline constexpr uint32_t kTeams = kProductThreads / kTeam;
inline constexpr uint32_t kTeamWarps = kTeam / kWarp;
/// Chunks that a block of threads holds in shared memory: at most this many times what its teams multiply at once.
inline constexpr uint32_t kMostStages = 8;

/// A chunk is what is fetched at once: some steps of 32 columns, whole units of each group of rows.
template <Code kCode>
inline constexpr uint32_t kChunkSteps = kCode == Code::kT2     ? 4
                                        : kCode == Code::kT1_6 ? 5
                                                               : 2;
template <Code kCode>
inline constexpr uint32_t kChunkUnits = kCode == Code::kQ8 ? 2 : 1;
template <Code kCode>
inline constexpr uint32_t kChunkColumns = kChunkSteps<kCode> * 32;

/// Quantised rows as shared memory wants them: [rows / 8][stride / 16][8 rows][16 bytes]; columns in the order of
/// chunk_place, with zeros up to a whole chunk.
struct QuantizedRows {
  int8_t* q;
  float* s;      // [rows], over 127
  int32_t* sum;  // [rows]
  uint32_t stride;
};
/// Where 16 bytes of a row stand: those from `place`, a multiple of 16, on.
constexpr int8_t* quantized_at(const QuantizedRows& x, uint32_t row, uint32_t place) {
  return x.q + static_cast<uint64_t>(row / 8) * 8 * x.stride + place * 8 + row % 8 * 16;
}
/// A column's place among a row's bytes: of each 8 blocks first the columns of their first fields.
template <Code kCode>
constexpr uint32_t chunk_place(uint32_t column) {
  if constexpr (kCode == Code::kQ8) return column;
  constexpr uint32_t kUnit = kColumns<kCode> * kUnitBlocks;
  const uint32_t in_unit = column % kUnit, index = in_unit / kColumns<kCode>, in_block = in_unit % kColumns<kCode>;
  return column - in_unit + in_block / 4 * 32 + index * 4 + in_block % 4;
}
constexpr uint32_t chunks_of(uint32_t blocks, uint32_t chunk_units) {
  return (blocks + chunk_units * kUnitBlocks - 1) / (chunk_units * kUnitBlocks);
}

/// A product's sums before they are numbers: [rows][stride], the rows of its matrices one after another, from a
/// multiple of 16 on. Whoever reads them knows the matrices and what is beside the quantised rows.
struct ProductRows {
  int32_t* sums;
  uint32_t stride;
  const float* s;      // of the quantised rows
  const int32_t* sum;  // likewise
  uint32_t clear;      // 1: whoever reads them leaves zeros for the next product, which is added up
};
/// The number that a sum stands for: docs/numerics.md, 2; s is over 127. Ternary weights counted one too many.
GPU_DEVICE float product_value(int32_t sum, int32_t offset, float w_scale, float s) {
  return static_cast<float>(sum - offset) * (w_scale * s);
}

enum class Finish : uint32_t {
  kSums,   // the sums as they are
  kStore,  // y = product
  kGate,   // y = relu(first)² · second
};

struct ProductArgs {
  DeviceMatrix matrix[3];  // one after another; kGate: gate and up
  uint32_t matrices, groups;
  QuantizedRows x;
  uint32_t tokens;
  uint32_t stages;  // of shared memory
  uint32_t splits;  // blocks of threads that share a product's columns; more than one: their sums are added up
  int32_t* sums;    // kSums: [tokens][y_stride]
  float* y;         // else [tokens][y_stride]
  uint64_t y_stride;
};

/// Shared memory of a chunk: activations [tokens / 8][steps · 2][8][16], then weights [groups][units][512].
template <Code kCode>
inline constexpr uint32_t kChunkRowBytes = kChunkUnits<kCode> * kUnitBytes;
inline constexpr uint32_t kTeamGroups = 2 * kTeamWarps;
template <Code kCode, uint32_t kTiles>
inline constexpr uint32_t kChunkActivations = kTiles * 8 * kChunkColumns<kCode>;
/// kParts: teams that divide a chunk's columns; those that do not divide them have rows of their own.
template <Code kCode, uint32_t kTiles, uint32_t kParts>
inline constexpr uint32_t kStageBytes =
    kParts * kChunkActivations<kCode, kTiles> + kTeams * kTeamGroups * kChunkRowBytes<kCode>;
/// What stands before the stages: a table, and what belongs to the tokens.
template <Code kCode, uint32_t kTiles>
inline constexpr uint32_t kBeforeStages = (kCode == Code::kT1_6 ? kTritTableBytes : 0) + kTiles * 64;
/// Rows of weights of a block of threads, in groups of 16.
template <uint32_t kParts>
inline constexpr uint32_t kProductGroups = kTeams / kParts * kTeamGroups;

/// A thread's operands of a chunk's 16 rows by 32 columns each, for each of its steps.
template <Code kCode>
struct ChunkWeights {
  uint32_t codes[kChunkUnits<kCode>][4];
  uint32_t fifth[4];

  GPU_DEVICE void load(const unsigned char* shared, const uint32_t* table, bool there) {
    const uint32_t lane = thread() % kWarp, g = lane / 4, t = lane % 4;
    GPU_UNROLL_ALL
    for (uint32_t unit = 0; unit < kChunkUnits<kCode>; ++unit) {
      GPU_UNROLL_ALL
      for (uint32_t i = 0; i < 4; ++i) {
        const uint32_t block = t + i / 2 * 4, row = g + i % 2 * 8;
        uint32_t code =
            *reinterpret_cast<const uint32_t*>(shared + unit * kUnitBytes + (block * kTileRows16 + row) * 4);
        if constexpr (kCode == Code::kT1_6) {
          const auto trits = decode_trits(code, table);
          code = trits.x;
          fifth[i] = trits.y;
        }
        codes[unit][i] = there ? code : 0;
        if constexpr (kCode == Code::kT1_6) fifth[i] = there ? fifth[i] : 0;
      }
    }
  }
  GPU_DEVICE void operand(uint32_t (&a)[4], uint32_t step) const {
    GPU_UNROLL_ALL
    for (uint32_t i = 0; i < 4; ++i) {
      if constexpr (kCode == Code::kQ8)
        a[i] = codes[step][i];
      else
        a[i] = step == 4 ? fifth[i] : codes[0][i] >> (2 * step) & 0x03030303u;
    }
  }
};

template <Code kCode, uint32_t kTiles, uint32_t kParts, Finish kFinish>
class ProductKernel {
 public:
  GPU_DEVICE explicit ProductKernel(const ProductArgs& args) : a_(args) {
    const uint32_t token_tiles = (a_.tokens + kTokens - 1) / kTokens;
    uint32_t index = block();
    const uint32_t split = index % a_.splits;
    index /= a_.splits;
    first_token_ = index % token_tiles * kTokens;
    first_group_ = index / token_tiles * kGroups;
    const uint32_t left = (a_.tokens - first_token_ + 7) / 8;
    tiles_ = left < kTiles ? left : kTiles;
    const uint32_t chunks = chunks_of(a_.matrix[0].blocks, kChunkUnits<kCode>);
    begin_ = chunks * split / a_.splits;
    end_ = chunks * (split + 1) / a_.splits;
    table_ = reinterpret_cast<uint32_t*>(shared_memory());
    s_ = reinterpret_cast<float*>(shared_memory() + (kCode == Code::kT1_6 ? kTritTableBytes : 0));
    sum_ = reinterpret_cast<int32_t*>(s_ + kTokens);
    stages_ = shared_memory() + kBeforeStages<kCode, kTiles>;
    constexpr uint32_t kRun = kChunkColumns<kCode> / 2;
    const uint32_t first = thread() % (kProductThreads / kParts);
    activations_ = a_.x.q + static_cast<uint64_t>(first_token_ / 8) * 8 * a_.x.stride;
    if ((kProductThreads / kParts) % kRun == 0)
      activations_ += static_cast<uint64_t>(first / kRun) * 8 * a_.x.stride + first % kRun * 16;
    GPU_UNROLL_ALL
    for (uint32_t m = 0; m < 2; ++m) find_rows(m);
  }

  GPU_DEVICE void run() {
    // Chunks from one barrier to the next.
    const uint32_t each = kTiles == 16 && a_.stages >= 4 + kMultiplyLag ? 2 : 1;
    const uint32_t ahead = a_.stages - each - kMultiplyLag, rounds = (end_ - begin_ + kParts - 1) / kParts;
    // Weights do not depend on the kernels before this one.
    for (uint32_t i = 0; i < ahead; ++i) fetch_weights(i, i);
    if constexpr (kCode == Code::kT1_6) fill_trit_table(table_);
    wait_for_earlier();
    for (uint32_t i = 0; i < ahead; ++i) {
      fetch_activations(i, i);
      copy_async_commit();
    }
    if (kFinish != Finish::kSums && thread() < kTokens && first_token_ + thread() < a_.tokens) {
      s_[thread()] = a_.x.s[first_token_ + thread()];
      sum_[thread()] = kCode == Code::kQ8 ? 0 : a_.x.sum[first_token_ + thread()];
    }
    uint32_t stage = 0, free = ahead;
    const auto advance = [&](uint32_t& which) { which = which + 1 == a_.stages ? 0 : which + 1; };
    for (uint32_t i = 0; i < rounds; i += each) {
      wait_for_copies(ahead - each);
      multiply_sees_shared();
      sync_block();
      GPU_UNROLL(1)
      for (uint32_t k = i; k < i + each; ++k) {
        if (k < rounds) multiply(k, stage);
        advance(stage);
      }
      // Where those before the last ones were: nobody reads them any more.
      GPU_UNROLL(1)
      for (uint32_t k = i; k < i + each; ++k) {
        fetch_weights(k + ahead, free);
        fetch_activations(k + ahead, free);
        copy_async_commit();
        advance(free);
      }
    }
    let_next_begin();
    copy_async_wait<0>();
    multiply_wait<0>();
    multiply_done(d_[0]);
    multiply_done(d_[1]);
    if constexpr (kParts == 1) {
      finish<kTiles>(d_, 0);
    } else {
      add_parts();
    }
  }

 private:
  static constexpr uint32_t kTokens = kTiles * 8,
                            kGroups = kFinish == Finish::kGate ? kProductGroups<kParts> / 2 : kProductGroups<kParts>;

  GPU_DEVICE static uint32_t team() { return thread() / kTeam; }
  GPU_DEVICE static uint32_t part() { return kParts == 1 ? 0 : team(); }
  GPU_DEVICE static uint32_t warp() { return thread() % kTeam / kWarp; }
  /// Among the block's groups: of a gated product a thread has the same rows of both matrices.
  GPU_DEVICE static uint32_t group_of(uint32_t m) {
    const uint32_t first = kParts == 1 ? team() : 0;
    return kFinish == Finish::kGate ? first * kTeamWarps + warp() : (first * 2 + m) * kTeamWarps + warp();
  }

  GPU_DEVICE void find_rows(uint32_t m) {
    uint32_t group = first_group_ + group_of(m), which = kFinish == Finish::kGate ? m : 0;
    if constexpr (kFinish != Finish::kGate)
      while (which + 1 < a_.matrices && group >= a_.matrix[which].groups) group -= a_.matrix[which++].groups;
    const DeviceMatrix& w = a_.matrix[which];
    there_[m] = group < w.groups;
    from_[m] = w.data + static_cast<uint64_t>(there_[m] ? group : 0) * w.blocks * kBlockSize + thread() % kWarp * 16;
  }
  GPU_DEVICE unsigned char* stage_of(uint32_t stage) const {
    return stages_ + stage * kStageBytes<kCode, kTiles, kParts>;
  }
  GPU_DEVICE unsigned char* activations_of(uint32_t stage) const {
    return stage_of(stage) + part() * kChunkActivations<kCode, kTiles>;
  }
  GPU_DEVICE unsigned char* weights_of(uint32_t stage, uint32_t m) const {
    return stage_of(stage) + kParts * kChunkActivations<kCode, kTiles> +
           ((team() * 2 + m) * kTeamWarps + warp()) * kChunkRowBytes<kCode>;
  }

  /// Until at most `left` rounds' copies are under way.
  GPU_DEVICE static void wait_for_copies(uint32_t left) {
    if (left == 0) copy_async_wait<0>();
    if (left == 1) copy_async_wait<1>();
    if (left == 2) copy_async_wait<2>();
    if (left == 3) copy_async_wait<3>();
    if (left >= 4) copy_async_wait<4>();
  }

  /// Each warp its own rows'. What stands past a row's last block meets zeros.
  GPU_DEVICE void fetch_weights(uint32_t round, uint32_t stage) {
    const uint32_t chunk = begin_ + round * kParts + part();
    if (chunk >= end_) return;
    GPU_UNROLL_ALL
    for (uint32_t m = 0; m < 2; ++m) {
      unsigned char* to = weights_of(stage, m) + thread() % kWarp * 16;
      GPU_UNROLL_ALL
      for (uint32_t unit = 0; unit < kChunkUnits<kCode>; ++unit) {
        const uint32_t at = chunk * kChunkUnits<kCode> + unit;
        if (there_[m] && at * kUnitBlocks + thread() % kWarp / 4 < a_.matrix[0].blocks)
          copy_async(to + unit * kUnitBytes, from_[m] + static_cast<uint64_t>(at) * kUnitBytes);
      }
    }
  }
  GPU_DEVICE void fetch_activations(uint32_t round, uint32_t stage) {
    const uint32_t chunk = begin_ + round * kParts + part();
    if (chunk >= end_) return;
    constexpr uint32_t kRun = kChunkColumns<kCode> / 2;  // pieces of 16 bytes of 8 rows
    constexpr uint32_t kThreads = kProductThreads / kParts;
    const uint32_t first = thread() % kThreads, tile_bytes = 8 * a_.x.stride;
    const int8_t* from = activations_ + static_cast<uint64_t>(chunk) * (kRun * 16);
    unsigned char* to = activations_of(stage) + first * 16;
    if constexpr (kThreads % kRun == 0) {
      constexpr uint32_t kStep = kThreads / kRun;  // tiles between a thread's pieces
      GPU_UNROLL_ALL
      for (uint32_t k = 0; k < (kTiles + kStep - 1) / kStep; ++k)
        if (first / kRun + k * kStep < tiles_) copy_async(to + k * kThreads * 16, from + k * kStep * tile_bytes);
    } else {
      GPU_UNROLL_ALL
      for (uint32_t k = 0; k < (kTiles * kRun + kThreads - 1) / kThreads; ++k) {
        const uint32_t i = first + k * kThreads;
        if (i / kRun < tiles_)
          copy_async(to + k * kThreads * 16, from + static_cast<uint64_t>(i / kRun) * tile_bytes + i % kRun * 16);
      }
    }
  }

  /// Some steps at a time: operands are unpacked while those before are multiplied. At most two such groups are under
  /// way, both of this round, when it ends; so what the round before last read is free by the next barrier.
  GPU_DEVICE void multiply(uint32_t round, uint32_t stage) {
    constexpr uint32_t kSteps = kChunkSteps<kCode>, kEach = kTiles == 16 ? (kSteps + 1) / 2 : 1;
    static_assert(kSteps > kEach);
    ChunkWeights<kCode> weights[2];
    // Where the other part has a chunk more, there is nothing left here; the threads multiply all the same.
    const bool there = kParts == 1 || begin_ + round * kParts + part() < end_;
    weights[0].load(weights_of(stage, 0), table_, there);
    weights[1].load(weights_of(stage, 1), table_, there);
    const unsigned char* x = activations_of(stage);
    // Fifth trits come first: what unpacks them is over then.
    const auto field_of = [](uint32_t step) { return kCode == Code::kT1_6 ? (step + 4) % 5 : step; };
    GPU_UNROLL_ALL
    for (uint32_t first = 0; first < kSteps; first += kEach) {
      multiply_wait<1>();
      uint32_t operand[kEach][2][4];
      GPU_UNROLL_ALL
      for (uint32_t i = 0; i < kEach * 2; ++i)
        if (first + i / 2 < kSteps) weights[i % 2].operand(operand[i / 2][i % 2], field_of(first + i / 2));
      multiply_begin();
      GPU_UNROLL_ALL
      for (uint32_t i = 0; i < kEach * 2; ++i)
        if (first + i / 2 < kSteps)
          multiply_shared<kCode == Code::kQ8>(d_[i % 2], operand[i / 2][i % 2], x + field_of(first + i / 2) * 256,
                                              kChunkColumns<kCode> * 8, tiles_, round == 0 && first + i / 2 == 0);
      multiply_commit();
    }
  }

  /// The teams' sums together; each team then has half of the tokens.
  GPU_DEVICE void add_parts() {
    constexpr uint32_t kHalf = kTiles / 2;
    auto* given = reinterpret_cast<int32_t*>(stages_);  // [parts][sums][threads of a team]
    sync_block();
    int32_t mine[2][kHalf][4];
    GPU_UNROLL_ALL
    for (uint32_t i = 0; i < 2 * kHalf * 4; ++i) {
      const uint32_t m = i / (kHalf * 4), tile = i / 4 % kHalf, j = i % 4;
      mine[m][tile][j] = part() == 0 ? d_[m][tile][j] : d_[m][tile + kHalf][j];
      given[(part() * 2 * kHalf * 4 + i) * kTeam + thread() % kTeam] =
          part() == 0 ? d_[m][tile + kHalf][j] : d_[m][tile][j];
    }
    sync_block();
    GPU_UNROLL_ALL
    for (uint32_t i = 0; i < 2 * kHalf * 4; ++i)
      mine[i / (kHalf * 4)][i / 4 % kHalf][i % 4] +=
          given[((1 - part()) * 2 * kHalf * 4 + i) * kTeam + thread() % kTeam];
    finish<kHalf>(mine, part() * kHalf);
  }

  template <uint32_t kMine>
  GPU_DEVICE void finish(const int32_t (&d)[2][kMine][4], uint32_t first_tile) const {
    const uint32_t lane = thread() % kWarp;
    // Of this thread's rows, lane / 4 and 8 more: where they stand among all, and their scales.
    uint32_t at[2][2];
    bool there[2][2];
    float scale[2][2];
    GPU_UNROLL_ALL
    for (uint32_t i = 0; i < 4; ++i) {
      const uint32_t m = i / 2, group = first_group_ + group_of(m);
      at[m][i % 2] = group * kTileRows16 + lane / 4 + i % 2 * 8;
      const DeviceMatrix& w = a_.matrix[kFinish == Finish::kGate ? m : 0];
      there[m][i % 2] = kFinish == Finish::kSums ? group < a_.groups : at[m][i % 2] < w.rows;
      scale[m][i % 2] = kFinish != Finish::kSums && there[m][i % 2] ? w.scale(at[m][i % 2]) : 0.0f;
    }
    if (first_token_ + kTokens <= a_.tokens)
      store<true>(d, first_tile, at, there, scale);
    else
      store<false>(d, first_tile, at, there, scale);
  }

  /// kWhole: all of the tile's tokens exist.
  template <bool kWhole, uint32_t kMine>
  GPU_DEVICE void store(const int32_t (&d)[2][kMine][4], uint32_t first_tile, const uint32_t (&at)[2][2],
                        const bool (&there)[2][2], const float (&scale)[2][2]) const {
    const uint32_t first = first_tile * 8 + thread() % kWarp % 4 * 2, stride = static_cast<uint32_t>(a_.y_stride);
    GPU_UNROLL_ALL
    for (uint32_t i = 0; i < kMine * 4; ++i) {
      const uint32_t r = i % 4 / 2, in_tile = first + i / 4 * 8 + i % 2, token = first_token_ + in_tile;
      if (!kWhole && token >= a_.tokens) continue;
      const int32_t one = d[0][i / 4][i % 4], other = d[1][i / 4][i % 4];
      const uint32_t row = token * stride;  // what is written has fewer than 2^32 elements
      if constexpr (kFinish == Finish::kSums) {
        const auto put = [&](uint32_t m, int32_t sum) {
          if (!there[m][r]) return;
          if (a_.splits == 1)
            a_.sums[row + at[m][r]] = sum;
          else
            atomic_add(a_.sums + (row + at[m][r]), sum);
        };
        put(0, one);
        put(1, other);
      } else {
        const float s = s_[in_tile];
        const float x = product_value(one, sum_[in_tile], scale[0][r], s);
        const float y = product_value(other, sum_[in_tile], scale[1][r], s);
        if constexpr (kFinish == Finish::kGate) {
          if (there[0][r]) a_.y[row + at[0][r]] = squared_relu_gate(x, y);
        } else {
          if (there[0][r]) a_.y[row + at[0][r]] = x;
          if (there[1][r]) a_.y[row + at[1][r]] = y;
        }
      }
    }
  }

  const ProductArgs& a_;
  uint32_t first_token_, first_group_, tiles_, begin_, end_;  // begin, end: of the chunks
  uint32_t* table_;
  float* s_;      // [kTokens]; not of kSums
  int32_t* sum_;  // [kTokens]
  unsigned char* stages_;
  const int8_t*
      activations_;  // of the tile's tokens; from this thread's first piece on where its pieces are a step apart
  const unsigned char* from_[2];
  bool there_[2];
  int32_t d_[2][kTiles][4];
};

template <Code kCode, uint32_t kTiles, uint32_t kParts, Finish kFinish>
GPU_KERNEL(kProductThreads, kTiles == 16 || (kTiles == 8 && kCode == Code::kT1_6) ? 1 : 2)
products(GPU_ARGUMENT ProductArgs argument) {
  ProductKernel<kCode, kTiles, kParts, kFinish>(argument_of(argument)).run();
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
