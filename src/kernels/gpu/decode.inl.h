// One token of one sequence: the whole forward pass in one kernel whose blocks, one a multiprocessor, meet at barriers.
//
// Every block keeps the residual stream and repeats the work on rows (norms, quantisation): that is shorter than a
// barrier. A product's weights are a flat list of units (8 blocks of 64 bytes) divided evenly over blocks and warps, in
// the midst of rows if need be, since sums of integers are exact in any order; they meet in global memory by atomic
// additions. A warp copies its units to shared memory a layer before they are used, so that the memory is never idle
// while blocks wait for each other.
#pragma once

#include "kernels/gpu/attention.inl.h"
#include "kernels/gpu/packed.inl.h"

namespace onebit::gpu {
namespace {

inline constexpr uint32_t kDecodeThreads = 512;
inline constexpr uint32_t kDecodeWarps = kDecodeThreads / kWarp;
inline constexpr uint32_t kInlinePages = 64;
inline constexpr uint32_t kSlots = 4;  // QKV, attention output, gate and up, down

/// What a token's pass needs besides the model. Sums are zero between passes.
struct DecodeArgs {
  DeviceModel model;
  uint32_t token, position;
  uint32_t page_list[kInlinePages];
  const uint32_t* pages;                            // null: they are in page_list
  uint32_t units_each[kSlots], units_more[kSlots];  // of a product a block has so many, the first ones one more
  uint32_t shares_offset;                           // [kSlots][kDecodeWarps] of Share
  uint32_t slot_units[kSlots];                      // room of each slot in shared memory
  uint32_t slot_offset[kSlots];                     // in bytes, as the others
  uint32_t layers_offset, x_offset, h_offset, q_offset, table_offset, row_offset, attend_offset, kv_offset, fold_offset;
  uint32_t stage_kv;                       // 1: there is room for a KV block
  int32_t *qkv, *output, *gate_up, *down;  // sums
  float* attended;                         // [heads · head_dim]
  Results parts, supers;                   // [heads][part_stride], [heads][super_stride]
  uint32_t part_stride, super_stride;
  uint32_t* tickets;  // [kv_heads][1 + super_stride], zero between passes
  uint32_t* barrier;
  Problems* problems;
  float* logits;          // [vocabulary]
  uint64_t* best;         // the largest logit's key, zero before the pass
  uint64_t* times;        // null, or [layers · 5 + 2] of block 0's clock after each phase
  uint32_t wants_logits;  // 0: none, the head is left out
};

/// Orders logits, larger first, ties to the lower id.
GPU_DEVICE uint64_t pick_key(float logit, uint32_t id) {
  const uint32_t u = bits_of(logit == 0.0f ? 0.0f : logit);  // -0 and +0 are a tie
  const uint32_t ordered = (u & 0x80000000u) != 0 ? ~u : u | 0x80000000u;
  return static_cast<uint64_t>(ordered) << 32 | (0xffffffffu - id);
}

/// A barrier of all blocks of the grid, which are all on the device, in two halves: what stands between them is done
/// while others arrive.
class GridBarrier {
 public:
  GPU_DEVICE explicit GridBarrier(uint32_t* counter) : counter_(counter) {}
  GPU_DEVICE void arrive() {
    sync_block();
    if (thread() == 0) before_ = atomic_add_release(counter_, block() == 0 ? 0x80000000u - (blocks() - 1) : 1u);
  }
  GPU_DEVICE void wait() const {
    if (thread() == 0)
      while (((before_ ^ load_flag(counter_)) & 0x80000000u) == 0) pause();
    sync_block();
  }

 private:
  uint32_t* counter_;
  uint32_t before_ = 0;
};

/// Elements of a row that a thread has at most, every kDecodeThreads-th: of the model's width, of the feed-forward's.
inline constexpr uint32_t kNarrow = 8, kWide = 16;

/// Rows of a product of ternary weights with one scale, from their sums.
struct ProductOf {
  const int32_t* sums;
  float factor;
  int32_t offset;

  GPU_DEVICE ProductOf(const int32_t* from, const DeviceMatrix& m, const RowScale& in)
      : sums(from), factor(product_scale(m.one_scale, in.s)), offset(in.sum) {}
  GPU_DEVICE int32_t load(uint32_t row) const { return load_fresh(sums + row); }
  GPU_DEVICE float value(int32_t sum) const { return static_cast<float>(sum - offset) * factor; }
};

/// Sums of a row of gate and up.
struct GateUp {
  int32_t gate, up;
};

/// The matrices of a phase one after another: groups of 16 rows, each of `per_group` units. Those that are not there
/// stand for the first.
struct Part {
  const DeviceMatrix *a, *b, *c;
  uint32_t b_begin, c_begin, end;  // groups
  uint32_t per_group;

  GPU_DEVICE uint32_t units() const { return end * per_group; }
};
GPU_DEVICE Part part_of(const DeviceMatrix& a, const DeviceMatrix* b, const DeviceMatrix* c) {
  Part p;
  p.a = &a;
  p.b = b != nullptr ? b : &a;
  p.c = c != nullptr ? c : &a;
  p.b_begin = a.groups;
  p.c_begin = p.b_begin + (b != nullptr ? b->groups : 0);
  p.end = p.c_begin + (c != nullptr ? c->groups : 0);
  p.per_group = a.units();
  return p;
}

/// A warp's share of a product's units, the same in each layer.
struct alignas(16) WarpShare {
  uint32_t begin;  // of the block's units
  uint32_t count;
  uint32_t group, in_group;  // where the first one is
};
/// each, more: DecodeArgs. per_group: units of 16 rows
GPU_DEVICE WarpShare share_of(uint32_t each, uint32_t more, uint32_t per_group, uint32_t warp) {
  const uint32_t n = each + (block() < more ? 1 : 0), first = block() * each + (block() < more ? block() : more);
  const uint32_t begin = n * warp / kDecodeWarps, at = first + begin;
  return {begin, n * (warp + 1) / kDecodeWarps - begin, at / per_group, at % per_group};
}

/// The units of a share, one after another.
class Units {
 public:
  GPU_DEVICE Units(const Part& part, const WarpShare& share)
      : part_(part), begin_(share.begin), left_(share.count), group_(share.group), in_group_(share.in_group) {
    enter();
  }
  GPU_DEVICE bool more() const { return left_ > 0; }
  /// Of the block's units, which this is.
  GPU_DEVICE uint32_t number() const { return begin_; }
  GPU_DEVICE uint32_t group() const { return group_; }
  /// After this one another group begins, or nothing.
  GPU_DEVICE bool ends() const { return left_ == 1 || in_group_ + 1 == part_.per_group; }
  /// The thread's block in its group.
  GPU_DEVICE uint32_t index() const { return in_group_ * kUnitBlocks + thread() % kWarp / 4; }
  GPU_DEVICE bool has_block() const { return index() < blocks_; }
  GPU_DEVICE const unsigned char* data() const { return data_ + index() * kBlockSize + thread() % 4 * 16; }
  GPU_DEVICE void next() {
    ++begin_;
    --left_;
    if (++in_group_ < part_.per_group) return;
    in_group_ = 0;
    ++group_;
    enter();
  }

 private:
  GPU_DEVICE void enter() {
    const DeviceMatrix& m = group_ >= part_.c_begin ? *part_.c : group_ >= part_.b_begin ? *part_.b : *part_.a;
    const uint32_t skip = group_ >= part_.c_begin ? part_.c_begin : group_ >= part_.b_begin ? part_.b_begin : 0;
    blocks_ = m.blocks;
    data_ = m.data + static_cast<uint64_t>(group_ - skip) * m.blocks * kBlockSize;
  }

  const Part& part_;
  uint32_t begin_, left_, group_, in_group_, blocks_;
  const unsigned char* data_;
};

/// A token's pass as a block sees it. Its arguments are the first thing in shared memory, where functions that are not
/// inlined find them: the pass is long, a multiprocessor runs each part of it once a layer, and code that does not fit
/// its instruction cache costs more than all arithmetic, so what several phases do stands in the program once.
class Decode {
 public:
  GPU_DEVICE Decode() : a_(*reinterpret_cast<const DecodeArgs*>(shared_memory())), shared_(shared_memory()) {}

  GPU_DEVICE unsigned char* shared(uint32_t offset) const { return shared_ + offset; }
  GPU_DEVICE float* x() const { return reinterpret_cast<float*>(shared(a_.x_offset)); }
  GPU_DEVICE float* h() const { return reinterpret_cast<float*>(shared(a_.h_offset)); }
  GPU_DEVICE int8_t* q() const { return reinterpret_cast<int8_t*>(shared(a_.q_offset)); }
  GPU_DEVICE uint32_t* table() const { return reinterpret_cast<uint32_t*>(shared(a_.table_offset)); }
  GPU_DEVICE RowScratch& row() const { return *reinterpret_cast<RowScratch*>(shared(a_.row_offset)); }
  /// Layers come to shared memory two ahead, since the weights of the next one are fetched by them.
  GPU_DEVICE DeviceLayer& layer(uint32_t i) const {
    return reinterpret_cast<DeviceLayer*>(shared(a_.layers_offset))[i % 3];
  }
  GPU_DEVICE Part part(uint32_t slot, uint32_t i) const {
    const DeviceLayer& w = layer(i);
    if (slot == 0) return part_of(w.attn_q, &w.attn_k, &w.attn_v);
    if (slot == 1) return part_of(w.attn_output, nullptr, nullptr);
    if (slot == 2) return part_of(w.ffn_gate, &w.ffn_up, nullptr);
    return part_of(w.ffn_down, nullptr, nullptr);
  }

  GPU_DEVICE WarpShare& share(uint32_t slot) const {
    return reinterpret_cast<WarpShare*>(shared(a_.shares_offset))[slot * kDecodeWarps + thread() / kWarp];
  }

  GPU_DEVICE void fetch_layer(uint32_t i) const {
    if (i >= a_.model.shape.layers) return;
    constexpr uint32_t kPieces = (sizeof(DeviceLayer) + 15) / 16;
    if (thread() < kPieces)
      copy_async(reinterpret_cast<unsigned char*>(&layer(i)) + thread() * 16,
                 reinterpret_cast<const unsigned char*>(a_.model.layers + i) + thread() * 16);
  }

  /// A slot's weights of a layer on their way.
  GPU_DEVICE void fetch(uint32_t slot, uint32_t i) const {
    if (i >= a_.model.shape.layers) return;
    const Part p = part(slot, i);
    unsigned char* to = shared(a_.slot_offset[slot]) + thread() % kWarp * 16;
    for (Units u(p, share(slot)); u.more() && u.number() < a_.slot_units[slot]; u.next())
      if (u.has_block()) copy_async(to + u.number() * kUnitBytes, u.data());
  }

  /// This warp's units of a product added to `sums`, a sum a row over the part's groups.
  template <Code kCode>
  GPU_DEVICE void multiply(uint32_t slot, uint32_t i, int32_t* sums) const {
    const Part p = part(slot, i);
    const uint32_t row_blocks = p.a->blocks;
    const unsigned char* from = shared(a_.slot_offset[slot]) + thread() % kWarp * 16;
    RowSums<kCode> total;
    total.clear();
    for (Units u(p, share(slot)); u.more(); u.next()) {
      if (u.has_block()) {
        const uint4 codes = u.number() < a_.slot_units[slot]
                                ? *reinterpret_cast<const uint4*>(from + u.number() * kUnitBytes)
                                : load_stream(u.data());
        total.add_block(codes, words_of<kCode>(q(), u.index(), row_blocks), table());
      }
      if (u.ends()) {
        const int32_t sum = total.over_warp();
        if (row_is_mine()) atomic_add(sums + u.group() * kTileRows16 + row_of_thread(), sum);
        total.clear();
      }
    }
  }

  /// into[i] = value(i, load(i)). All loads of a row are under way before the first is waited for: a phase is short,
  /// and they come from afar.
  template <uint32_t kMost, class Load, class Value>
  GPU_DEVICE static void gather(uint32_t n, float* into, Load load, Value value) {
    decltype(load(0)) loaded[kMost];
    GPU_UNROLL_ALL
    for (uint32_t k = 0; k < kMost; ++k) {
      const uint32_t i = k * kDecodeThreads + thread();
      loaded[k] = load(i < n ? i : n - 1);
    }
    GPU_UNROLL_ALL
    for (uint32_t k = 0; k < kMost; ++k) {
      const uint32_t i = k * kDecodeThreads + thread();
      if (i < n) into[i] = value(i, loaded[k]);
    }
  }

  /// The RMSNorm of what each thread has gathered to x, quantised, in q(), with the bytes that pad the row. Begins and
  /// ends with a barrier. y: null, or where the norm goes as well.
  template <Code kCode, uint32_t kMost>
  GPU_DEVICE RowScale norm(uint32_t n, uint32_t row_blocks, const float* weight, const float* x, float* y) const {
    float w[kMost];
    GPU_UNROLL_ALL
    for (uint32_t k = 0; k < kMost; ++k) {
      const uint32_t i = k * kDecodeThreads + thread();
      w[k] = i < n ? weight[i] : 0.0f;
    }
    for (uint32_t i = n + thread(); i < row_blocks * kColumns<kCode>; i += kDecodeThreads)
      q()[place_of<kCode>(i, row_blocks)] = 0;
    sync_block();
    const float inverse = inverse_rms(x, n, a_.model.shape.rms_epsilon, row());
    uint32_t largest = bits_of(1e-5f);
    GPU_UNROLL_ALL
    for (uint32_t k = 0; k < kMost; ++k) {
      const uint32_t i = k * kDecodeThreads + thread();
      w[k] = i < n ? x[i] * inverse * w[k] : 0.0f;
      largest = larger(largest, bits_of(w[k]) & 0x7fffffffu);
    }
    largest = largest_in_block(largest, row());
    const float s = float_of(largest), factor = 127.0f / s;
    const bool finite = largest < kInfinityBits;
    int32_t sum = 0;
    GPU_UNROLL_ALL
    for (uint32_t k = 0; k < kMost; ++k) {
      const uint32_t i = k * kDecodeThreads + thread();
      if (i < n) {
        const int32_t value = finite ? quantized(w[k], factor) : 0;
        sum += value;
        q()[place_of<kCode>(i, row_blocks)] = static_cast<int8_t>(value);
        if (y != nullptr) y[i] = w[k];
      }
    }
    return {s, sum_in_block(sum, row())};
  }

  GPU_DEVICE void clear(int32_t* sums, uint32_t n) const {
    for (uint32_t i = block() * kDecodeThreads + thread(); i < n; i += blocks() * kDecodeThreads) sums[i] = 0;
  }

  GPU_DEVICE uint32_t page(uint32_t i) const { return a_.pages != nullptr ? a_.pages[i] : a_.page_list[i]; }

  template <KvFormat kFormat>
  GPU_DEVICE void attention(uint32_t i, const RowScale& in) const;
  template <KvFormat kFormat>
  GPU_DEVICE void attend(uint32_t i, const RowScale& in, uint32_t kv_head, uint32_t kv_block, bool staged) const;
  GPU_DEVICE bool last_of(uint32_t* ticket, uint32_t count, uint32_t which) const;
  GPU_DEVICE void finish(uint32_t kv_head, uint32_t kv_block) const;
  GPU_DEVICE void fetch_kv(uint32_t i) const;
  template <Code kCode>
  GPU_DEVICE void head(const RowScale& in) const;

  const DecodeArgs& a_;
  unsigned char* shared_;
};

/// The block of keys and values that this block of threads attends to first, as far as it was there before this token.
GPU_DEVICE void Decode::fetch_kv(uint32_t i) const {
  const auto& m = a_.model;
  if (a_.stage_kv == 0 || i >= m.shape.layers) return;
  const uint32_t count = blocks_of(a_.position + 1);
  if (block() >= count * m.shape.kv_heads) return;
  const unsigned char* from = m.kv.at(page(block() % count), i, block() / count);
  for (uint32_t at = thread(); at < m.kv.block_bytes / 16; at += kDecodeThreads)
    copy_async(shared(a_.kv_offset) + at * 16, from + at * 16);
}

/// Whether this block is the last of `count` to come here; for all its threads. What the others wrote before is seen.
/// which: 0 or 1, another for each of two calls that follow one another.
GPU_DEVICE bool Decode::last_of(uint32_t* ticket, uint32_t count, uint32_t which) const {
  auto* word = &row().largest[30 + which];
  sync_block();
  if (thread() == 0) {
    const bool last = atomic_add_release(ticket, 1u) + 1 == count;
    if (last) *ticket = 0;  // for the next layer
    *word = last;
  }
  sync_block();
  return *word != 0;
}

/// Once a block of keys is attended to: whoever comes last folds.
GPU_DEVICE void Decode::finish(uint32_t kv_head, uint32_t kv_block) const {
  const auto& c = a_.model.shape;
  const uint32_t group = c.heads / c.kv_heads, count = blocks_of(a_.position + 1), supers = supers_of(a_.position + 1);
  const uint32_t super = kv_block / kSuperBlock, first_head = kv_head * group;
  const auto at = [&](const Results& r, uint32_t stride, uint32_t index) {
    const uint32_t slot = first_head * stride + index;
    return Results{r.o + static_cast<uint64_t>(slot) * c.head_dim, r.m + slot, r.l + slot};
  };
  float* weights = reinterpret_cast<float*>(shared(a_.fold_offset));
  uint32_t* tickets = a_.tickets + kv_head * (1 + a_.super_stride);
  const uint32_t begin = super * kSuperBlock, in_super = (count - begin < kSuperBlock ? count - begin : kSuperBlock);
  float* whole = a_.attended + first_head * c.head_dim;
  if (in_super > 1 && !last_of(tickets + 1 + super, in_super, 0)) return;
  if (in_super == 1) sync_block();  // its results are this block's own
  fold_results(at(a_.parts, a_.part_stride, begin), a_.part_stride, in_super, at(a_.supers, a_.super_stride, super),
               a_.super_stride, group, c.head_dim, weights, supers == 1 ? whole : nullptr);
  if (supers == 1 || !last_of(tickets, supers, 1)) return;
  fold_results(at(a_.supers, a_.super_stride, 0), a_.super_stride, supers, {}, 0, group, c.head_dim, weights, whole);
}

/// One KV head's queries over one block of positions; the block with this token's position gets it first.
template <KvFormat kFormat>
GPU_DEVICE void Decode::attend(uint32_t i, const RowScale& in, uint32_t kv_head, uint32_t kv_block, bool staged) const {
  const auto& m = a_.model;
  const auto& c = m.shape;
  const DeviceLayer& w = layer(i);
  const uint32_t group = c.heads / c.kv_heads, half = c.head_dim / 2, count = blocks_of(a_.position + 1);
  const bool last = kv_block + 1 == count;
  auto s = attend_shared<kFormat>(reinterpret_cast<float*>(shared(a_.attend_offset)), group, c.head_dim);
  unsigned char* kv = m.kv.at(page(kv_block), i, kv_head);
  const uint32_t k_first = w.attn_q.groups * kTileRows16, v_first = k_first + w.attn_k.groups * kTileRows16;
  const ProductOf q_of(a_.qkv, w.attn_q, in), k_of(a_.qkv + k_first, w.attn_k, in),
      v_of(a_.qkv + v_first, w.attn_v, in);
  float *k = h(), *v = h() + c.head_dim;
  // Pairs of the queries, then of the key, then the value's elements, each thread its own.
  const uint32_t queries = group * half, all = last ? queries + half + c.head_dim : queries;
  for (uint32_t at = thread(); at < all; at += kDecodeThreads) {
    if (at >= queries + half) {
      const uint32_t d = at - queries - half;
      v[d] = v_of.value(v_of.load(kv_head * c.head_dim + d));
      continue;
    }
    const bool is_key = at >= queries;
    const uint32_t d = at % half, row = (is_key ? kv_head : kv_head * group + at / half) * c.head_dim + d;
    const ProductOf of = is_key ? k_of : q_of;
    const int32_t low = of.load(row), high = of.load(row + half);
    const uint64_t angle = static_cast<uint64_t>(a_.position) * half + d;
    const Rotated r = rotate(of.value(low), of.value(high), m.rope_cos[angle], m.rope_sin[angle]);
    float* to = (is_key ? k : s.q + at / half * c.head_dim) + d;
    to[0] = r.low;
    to[half] = r.high;
  }
  if (a_.stage_kv != 0) {
    if (!staged) stage_block(shared(a_.kv_offset), kv, m.kv.block_bytes);
    s.kv = shared(a_.kv_offset);
  } else {
    s.kv = kv;
  }
  sync_block();
  if (last) {
    append_block<kFormat>(kv, a_.stage_kv != 0 ? s.kv : nullptr, m.kv, k, v, c.head_dim, a_.position % kPagePositions,
                          row());
    sync_block();
  }
  if constexpr (kFormat == KvFormat::kQ8) quantize_queries(s, group, c.head_dim);
  const uint32_t seen = a_.position + 1 - kv_block * kPagePositions;
  const uint32_t slot = kv_head * group * a_.part_stride + kv_block;
  attend_block<kFormat>(s, m.kv, group, c.head_dim, c.score_factor, seen < kPagePositions ? seen : kPagePositions,
                        {a_.parts.o + static_cast<uint64_t>(slot) * c.head_dim, a_.parts.m + slot, a_.parts.l + slot},
                        a_.part_stride, count == 1 ? a_.attended + kv_head * group * c.head_dim : nullptr);
  if (count > 1) finish(kv_head, kv_block);
}

template <KvFormat kFormat>
GPU_DEVICE void Decode::attention(uint32_t i, const RowScale& in) const {
  const uint32_t count = blocks_of(a_.position + 1), tasks = count * a_.model.shape.kv_heads;
  for (uint32_t task = block(); task < tasks; task += blocks()) {
    attend<kFormat>(i, in, task / count, task % count, task == block());
    sync_block();
  }
}

/// Logits of an int8 head: this block's groups of 16 rows, each divided over the warps.
template <Code kCode>
GPU_DEVICE void Decode::head(const RowScale& in) const {
  const DeviceMatrix& m = a_.model.head;
  const auto cut = [](uint32_t n, uint32_t i, uint32_t of) {
    return static_cast<uint32_t>(static_cast<uint64_t>(n) * i / of);
  };
  const uint32_t begin = cut(m.groups, block(), blocks()), end = cut(m.groups, block() + 1, blocks());
  const uint32_t lane = thread() % kWarp, warp = thread() / kWarp;
  const uint32_t first = cut(m.units(), warp, kDecodeWarps) * kUnitBlocks + lane / 4;
  const uint32_t most = cut(m.units(), warp + 1, kDecodeWarps) * kUnitBlocks;
  const uint32_t last = most < m.blocks ? most : m.blocks;
  // Where the slots were: their last use is over.
  auto* sums = reinterpret_cast<int32_t*>(shared(a_.slot_offset[0]));
  for (uint32_t i = thread(); i < (end - begin) * kTileRows16; i += kDecodeThreads) sums[i] = 0;
  sync_block();
  // A group's first loads are under way while the one before is added up.
  constexpr uint32_t kAhead = 5;
  uint4 ahead[kAhead];
  const auto load = [&](uint32_t group) {
    const unsigned char* data = m.data + static_cast<uint64_t>(group) * m.blocks * kBlockSize + lane % 4 * 16;
    GPU_UNROLL_ALL
    for (uint32_t j = 0; j < kAhead; ++j) {
      const uint32_t at = first + j * kUnitBlocks;
      if (at < last) ahead[j] = load_stream(data + static_cast<uint64_t>(at) * kBlockSize);
    }
  };
  load(begin);
  for (uint32_t group = begin; group < end; ++group) {
    RowSums<kCode> total;
    total.clear();
    GPU_UNROLL_ALL
    for (uint32_t j = 0; j < kAhead; ++j) {
      const uint32_t at = first + j * kUnitBlocks;
      if (at < last) total.add_block(ahead[j], words_of<kCode>(q(), at, m.blocks), nullptr);
    }
    if (group + 1 < end) load(group + 1);
    const unsigned char* data = m.data + static_cast<uint64_t>(group) * m.blocks * kBlockSize + lane % 4 * 16;
    for (uint32_t at = first + kAhead * kUnitBlocks; at < last; at += kUnitBlocks)
      total.add_block(load_stream(data + static_cast<uint64_t>(at) * kBlockSize), words_of<kCode>(q(), at, m.blocks),
                      nullptr);
    const int32_t sum = total.over_warp();
    if (row_is_mine()) atomic_add(sums + (group - begin) * kTileRows16 + row_of_thread(), sum);
  }
  sync_block();
  uint64_t best = 0;
  bool finite = true;
  for (uint32_t i = thread(); i < (end - begin) * kTileRows16; i += kDecodeThreads) {
    const uint32_t id = begin * kTileRows16 + i;
    if (id >= m.rows) break;
    const float logit = static_cast<float>(sums[i]) * product_scale(m.scale(id), in.s);
    finite = finite && (bits_of(logit) & 0x7fffffffu) < kInfinityBits;
    if (a_.wants_logits > 1) a_.logits[id] = logit;
    const uint64_t key = pick_key(logit, id);
    best = best > key ? best : key;
  }
  if (!finite) a_.problems->logits = 1;
  best = reduce_warp(best, [](uint64_t a, uint64_t b) { return a > b ? a : b; });
  if (lane == 0) atomic_max(a_.best, best);
}

template <Code kCode>
GPU_FUNCTION RowScale decode_norm_narrow(uint32_t n, uint32_t row_blocks, const float* weight, const float* x) {
  return Decode().norm<kCode, kNarrow>(n, row_blocks, weight, x, nullptr);
}
template <Code kCode>
GPU_FUNCTION RowScale decode_norm_wide(uint32_t n, uint32_t row_blocks, const float* weight, const float* x) {
  return Decode().norm<kCode, kWide>(n, row_blocks, weight, x, nullptr);
}
GPU_FUNCTION void decode_fetch(uint32_t slot, uint32_t i) {
  Decode().fetch(slot, i);
  copy_async_commit();
}
/// A product; after it the slot is free for the next layer's weights. Ends inside the barrier.
template <Code kCode>
GPU_FUNCTION void decode_multiply(uint32_t slot, uint32_t i, int32_t* sums, GridBarrier& barrier) {
  const Decode d;
  copy_async_wait<4>();
  d.multiply<kCode>(slot, i, sums);
  barrier.arrive();
  d.fetch(slot, i + 1);
  copy_async_commit();
}
/// Tells the second-level cache which weights of norms the next layer wants.
GPU_DEVICE void prefetch_norms(const DeviceLayer& w, const Shape& c) {
  constexpr uint32_t kLine = 32;  // floats
  const auto row = [&](const float* from, uint32_t n) {
    for (uint32_t i = thread() * kLine; i < n; i += kDecodeThreads * kLine) prefetch(from + i);
  };
  row(w.attn_norm, c.hidden);
  row(w.attn_sub_norm, c.heads * c.head_dim);
  row(w.ffn_norm, c.hidden);
  row(w.ffn_sub_norm, c.ffn);
}

/// blocks: one a multiprocessor, all at once; kDecodeThreads threads.
template <Code kCode, KvFormat kFormat>
GPU_KERNEL(kDecodeThreads, 1)
decode(GPU_ARGUMENT DecodeArgs argument) {
  const DecodeArgs& given = argument_of(argument);
  for (uint32_t i = thread(); i < sizeof(DecodeArgs) / 4; i += kDecodeThreads)
    reinterpret_cast<uint32_t*>(shared_memory())[i] = reinterpret_cast<const uint32_t*>(&given)[i];
  sync_block();
  const Decode d;
  const DecodeArgs& a = d.a_;
  const auto& m = a.model;
  const auto& c = m.shape;
  const uint32_t q_rows = c.heads * c.head_dim;
  uint32_t clock = 0;
  const auto told = [&] {
    if (a.times != nullptr && block() == 0 && thread() == 0) a.times[clock] = clock_ns();
    ++clock;
  };
  told();
  if (block() == 0 && thread() == 0) {
    a.problems->residual = a.problems->logits = 0;
    *a.best = 0;
  }
  for (uint32_t i = 0; i < 2; ++i) d.fetch_layer(i);
  copy_async_commit();
  copy_async_wait<0>();
  sync_block();
  // Groups of copies are waited for in the order in which they are made: five of them make a layer.
  for (uint32_t slot = 0; slot < kSlots; ++slot)
    if (thread() % kWarp == 0)
      d.share(slot) = share_of(a.units_each[slot], a.units_more[slot], d.part(slot, 0).per_group, thread() / kWarp);
  sync_warp();
  decode_fetch(0, 0);
  d.fetch_kv(0);
  copy_async_commit();
  for (uint32_t slot = 1; slot < kSlots; ++slot) decode_fetch(slot, 0);
  if constexpr (kCode == Code::kT1_6) fill_trit_table(d.table());
  if (block() == 0) prefetch_norms(d.layer(0), c);

  const uint16_t* embedding = m.embedding + static_cast<uint64_t>(a.token) * c.hidden;
  for (uint32_t i = thread(); i < c.hidden; i += kDecodeThreads) d.x()[i] = bf16_to_float(embedding[i]);
  RowScale in{}, before{};
  GridBarrier barrier(a.barrier);
  for (uint32_t i = 0; i < c.layers; ++i) {
    const DeviceLayer& w = d.layer(i);
    // Queries, keys, values.
    if (i > 0) {
      const ProductOf down(a.down, d.layer(i - 1).ffn_down, before);
      Decode::gather<kNarrow>(
          c.hidden, d.x(), [&](uint32_t e) { return down.load(e); },
          [&](uint32_t e, int32_t sum) { return d.x()[e] + down.value(sum); });
    }
    in = decode_norm_narrow<kCode>(c.hidden, w.attn_q.blocks, w.attn_norm, d.x());
    d.clear(a.gate_up, (w.ffn_gate.groups + w.ffn_up.groups) * kTileRows16);
    d.fetch_layer(i + 2);
    decode_multiply<kCode>(0, i, a.qkv, barrier);
    if (i + 1 < c.layers && block() == (i + 1) % blocks()) prefetch_norms(d.layer(i + 1), c);
    barrier.wait();
    told();

    copy_async_wait<4>();
    sync_block();
    d.attention<kFormat>(i, in);
    d.clear(a.down, w.ffn_down.groups * kTileRows16);
    barrier.arrive();
    d.fetch_kv(i + 1);
    copy_async_commit();
    barrier.wait();
    told();

    Decode::gather<kNarrow>(
        q_rows, d.h(), [&](uint32_t e) { return load_fresh(a.attended + e); },
        [](uint32_t, float value) { return value; });
    before = decode_norm_narrow<kCode>(q_rows, w.attn_output.blocks, w.attn_sub_norm, d.h());
    d.clear(a.qkv, (w.attn_q.groups + w.attn_k.groups + w.attn_v.groups) * kTileRows16);
    decode_multiply<kCode>(1, i, a.output, barrier);
    barrier.wait();
    told();

    const ProductOf output(a.output, w.attn_output, before);
    Decode::gather<kNarrow>(
        c.hidden, d.x(), [&](uint32_t e) { return output.load(e); },
        [&](uint32_t e, int32_t sum) { return d.x()[e] + output.value(sum); });
    in = decode_norm_narrow<kCode>(c.hidden, w.ffn_gate.blocks, w.ffn_norm, d.x());
    decode_multiply<kCode>(2, i, a.gate_up, barrier);
    barrier.wait();
    told();

    const ProductOf gate(a.gate_up, w.ffn_gate, in), up(a.gate_up + w.ffn_gate.groups * kTileRows16, w.ffn_up, in);
    Decode::gather<kWide>(
        c.ffn, d.h(), [&](uint32_t e) { return GateUp{gate.load(e), up.load(e)}; },
        [&](uint32_t, const GateUp& sums) { return squared_relu_gate(gate.value(sums.gate), up.value(sums.up)); });
    before = decode_norm_wide<kCode>(c.ffn, w.ffn_down.blocks, w.ffn_sub_norm, d.h());
    d.clear(a.output, w.attn_output.groups * kTileRows16);
    decode_multiply<kCode>(3, i, a.down, barrier);
    barrier.wait();
    told();
  }

  const ProductOf down(a.down, d.layer(c.layers - 1).ffn_down, before);
  Decode::gather<kNarrow>(
      c.hidden, d.x(), [&](uint32_t e) { return down.load(e); },
      [&](uint32_t e, int32_t sum) { return d.x()[e] + down.value(sum); });
  in = d.norm<Code::kQ8, kNarrow>(c.hidden, m.head.blocks, m.output_norm, d.x(), d.h());
  for (uint32_t e = thread(); e < c.hidden; e += kDecodeThreads)
    if ((bits_of(d.x()[e]) & 0x7fffffffu) >= kInfinityBits || (bits_of(d.h()[e]) & 0x7fffffffu) >= kInfinityBits)
      a.problems->residual = 1;
  if (a.wants_logits != 0 && m.half_head == nullptr) {
    sync_block();
    d.head<Code::kQ8>(in);
  }
  if (m.half_head != nullptr && block() == 0)  // for the kernel that computes its logits
    for (uint32_t e = thread(); e < c.hidden; e += kDecodeThreads) a.attended[e] = d.h()[e];
  told();
}

}  // namespace
}  // namespace onebit::gpu
