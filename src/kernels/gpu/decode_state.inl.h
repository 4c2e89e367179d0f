// One token of one sequence: what the blocks of the kernel (decode.inl.h) share, and how they divide the work.
#pragma once

#include <cstddef>

#include "kernels/gpu/attention.inl.h"
#include "kernels/gpu/packed.inl.h"
#include "kernels/gpu/tagged.inl.h"

namespace onebit::gpu {
namespace {

inline constexpr uint32_t kDecodeThreads = 512;
inline constexpr uint32_t kDecodeWarps = kDecodeThreads / kWarp;
inline constexpr uint32_t kInlinePages = 64;

/// A layer's products. A block of threads has whole groups of 16 rows of each; of gate and up the same ones. The head
/// is divided otherwise.
enum Slot : uint32_t { kQkv, kOutput, kGateUp, kDown, kSlots, kHead = kSlots };

/// How a product's groups are divided: in turn from block `turn` on, `each` a block and one more for the first `more`.
struct SlotPlan {
  uint32_t each, more, turn;
};

/// What the host hears of a pass.
struct Answer {
  Problems problems;
  uint64_t best;
};

/// What a token's pass needs besides the model. Offsets are of shared memory, in bytes.
struct DecodeArgs {
  DeviceModel model;
  uint32_t token, position;
  uint32_t tag;  // of values of layer 0; those of the next ones count on. None that was used before
  uint32_t page_list[kInlinePages];
  const uint32_t* pages;  // null: they are in page_list
  SlotPlan slots[kSlots];
  uint32_t q_groups, qk_groups;        // of the QKV product those of queries; those before values
  uint32_t slots_offset, slots_bytes;  // for weights ahead of their use
  uint32_t x_offset, q_offset, table_offset, places_offset, sums_offset, attend_offset, kv_offset;
  Tagged *qkv, *attended, *output, *gated, *down;  // rows of products, a layer's over the last one's
  Tagged *parts, *part_scales;                     // [heads][part_stride][head_dim]; [heads][part_stride] of m and l
  uint32_t part_stride;
  uint32_t split_kv;  // 0: a KV head's context is one block's
  float* normed;      // [hidden]: for a head that another kernel computes
  uint32_t* ticket;   // zero between passes
  Problems* problems;
  float* logits;          // [vocabulary]
  uint64_t* best;         // the largest logit's key
  Answer* answer;         // in the host's memory
  uint64_t* times;        // null, or [layers · 5 + 2] of block 0's clock when a part's input was there
  uint32_t wants_logits;  // 0: none, the head is left out; 1: the largest; 2: all
};

/// A block's groups of a product, the same in each layer.
struct Work {
  uint32_t first, groups;                       // gate and up: pairs of groups
  uint32_t lists;                               // 2: gate's groups, then up's
  uint32_t row_blocks, group_bytes, per_group;  // blocks and bytes of a group; units, the last one perhaps not whole
  uint32_t offset, resident;  // of the first `resident` groups the weights come to shared memory there

  GPU_DEVICE uint32_t all() const { return groups * lists; }
};

/// A warp's units of a block's groups.
struct WarpShare {
  uint32_t group, in_group;  // where the first one is
  uint32_t count;
};

/// A block's state, the first thing in its shared memory.
struct DecodeState {
  DeviceLayer layers[3];  // two ahead of their use, since the weights of the next one are ordered by them
  Work work[kSlots];
  WarpShare share[kSlots][kDecodeWarps];
  uint32_t kv_count, kv_tasks;  // KV blocks of the sequence; tasks of this block of threads, a KV head's block each
  CopyBarrier weights_here[kSlots], keys_here, values_here;
  // Of the row that is quantised.
  alignas(16) float lanes[kLaneCount];
  alignas(16) uint32_t largest[kDecodeWarps];
  alignas(16) int32_t sum[kDecodeWarps];  // of its values, in parts
  float step;                             // s / 127
  bool finite;                            // all of it, and of what it was made of
};

struct RowScales {
  float first, second;
};

/// A row that a norm takes: x itself, or what other blocks made of it.
struct RowIn {
  const Tagged* from;  // null: x
  bool adds;           // to x
  uint32_t n, tag;
  uint32_t row_blocks;  // of the product that follows, to whole units
  bool plain;           // its columns are in q() one after another
  bool waits;           // long, or for much
  const float* weight;
  uint32_t mark;  // of `times`, once the row is there
};

/// A token's pass as a block sees it. Everything here is inlined, and what several phases do stands in the program
/// once: code that does not fit a multiprocessor's instruction cache costs more than all arithmetic, functions that are
/// not inlined save registers in a memory that is far away, and a phase waits for each load in its way. So its
/// arguments stay where the kernel has them, in constant memory, and its state is at a fixed place.
class Decode {
 public:
  GPU_DEVICE explicit Decode(const DecodeArgs& args) : a_(args), thread_(opaque(thread())) {}

  GPU_DEVICE static unsigned char* shared(uint32_t offset) { return shared_memory() + offset; }
  GPU_DEVICE static DecodeState& state() { return *reinterpret_cast<DecodeState*>(shared_memory()); }
  GPU_DEVICE float* x() const { return reinterpret_cast<float*>(shared(a_.x_offset)); }
  GPU_DEVICE int8_t* q() const { return reinterpret_cast<int8_t*>(shared(a_.q_offset)); }
  GPU_DEVICE uint32_t* table() const { return reinterpret_cast<uint32_t*>(shared(a_.table_offset)); }
  /// By column where it stands in q(); only with t1_6, whose blocks of 20 columns make that long to compute.
  GPU_DEVICE uint16_t* places() const { return reinterpret_cast<uint16_t*>(shared(a_.places_offset)); }
  GPU_DEVICE int32_t* sums() const { return reinterpret_cast<int32_t*>(shared(a_.sums_offset)); }
  GPU_DEVICE uint32_t page(uint32_t i) const { return a_.pages != nullptr ? a_.pages[i] : a_.page_list[i]; }
  GPU_DEVICE static DeviceLayer& layer(uint32_t i) { return state().layers[i % 3]; }
  GPU_DEVICE void fetch_layer(uint32_t i) const {
    if (i >= a_.model.shape.layers) return;
    constexpr uint32_t kPieces = sizeof(DeviceLayer) / 16;
    if (thread_ < kPieces)
      copy_async(reinterpret_cast<unsigned char*>(&layer(i)) + thread_ * 16,
                 reinterpret_cast<const unsigned char*>(a_.model.layers + i) + thread_ * 16);
  }
  GPU_DEVICE void mark(uint32_t i) const {
    if (a_.times != nullptr && block() == 0 && thread_ == 0) a_.times[i] = clock_ns();
  }

  // How the work is divided.
  GPU_DEVICE void divide() const;
  GPU_DEVICE void share_out() const;
  /// Where a block's group of a product is: the layer's matrix, and its group there.
  struct Place {
    uint32_t matrix, group;
  };
  GPU_DEVICE Place place(uint32_t slot, uint32_t group) const;
  GPU_DEVICE static const DeviceMatrix& matrix(uint32_t i, const Place& p) { return (&layer(i).attn_q)[p.matrix]; }
  GPU_DEVICE const unsigned char* weights(uint32_t slot, uint32_t i, uint32_t group) const {
    const Place p = place(slot, group);
    return matrix(i, p).data + static_cast<uint64_t>(p.group) * state().work[slot].group_bytes;
  }
  GPU_DEVICE void order_weights(uint32_t slot, uint32_t i) const;
  /// A KV head's block of positions that this block of threads attends to, the n-th in the pass.
  struct Task {
    uint32_t layer, in_layer, kv_head, kv_block;
  };
  GPU_DEVICE Task task(uint32_t n) const {
    const uint32_t each = state().kv_tasks, count = state().kv_count, in_layer = n % each;
    if (a_.split_kv == 0) return {n / each, in_layer, block(), in_layer};
    const uint32_t at = block() + in_layer * blocks();
    return {n / each, in_layer, at / count, at % count};
  }
  GPU_DEVICE unsigned char* kv_of(const Task& t) const { return a_.model.kv.at(page(t.kv_block), t.layer, t.kv_head); }
  GPU_DEVICE void order_kv(uint32_t n, bool values) const;

  // A layer's parts.
  GPU_DEVICE RowIn row_in(uint32_t slot, uint32_t i) const;
  template <Code kCode>
  GPU_DEVICE void norm(const RowIn& in, float* y) const;
  template <Code kCode>
  GPU_DEVICE void multiply(uint32_t slot, uint32_t i) const;
  template <Code kCode>
  GPU_DEVICE void product(uint32_t slot, uint32_t i, RowScales scales) const;
  GPU_DEVICE RowScales row_scales(uint32_t slot, uint32_t i, uint32_t row) const;
  template <KvFormat kFormat>
  GPU_DEVICE void attention(uint32_t i) const;
  template <KvFormat kFormat>
  GPU_DEVICE void attend(uint32_t n) const;
  GPU_DEVICE uint32_t take_vector(uint32_t i, uint32_t row, bool rotates, float* to) const;
  template <KvFormat kFormat>
  GPU_DEVICE void take_vectors(const Task& task, uint32_t parity) const;
  GPU_DEVICE void fold(uint32_t head, uint32_t tag) const;
  template <Code kCode>
  GPU_DEVICE void head() const;
  GPU_DEVICE void report() const;

  const DecodeArgs& a_;
  uint32_t thread_;  // thread(): one that each phase computes with anew, or the whole pass's indices fill the registers
};

/// By one thread: the block's groups and where their weights go.
GPU_DEVICE void Decode::divide() const {
  const DeviceLayer& w = layer(0);
  uint32_t left = a_.slots_bytes, offset = a_.slots_offset;
  for (uint32_t slot = 0; slot < kSlots; ++slot) {
    const SlotPlan& plan = a_.slots[slot];
    const DeviceMatrix& m = slot == kQkv      ? w.attn_q
                            : slot == kOutput ? w.attn_output
                            : slot == kGateUp ? w.ffn_gate
                                              : w.ffn_down;
    const uint32_t turn = block() >= plan.turn ? block() - plan.turn : block() + blocks() - plan.turn;
    Work& work = state().work[slot];
    work.first = turn * plan.each + (turn < plan.more ? turn : plan.more);
    work.groups = plan.each + (turn < plan.more ? 1 : 0);
    work.lists = slot == kGateUp ? 2 : 1;
    work.row_blocks = m.blocks;
    work.group_bytes = m.blocks * kBlockSize;
    work.per_group = m.units();
    const uint32_t fit = left / work.group_bytes;
    work.resident = fit < work.all() ? fit : work.all();
    work.offset = offset;
    offset += work.resident * work.group_bytes;
    left -= work.resident * work.group_bytes;
    begin(&state().weights_here[slot]);
  }
  state().kv_count = blocks_of(a_.position + 1);
  const uint32_t tasks = state().kv_count * a_.model.shape.kv_heads;
  state().kv_tasks = tasks > block() ? (tasks - block() - 1) / blocks() + 1 : 0;
  if (a_.split_kv == 0) state().kv_tasks = block() < a_.model.shape.kv_heads ? state().kv_count : 0;
  begin(&state().keys_here);
  begin(&state().values_here);
}

/// By one thread of each warp: its share of the block's units, which it has in the midst of groups if need be, since
/// sums of integers are exact in any order.
GPU_DEVICE void Decode::share_out() const {
  const uint32_t warp = thread_ / kWarp;
  for (uint32_t slot = 0; slot < kSlots; ++slot) {
    const Work& work = state().work[slot];
    const uint32_t n = work.all() * work.per_group, begin = n * warp / kDecodeWarps;
    state().share[slot][warp] = {begin / work.per_group, begin % work.per_group, n * (warp + 1) / kDecodeWarps - begin};
  }
}

GPU_DEVICE Decode::Place Decode::place(uint32_t slot, uint32_t group) const {
  static_assert(offsetof(DeviceLayer, ffn_down) - offsetof(DeviceLayer, attn_q) == 6 * sizeof(DeviceMatrix));
  const Work& work = state().work[slot];
  const uint32_t at = work.first + group;
  if (slot == kQkv) {
    if (at < a_.q_groups) return {0, at};
    return at < a_.qk_groups ? Place{1, at - a_.q_groups} : Place{2, at - a_.qk_groups};
  }
  if (slot == kGateUp) return group < work.groups ? Place{4, at} : Place{5, at - work.groups};
  return {slot == kOutput ? 3u : 6u, at};
}

/// What a product multiplies, before its norm.
GPU_DEVICE RowIn Decode::row_in(uint32_t slot, uint32_t i) const {
  const DeviceLayer& w = layer(i);
  const Shape& c = a_.model.shape;
  const uint32_t tag = a_.tag + i;
  if (slot == kHead)
    return {a_.down, true, c.hidden, tag - 1, a_.model.head.units() * kUnitBlocks, true, false, a_.model.output_norm,
            i * 5};
  const uint32_t blocks = state().work[slot].per_group * kUnitBlocks;
  if (slot == kQkv)
    return {i > 0 ? a_.down : nullptr, true, c.hidden, tag - 1, blocks, false, false, w.attn_norm, i * 5};
  if (slot == kOutput)
    return {a_.attended, false, c.heads * c.head_dim, tag, blocks, false, true, w.attn_sub_norm, i * 5 + 2};
  if (slot == kGateUp) return {a_.output, true, c.hidden, tag, blocks, false, false, w.ffn_norm, i * 5 + 3};
  return {a_.gated, false, c.ffn, tag, blocks, false, true, w.ffn_sub_norm, i * 5 + 4};
}

/// By one warp: a layer's weights on their way, once nobody needs the last layer's.
GPU_DEVICE void Decode::order_weights(uint32_t slot, uint32_t i) const {
  if (i >= a_.model.shape.layers) return;
  const Work& work = state().work[slot];
  CopyBarrier* here = &state().weights_here[slot];
  copy_begin(here, work.resident * work.group_bytes);
  for (uint32_t g = 0; g < work.resident; ++g)
    copy_bulk(here, shared(work.offset + g * work.group_bytes), weights(slot, i, g), work.group_bytes);
  copy_end(here);
}

/// By one warp: keys or values of the n-th task on their way, as far as they were there before this token.
GPU_DEVICE void Decode::order_kv(uint32_t n, bool values) const {
  const KvPlan& kv = a_.model.kv;
  if (n >= state().kv_tasks * a_.model.shape.layers) return;
  constexpr uint32_t kScaleBytes = kPagePositions * 4;
  const bool scaled = kv.block_bytes > 2 * kv.v_offset;
  const unsigned char* from = kv_of(task(n));
  const uint32_t offset = values ? kv.v_offset : 0, scale_offset = values ? kv.v_scale_offset : kv.k_scale_offset;
  CopyBarrier* here = values ? &state().values_here : &state().keys_here;
  copy_begin(here, kv.v_offset + (scaled ? kScaleBytes : 0));
  copy_bulk(here, shared(a_.kv_offset + offset), from + offset, kv.v_offset);
  if (scaled) copy_bulk(here, shared(a_.kv_offset + scale_offset), from + scale_offset, kScaleBytes);
  copy_end(here);
}

}  // namespace
}  // namespace onebit::gpu
