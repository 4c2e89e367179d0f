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
  const uint32_t* pages;         // null: they are in page_list
  uint32_t slot_units[kSlots];   // room of each slot in shared memory
  uint32_t slot_offset[kSlots];  // in bytes, as the others
  uint32_t layers_offset, x_offset, h_offset, q_offset, table_offset, row_offset, attend_offset, kv_offset, fold_offset;
  uint32_t stage_kv;                       // 1: there is room for a KV block
  int32_t *qkv, *output, *gate_up, *down;  // sums
  float* attended;                         // [heads · head_dim]
  Results parts, supers, totals;           // [heads][part_stride], [heads][super_stride], [heads]
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

/// All blocks of the grid, which are all on the device.
GPU_DEVICE void grid_barrier(uint32_t* counter) {
  sync_block();
  if (thread() == 0) {
    fence();
    const uint32_t add = block() == 0 ? 0x80000000u - (blocks() - 1) : 1u;
    const uint32_t before = atomic_add(counter, add);
    while (((before ^ load_acquire(counter)) & 0x80000000u) == 0) pause();
  }
  sync_block();
}

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

/// This warp's share of `units`, as a range; and where the block's begins.
struct Share {
  uint32_t block_begin, begin, end;
};
GPU_DEVICE Share share_of(uint32_t units) {
  const auto cut = [](uint32_t n, uint32_t i, uint32_t of) {
    return static_cast<uint32_t>(static_cast<uint64_t>(n) * i / of);
  };
  const uint32_t begin = cut(units, block(), blocks()), n = cut(units, block() + 1, blocks()) - begin;
  const uint32_t warp = thread() / kWarp;
  return {begin, begin + cut(n, warp, kDecodeWarps), begin + cut(n, warp + 1, kDecodeWarps)};
}

/// Where a thread's 16 bytes of a unit are; null past the group's last block.
struct Place {
  const unsigned char* data;
  uint32_t index;  // of the block in its group
};
GPU_DEVICE Place place_in(const Part& part, uint32_t unit) {
  uint32_t group = unit / part.per_group;
  const uint32_t index = unit % part.per_group * kUnitBlocks + thread() % kWarp / 4;
  const DeviceMatrix& m = group >= part.c_begin ? *part.c : group >= part.b_begin ? *part.b : *part.a;
  group -= group >= part.c_begin ? part.c_begin : group >= part.b_begin ? part.b_begin : 0;
  if (index >= m.blocks) return {nullptr, index};
  return {m.data + (static_cast<uint64_t>(group) * m.blocks + index) * kBlockSize + thread() % 4 * 16, index};
}

class Decode {
 public:
  GPU_DEVICE explicit Decode(const DecodeArgs& args) : a_(args), shared_(shared_memory()) {}

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

  GPU_DEVICE void fetch_layer(uint32_t i) const {
    if (i >= a_.model.shape.layers) return;
    constexpr uint32_t kPieces = (sizeof(DeviceLayer) + 15) / 16;
    if (thread() < kPieces)
      copy_async(reinterpret_cast<unsigned char*>(&layer(i)) + thread() * 16,
                 reinterpret_cast<const unsigned char*>(a_.model.layers + i) + thread() * 16);
  }

  /// A slot's weights of a layer on their way; one group of copies whatever there is to copy.
  GPU_DEVICE void fetch(uint32_t slot, uint32_t i) const {
    if (i < a_.model.shape.layers) {
      const Part p = part(slot, i);
      const Share share = share_of(p.units());
      const uint32_t room = share.block_begin + a_.slot_units[slot];
      unsigned char* to = shared(a_.slot_offset[slot]) + thread() % kWarp * 16;
      for (uint32_t unit = share.begin; unit < share.end && unit < room; ++unit) {
        const Place from = place_in(p, unit);
        if (from.data != nullptr) copy_async(to + (unit - share.block_begin) * kUnitBytes, from.data);
      }
    }
  }

  /// This warp's units of a product added to `sums`, a sum a row over the part's groups.
  template <Code kCode>
  GPU_DEVICE void multiply(uint32_t slot, uint32_t i, int32_t* sums) const {
    const Part p = part(slot, i);
    const Share share = share_of(p.units());
    const uint32_t room = share.block_begin + a_.slot_units[slot];
    const uint32_t row_blocks = p.a->blocks;
    const unsigned char* from = shared(a_.slot_offset[slot]) + thread() % kWarp * 16;
    RowSums<kCode> total;
    total.clear();
    for (uint32_t unit = share.begin; unit < share.end; ++unit) {
      const Place place = place_in(p, unit);
      if (place.data != nullptr) {
        const uint4 codes = unit < room
                                ? *reinterpret_cast<const uint4*>(from + (unit - share.block_begin) * kUnitBytes)
                                : load_stream(place.data);
        total.add_block(codes, words_of<kCode>(q(), place.index, row_blocks), table());
      }
      if (unit + 1 == share.end || (unit + 1) % p.per_group == 0) {
        const int32_t sum = total.over_warp();
        if (row_is_mine()) atomic_add(sums + unit / p.per_group * kTileRows16 + row_of_thread(), sum);
        total.clear();
      }
    }
  }

  /// into[i] = element(i); its RMSNorm, quantised, in q(). Ends with a barrier.
  template <Code kCode, class Element>
  GPU_DEVICE RowScale norm(uint32_t n, uint32_t row_blocks, const float* weight, float* into, Element element) const {
    for (uint32_t i = thread(); i < n; i += kDecodeThreads) into[i] = element(i);
    sync_block();
    const float inverse = inverse_rms(into, n, a_.model.shape.rms_epsilon, row());
    float* y = h();
    uint32_t largest = bits_of(1e-5f);
    for (uint32_t i = thread(); i < n; i += kDecodeThreads) {
      const float value = into[i] * inverse * weight[i];
      y[i] = value;
      largest = larger(largest, bits_of(value) & 0x7fffffffu);
    }
    largest = largest_in_block(largest, row());
    const float s = float_of(largest), factor = 127.0f / s;
    const bool finite = largest < kInfinityBits;
    int32_t sum = 0;
    for (uint32_t i = thread(); i < n; i += kDecodeThreads) {
      const int32_t v = finite ? quantized(y[i], factor) : 0;
      sum += v;
      q()[place_of<kCode>(i, row_blocks)] = static_cast<int8_t>(v);
    }
    return {s, sum_in_block(sum, row())};
  }

  /// Zeroes the bytes that pad a row to whole blocks.
  template <Code kCode>
  GPU_DEVICE void pad(uint32_t n, uint32_t row_blocks) const {
    for (uint32_t i = n + thread(); i < row_blocks * kColumns<kCode>; i += kDecodeThreads)
      q()[place_of<kCode>(i, row_blocks)] = 0;
  }

  GPU_DEVICE void clear(int32_t* sums, uint32_t n) const {
    for (uint32_t i = block() * kDecodeThreads + thread(); i < n; i += blocks() * kDecodeThreads) sums[i] = 0;
  }

  /// A row of a product of ternary weights, from its sum.
  GPU_DEVICE static float product(const int32_t* sums, uint32_t first, uint32_t i, const DeviceMatrix& m,
                                  const RowScale& in) {
    return static_cast<float>(load_fresh(sums + first + i) - in.sum) * product_scale(m.scale(i), in.s);
  }

  GPU_DEVICE uint32_t page(uint32_t i) const { return a_.pages != nullptr ? a_.pages[i] : a_.page_list[i]; }

  template <KvFormat kFormat>
  GPU_DEVICE void attention(uint32_t i, const RowScale& in) const;
  template <KvFormat kFormat>
  GPU_DEVICE void attend(uint32_t i, const RowScale& in, uint32_t kv_head, uint32_t kv_block, bool staged) const;
  GPU_DEVICE bool last_of(uint32_t* ticket, uint32_t count) const;
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
GPU_DEVICE bool Decode::last_of(uint32_t* ticket, uint32_t count) const {
  auto* word = &row().largest[31];
  sync_block();
  if (thread() == 0) {
    fence();
    const uint32_t before = atomic_add(ticket, 1u);
    if (before + 1 == count) *ticket = 0;  // for the next layer
    fence();
    *word = before + 1 == count;
  }
  sync_block();
  const bool last = *word != 0;
  sync_block();
  return last;
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
  if (!last_of(tickets + 1 + super, in_super)) return;
  fold_results(at(a_.parts, a_.part_stride, begin), a_.part_stride, in_super, at(a_.supers, a_.super_stride, super),
               a_.super_stride, group, c.head_dim, weights);
  if (!last_of(tickets, supers)) return;
  const Results total = at(a_.totals, 1, 0);
  fold_results(at(a_.supers, a_.super_stride, 0), a_.super_stride, supers, total, 1, group, c.head_dim, weights);
  for (uint32_t i = thread(); i < group * c.head_dim; i += kDecodeThreads)
    a_.attended[first_head * c.head_dim + i] = total.o[i] / total.l[i / c.head_dim];
}

/// One KV head's queries over one block of positions; the block with this token's position gets it first.
template <KvFormat kFormat>
GPU_DEVICE void Decode::attend(uint32_t i, const RowScale& in, uint32_t kv_head, uint32_t kv_block, bool staged) const {
  const auto& m = a_.model;
  const auto& c = m.shape;
  const DeviceLayer& w = layer(i);
  const uint32_t group = c.heads / c.kv_heads, half = c.head_dim / 2, count = blocks_of(a_.position + 1);
  auto s = attend_shared(reinterpret_cast<float*>(shared(a_.attend_offset)), group, c.head_dim);
  unsigned char* kv = m.kv.at(page(kv_block), i, kv_head);
  const float* cos = m.rope_cos + static_cast<uint64_t>(a_.position) * half;
  const float* sin = m.rope_sin + static_cast<uint64_t>(a_.position) * half;
  const uint32_t k_first = w.attn_q.groups * kTileRows16, v_first = k_first + w.attn_k.groups * kTileRows16;
  const auto rotated = [&](uint32_t first, uint32_t row_at, const DeviceMatrix& matrix, uint32_t d, float* to) {
    const float a = product(a_.qkv, first, row_at + d, matrix, in);
    const float b = product(a_.qkv, first, row_at + d + half, matrix, in);
    const Rotated r = rotate(a, b, cos[d], sin[d]);
    to[d] = r.low;
    to[d + half] = r.high;
  };
  for (uint32_t at = thread(); at < group * half; at += kDecodeThreads) {
    const uint32_t head = at / half;
    rotated(0, (kv_head * group + head) * c.head_dim, w.attn_q, at % half, s.q + head * c.head_dim);
  }
  if (a_.stage_kv != 0) {
    if (!staged) stage_block(shared(a_.kv_offset), kv, m.kv.block_bytes);
    s.kv = shared(a_.kv_offset);
  } else {
    s.kv = kv;
  }
  if (kv_block + 1 == count) {
    float *k = h(), *v = h() + c.head_dim;
    for (uint32_t d = thread(); d < half; d += kDecodeThreads) rotated(k_first, kv_head * c.head_dim, w.attn_k, d, k);
    for (uint32_t d = thread(); d < c.head_dim; d += kDecodeThreads)
      v[d] = product(a_.qkv, v_first, kv_head * c.head_dim + d, w.attn_v, in);
    sync_block();
    append_block<kFormat>(kv, a_.stage_kv != 0 ? s.kv : nullptr, m.kv, k, v, c.head_dim, a_.position % kPagePositions,
                          row());
  }
  sync_block();
  if constexpr (kFormat == KvFormat::kQ8) quantize_queries(s, group, c.head_dim);
  const uint32_t seen = a_.position + 1 - kv_block * kPagePositions;
  const uint32_t slot = kv_head * group * a_.part_stride + kv_block;
  attend_block<kFormat>(s, m.kv, group, c.head_dim, c.score_factor, seen < kPagePositions ? seen : kPagePositions,
                        {a_.parts.o + static_cast<uint64_t>(slot) * c.head_dim, a_.parts.m + slot, a_.parts.l + slot},
                        a_.part_stride);
  finish(kv_head, kv_block);
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
  for (uint32_t group = begin; group < end; ++group) {
    const unsigned char* data = m.data + static_cast<uint64_t>(group) * m.blocks * kBlockSize + lane % 4 * 16;
    RowSums<kCode> total;
    total.clear();
    GPU_UNROLL(5)
    for (uint32_t at = first; at < last; at += kUnitBlocks)
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

/// blocks: one a multiprocessor, all at once; kDecodeThreads threads.
template <Code kCode, KvFormat kFormat>
GPU_KERNEL(kDecodeThreads, 1)
decode(GPU_ARGUMENT DecodeArgs argument) {
  const auto& a = argument_of(argument);
  const Decode d(a);
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
  d.fetch(0, 0), copy_async_commit();
  d.fetch_kv(0), copy_async_commit();
  for (uint32_t slot = 1; slot < kSlots; ++slot) d.fetch(slot, 0), copy_async_commit();
  if constexpr (kCode == Code::kT1_6) fill_trit_table(d.table());

  RowScale in{}, before{};
  for (uint32_t i = 0; i < c.layers; ++i) {
    const DeviceLayer& w = d.layer(i);
    // Queries, keys, values.
    const uint16_t* embedding = m.embedding + static_cast<uint64_t>(a.token) * c.hidden;
    const DeviceMatrix* down = i > 0 ? &d.layer(i - 1).ffn_down : nullptr;
    in = d.norm<kCode>(c.hidden, w.attn_q.blocks, w.attn_norm, d.x(), [&](uint32_t e) {
      return down == nullptr ? bf16_to_float(embedding[e]) : d.x()[e] + Decode::product(a.down, 0, e, *down, before);
    });
    d.pad<kCode>(c.hidden, w.attn_q.blocks);
    d.clear(a.gate_up, (w.ffn_gate.groups + w.ffn_up.groups) * kTileRows16);
    d.fetch_layer(i + 2);
    copy_async_wait<4>();
    sync_block();
    d.multiply<kCode>(0, i, a.qkv);
    sync_warp();
    d.fetch(0, i + 1);
    copy_async_commit();
    grid_barrier(a.barrier);
    told();

    copy_async_wait<4>();
    sync_block();
    d.attention<kFormat>(i, in);
    d.clear(a.down, w.ffn_down.groups * kTileRows16);
    sync_block();
    d.fetch_kv(i + 1);
    copy_async_commit();
    grid_barrier(a.barrier);
    told();

    before = d.norm<kCode>(q_rows, w.attn_output.blocks, w.attn_sub_norm, d.h(),
                           [&](uint32_t e) { return load_fresh(a.attended + e); });
    d.pad<kCode>(q_rows, w.attn_output.blocks);
    d.clear(a.qkv, (w.attn_q.groups + w.attn_k.groups + w.attn_v.groups) * kTileRows16);
    copy_async_wait<4>();
    sync_block();
    d.multiply<kCode>(1, i, a.output);
    sync_warp();
    d.fetch(1, i + 1);
    copy_async_commit();
    grid_barrier(a.barrier);
    told();

    in = d.norm<kCode>(c.hidden, w.ffn_gate.blocks, w.ffn_norm, d.x(),
                       [&](uint32_t e) { return d.x()[e] + Decode::product(a.output, 0, e, w.attn_output, before); });
    d.pad<kCode>(c.hidden, w.ffn_gate.blocks);
    copy_async_wait<4>();
    sync_block();
    d.multiply<kCode>(2, i, a.gate_up);
    sync_warp();
    d.fetch(2, i + 1);
    copy_async_commit();
    grid_barrier(a.barrier);
    told();

    const uint32_t up = w.ffn_gate.groups * kTileRows16;
    before = d.norm<kCode>(c.ffn, w.ffn_down.blocks, w.ffn_sub_norm, d.h(), [&](uint32_t e) {
      return squared_relu_gate(Decode::product(a.gate_up, 0, e, w.ffn_gate, in),
                               Decode::product(a.gate_up, up, e, w.ffn_up, in));
    });
    d.pad<kCode>(c.ffn, w.ffn_down.blocks);
    d.clear(a.output, w.attn_output.groups * kTileRows16);
    copy_async_wait<4>();
    sync_block();
    d.multiply<kCode>(3, i, a.down);
    sync_warp();
    d.fetch(3, i + 1);
    copy_async_commit();
    grid_barrier(a.barrier);
    told();
  }

  const DeviceMatrix& down = d.layer(c.layers - 1).ffn_down;
  in = d.norm<Code::kQ8>(c.hidden, m.head.blocks, m.output_norm, d.x(),
                         [&](uint32_t e) { return d.x()[e] + Decode::product(a.down, 0, e, down, before); });
  for (uint32_t e = thread(); e < c.hidden; e += kDecodeThreads)
    if ((bits_of(d.x()[e]) & 0x7fffffffu) >= kInfinityBits || (bits_of(d.h()[e]) & 0x7fffffffu) >= kInfinityBits)
      a.problems->residual = 1;
  if (a.wants_logits != 0 && m.half_head == nullptr) {
    d.pad<Code::kQ8>(c.hidden, m.head.blocks);
    sync_block();
    d.head<Code::kQ8>(in);
  }
  if (m.half_head != nullptr && block() == 0)  // for the kernel that computes its logits
    for (uint32_t e = thread(); e < c.hidden; e += kDecodeThreads) a.attended[e] = d.h()[e];
  told();
}

}  // namespace
}  // namespace onebit::gpu
