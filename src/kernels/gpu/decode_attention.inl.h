// Attention of one token: a warp a query head, a thread two positions, then two heads and two elements. The chains are
// the contract's (docs/numerics.md, 5).
#pragma once

#include "kernels/gpu/decode_state.inl.h"

namespace onebit::gpu {
namespace {

/// Of a head's weights in shared memory: the heads stand in different banks.
inline constexpr uint32_t kWeightStride = kPagePositions + 4;

/// Shared memory of Decode::attend.
struct HeadsShared {
  float* q;        // [group + 2][head_dim]: queries, a key, a value. Afterwards o, where no fold follows
  int8_t* bytes;   // [group][head_dim]: queries; q8 only
  float* p;        // [group][kWeightStride]: exp(s - m)
  float* weights;  // of the values: p itself, or for q8 p times the value's scale
  float* q_scale;  // [group]; q8 only
  float* l;        // [group]
};
constexpr uint32_t heads_shared_floats(uint32_t group, uint32_t head_dim) {
  return (group + 2) * head_dim + group * (head_dim / 4 + 2 * kWeightStride + 2);
}
/// Shared memory of Decode::fold.
constexpr uint32_t fold_shared_floats(uint32_t blocks) {
  return 4 * blocks + 3 * (blocks / kSuperBlock + 1) + 1;
}
template <KvFormat kFormat>
GPU_DEVICE HeadsShared heads_shared(unsigned char* at, uint32_t group, uint32_t head_dim) {
  HeadsShared s;
  s.q = reinterpret_cast<float*>(at);
  s.bytes = reinterpret_cast<int8_t*>(s.q + (group + 2) * head_dim);
  s.p = s.q + (group + 2) * head_dim + group * head_dim / 4;
  s.weights = kFormat == KvFormat::kQ8 ? s.p + group * kWeightStride : s.p;
  s.q_scale = s.p + 2 * group * kWeightStride;
  s.l = s.q_scale + group;
  return s;
}

/// A larger float has a larger number; NaN is the largest or the smallest.
GPU_DEVICE uint32_t ordered(float x) {
  const uint32_t u = bits_of(x);
  return (u & 0x80000000u) != 0 ? ~u : u | 0x80000000u;
}
GPU_DEVICE float largest_float_in_warp(float x) {
  const uint32_t u = largest_in_warp(ordered(x));
  return float_of((u & 0x80000000u) != 0 ? u & 0x7fffffffu : ~u);
}

/// Two neighbouring elements of keys or values as they are stored.
template <KvFormat kFormat>
struct Stored {
  uint32_t bits[kFormat == KvFormat::kF32 ? 2 : 1];
};
template <KvFormat kFormat>
GPU_DEVICE Stored<kFormat> load_two(const unsigned char* from, uint32_t at) {
  Stored<kFormat> r;
  if constexpr (kFormat == KvFormat::kF32) {
    const uint2 both = *reinterpret_cast<const uint2*>(from + at * 4);
    r.bits[0] = both.x;
    r.bits[1] = both.y;
  } else if constexpr (kFormat == KvFormat::kF16) {
    r.bits[0] = *reinterpret_cast<const uint32_t*>(from + at * 2);
  } else {
    r.bits[0] = *reinterpret_cast<const uint16_t*>(from + at);
  }
  return r;
}
template <KvFormat kFormat>
GPU_DEVICE Pair floats_of(const Stored<kFormat>& two) {
  if constexpr (kFormat == KvFormat::kF32) return {float_of(two.bits[0]), float_of(two.bits[1])};
  if constexpr (kFormat == KvFormat::kF16)
    return {half_to_float(static_cast<uint16_t>(two.bits[0] & 0xffffu)),
            half_to_float(static_cast<uint16_t>(two.bits[0] >> 16))};
  return {float_of_byte(two.bits[0], 0), float_of_byte(two.bits[0], 1)};
}

/// Elements of a chain whose loads are under way while those before are added.
inline constexpr uint32_t kAheadOfChain = 8;

/// The scores of one query and the positions 2 · lane and the next: chains over d, times c.
template <KvFormat kFormat>
GPU_DEVICE Pair two_scores(const HeadsShared& s, const unsigned char* kv, const KvPlan& plan, uint32_t head,
                           uint32_t head_dim, float c) {
  const uint32_t t = thread() % kWarp * 2;
  if constexpr (kFormat == KvFormat::kQ8) {
    const auto* q = reinterpret_cast<const uint32_t*>(s.bytes) + head * head_dim / 4;
    const auto* k = reinterpret_cast<const uint2*>(kv) + t / 2;
    int32_t a = 0, b = 0;
    GPU_UNROLL(8)
    for (uint32_t i = 0; i < head_dim / 4; ++i) {
      const uint2 two = k[i * (kPagePositions / 2)];
      a = dot4_signed(a, q[i], two.x);
      b = dot4_signed(b, q[i], two.y);
    }
    const auto* scale = reinterpret_cast<const float*>(kv + plan.k_scale_offset) + t;
    const float q_step = s.q_scale[head] / 127.0f;
    return {(static_cast<float>(a) * (q_step * (scale[0] / 127.0f))) * c,
            (static_cast<float>(b) * (q_step * (scale[1] / 127.0f))) * c};
  } else {
    const float* q = s.q + head * head_dim;
    Stored<kFormat> k[kAheadOfChain];
    const auto load = [&](uint32_t begin) {
      GPU_UNROLL_ALL
      for (uint32_t j = 0; j < kAheadOfChain; ++j) k[j] = load_two<kFormat>(kv, (begin + j) * kPagePositions + t);
    };
    Pair sum{0.0f, 0.0f};
    const auto add = [&](float x, const Stored<kFormat>& two) {
      const Pair pair = floats_of<kFormat>(two);
      sum.x = std::fma(x, pair.x, sum.x);
      sum.y = std::fma(x, pair.y, sum.y);
    };
    float4 q0, q1;
    const auto load_q = [&](uint32_t begin) {
      q0 = *reinterpret_cast<const float4*>(q + begin);
      q1 = *reinterpret_cast<const float4*>(q + begin + 4);
    };
    load(0);
    load_q(0);
    GPU_UNROLL(2)
    for (uint32_t begin = 0; begin < head_dim; begin += kAheadOfChain) {
      const uint32_t next = begin + kAheadOfChain < head_dim ? begin + kAheadOfChain : 0;
      const float4 x0 = q0, x1 = q1;
      Stored<kFormat> now[kAheadOfChain];
      GPU_UNROLL_ALL
      for (uint32_t j = 0; j < kAheadOfChain; ++j) now[j] = k[j];
      load(next);
      load_q(next);
      add(x0.x, now[0]);
      add(x0.y, now[1]);
      add(x0.z, now[2]);
      add(x0.w, now[3]);
      add(x1.x, now[4]);
      add(x1.y, now[5]);
      add(x1.z, now[6]);
      add(x1.w, now[7]);
    }
    return {sum.x * c, sum.y * c};
  }
}

/// By a warp: p (and weights) of one query; m.
template <KvFormat kFormat>
GPU_DEVICE float weights_of_head(const HeadsShared& s, const unsigned char* kv, const KvPlan& plan, uint32_t head,
                                 uint32_t head_dim, float c, uint32_t count) {
  const uint32_t t = thread() % kWarp * 2;
  Pair score = two_scores<kFormat>(s, kv, plan, head, head_dim, c);
  if (t >= count) score.x = -INFINITY;
  if (t + 1 >= count) score.y = -INFINITY;
  const float m = largest_float_in_warp(score.x > score.y ? score.x : score.y);
  const float x = exp_not_positive(score.x - m), y = exp_not_positive(score.y - m);
  float* p = s.p + head * kWeightStride + t;
  p[0] = x;
  p[1] = y;
  if constexpr (kFormat == KvFormat::kQ8) {
    const auto* scale = reinterpret_cast<const float*>(kv + plan.v_scale_offset) + t;
    float* weights = s.weights + head * kWeightStride + t;
    weights[0] = x * (scale[0] / 127.0f);
    weights[1] = y * (scale[1] / 127.0f);
  }
  return m;
}

/// Two elements of o of two heads, chains over t.
struct TwoHeads {
  Pair a, b;
};
/// wa, wb: the heads' weights, [kWeightStride]. v: [64][head_dim], there all of it.
template <KvFormat kFormat>
GPU_DEVICE TwoHeads weigh_values(const float* wa, const float* wb, const unsigned char* v, uint32_t at,
                                 uint32_t head_dim, uint32_t count) {
  TwoHeads o{{0.0f, 0.0f}, {0.0f, 0.0f}};
  Stored<kFormat> next[kAheadOfChain];
  const auto load = [&](uint32_t begin) {
    GPU_UNROLL_ALL
    for (uint32_t j = 0; j < kAheadOfChain; ++j) next[j] = load_two<kFormat>(v, (begin + j) * head_dim + at);
  };
  load(0);
  GPU_UNROLL(2)
  for (uint32_t begin = 0; begin < count; begin += kAheadOfChain) {
    const auto* a = reinterpret_cast<const float4*>(wa + begin);
    const auto* b = reinterpret_cast<const float4*>(wb + begin);
    const float4 a0 = a[0], a1 = a[1], b0 = b[0], b1 = b[1];
    const float as[kAheadOfChain] = {a0.x, a0.y, a0.z, a0.w, a1.x, a1.y, a1.z, a1.w};
    const float bs[kAheadOfChain] = {b0.x, b0.y, b0.z, b0.w, b1.x, b1.y, b1.z, b1.w};
    Stored<kFormat> now[kAheadOfChain];
    GPU_UNROLL_ALL
    for (uint32_t j = 0; j < kAheadOfChain; ++j) now[j] = next[j];
    load(begin + kAheadOfChain < count ? begin + kAheadOfChain : 0);
    GPU_UNROLL_ALL
    for (uint32_t j = 0; j < kAheadOfChain; ++j) {
      if (begin + j >= count) continue;  // what stands there is nothing to multiply by zero
      const Pair value = floats_of<kFormat>(now[j]);
      o.a.x = std::fma(as[j], value.x, o.a.x);
      o.a.y = std::fma(as[j], value.y, o.a.y);
      o.b.x = std::fma(bs[j], value.x, o.b.x);
      o.b.y = std::fma(bs[j], value.y, o.b.y);
    }
  }
  return o;
}

/// Σ p over t ascending.
GPU_DEVICE float sum_of_weights(const float* p, uint32_t count) {
  float sum = 0.0f;
  uint32_t t = 0;
  GPU_UNROLL(4)
  for (; t + 4 <= count; t += 4) {
    const float4 four = *reinterpret_cast<const float4*>(p + t);
    sum = sum + four.x;
    sum = sum + four.y;
    sum = sum + four.z;
    sum = sum + four.w;
  }
  for (; t < count; ++t) sum = sum + p[t];
  return sum;
}

/// A vector of a head in q's place `role` (the group's queries, a key, a value), with RoPE but for the value. By a
/// warp, each thread every 32nd pair (d, d + head_dim / 2), which only this thread reads afterwards. Returns this
/// thread's largest magnitude as bits.
GPU_DEVICE uint32_t Decode::take_vector(uint32_t i, uint32_t row, bool rotates, float* to) const {
  const auto& m = a_.model;
  const uint32_t half = m.shape.head_dim / 2;
  constexpr uint32_t kPairs = 2;  // under way at once: a head of 128
  uint32_t largest = bits_of(1e-5f);
  for (uint32_t begin = thread_ % kWarp; begin < half; begin += kPairs * kWarp) {
    float cos[kPairs], sin[kPairs], value[2 * kPairs];
    const uint32_t left = (half - begin - 1) / kWarp + 1, pairs = left < kPairs ? left : kPairs;
    GPU_UNROLL_ALL
    for (uint32_t k = 0; k < kPairs; ++k) {
      const uint64_t angle = static_cast<uint64_t>(a_.position) * half + begin + k * kWarp;
      cos[k] = rotates && k < pairs ? m.rope_cos[angle] : 0.0f;
      sin[k] = rotates && k < pairs ? m.rope_sin[angle] : 0.0f;
    }
    gather(value, 2 * pairs, 2 * kPairs, a_.tag + i,
           [&](uint32_t k) { return a_.qkv + row + begin + k / 2 * kWarp + k % 2 * half; });
    GPU_UNROLL_ALL
    for (uint32_t k = 0; k < kPairs; ++k) {
      if (k >= pairs) continue;
      Rotated r{value[2 * k], value[2 * k + 1]};
      if (rotates) r = rotate(r.low, r.high, cos[k], sin[k]);
      to[begin + k * kWarp] = r.low;
      to[begin + k * kWarp + half] = r.high;
      largest = larger(largest, larger(bits_of(r.low) & 0x7fffffffu, bits_of(r.high) & 0x7fffffffu));
    }
  }
  return largest;
}

/// Queries of a KV head and, where the block has this token's position, its key and value, which go to the cache and to
/// the staged copy: a warp each.
template <KvFormat kFormat>
GPU_DEVICE void Decode::take_vectors(const Task& task, uint32_t parity) const {
  const auto& kv = a_.model.kv;
  const auto& c = a_.model.shape;
  const uint32_t group = c.heads / c.kv_heads, half = c.head_dim / 2, lane = thread_ % kWarp;
  const uint32_t k_first = a_.q_groups * kTileRows16, v_first = a_.qk_groups * kTileRows16;
  const uint32_t roles = group + (task.kv_block + 1 == state().kv_count ? 2 : 0), t = a_.position % kPagePositions;
  const auto s = heads_shared<kFormat>(shared(a_.attend_offset), group, c.head_dim);
  for (uint32_t role = thread_ / kWarp; role < roles; role += kDecodeWarps) {
    const bool is_query = role < group, is_key = role == group;
    const uint32_t first = is_query ? task.kv_head * group + role : task.kv_head;
    float* x = s.q + role * c.head_dim;
    uint32_t largest = take_vector(task.layer,
                                   (is_query ? 0
                                    : is_key ? k_first
                                             : v_first) +
                                       first * c.head_dim,
                                   is_query || is_key, x);
    if (is_query && kFormat != KvFormat::kQ8) continue;
    // The staged copy must be there before something is written to it.
    unsigned char* at = kv_of(task);
    if (!is_query) copy_wait(is_key ? &state().keys_here : &state().values_here, parity);
    const auto store = [&](uint32_t offset, auto value) {
      *reinterpret_cast<decltype(value)*>(at + offset) = value;
      *reinterpret_cast<decltype(value)*>(shared(a_.kv_offset) + offset) = value;
    };
    largest = largest_in_warp(largest);
    const float scale = float_of(largest), factor = 127.0f / scale;
    const bool finite = largest < kInfinityBits;
    const auto keep = [&](uint32_t d) {
      const uint32_t element = is_key ? d * kPagePositions + t : t * c.head_dim + d;
      if constexpr (kFormat == KvFormat::kQ8) {
        const auto byte = static_cast<int8_t>(finite ? quantized(x[d], factor) : 0);
        if (is_query)
          s.bytes[role * c.head_dim + d] = byte;
        else
          store(is_key ? (d / 4 * kPagePositions + t) * 4 + d % 4 : kv.v_offset + element, byte);
      } else if constexpr (kFormat == KvFormat::kF16) {
        const float clamped = x[d] > 65504.0f ? 65504.0f : x[d] < -65504.0f ? -65504.0f : x[d];
        store((is_key ? 0 : kv.v_offset) + element * 2, float_to_half(clamped));
      } else {
        store((is_key ? 0 : kv.v_offset) + element * 4, x[d]);
      }
    };
    for (uint32_t d = lane; d < half; d += kWarp) {
      keep(d);
      keep(d + half);
    }
    if (kFormat != KvFormat::kQ8 || lane != 0) continue;
    if (is_query)
      s.q_scale[role] = scale;
    else
      store((is_key ? kv.k_scale_offset : kv.v_scale_offset) + t * 4, scale);
  }
}

/// One KV head's queries over one block of positions, the n-th that this block of threads attends to.
template <KvFormat kFormat>
GPU_DEVICE void Decode::attend(uint32_t n) const {
  const auto& m = a_.model;
  const auto& c = m.shape;
  const Task mine = task(n);
  const uint32_t group = c.heads / c.kv_heads, count = state().kv_count, first_head = mine.kv_head * group;
  const uint32_t behind = a_.position + 1 - mine.kv_block * kPagePositions, tag = a_.tag + mine.layer;
  const uint32_t seen = behind < kPagePositions ? behind : kPagePositions;
  const bool orders = thread_ / kWarp == kDecodeWarps - 1;
  const auto s = heads_shared<kFormat>(shared(a_.attend_offset), group, c.head_dim);
  const unsigned char* kv = shared(a_.kv_offset);
  const auto slot = [&](uint32_t head) { return (first_head + head) * a_.part_stride + mine.kv_block; };
  take_vectors<kFormat>(mine, n & 1u);
  copy_wait(&state().keys_here, n & 1u);
  if (kFormat == KvFormat::kQ8) copy_wait(&state().values_here, n & 1u);  // the scales of values are wanted early
  sync_block();
  if (mine.in_layer == 0) mark(mine.layer * 5 + 1);
  for (uint32_t head = thread_ / kWarp; head < group; head += kDecodeWarps) {
    const float most = weights_of_head<kFormat>(s, kv, m.kv, head, c.head_dim, c.score_factor, seen);
    if (count > 1 && thread_ % kWarp == 0) publish(a_.part_scales + slot(head) * 2, most, tag);
  }
  if (kFormat != KvFormat::kQ8) copy_wait(&state().values_here, n & 1u);
  sync_block();
  if (orders) order_kv(n + 1, false);
  // Sums by threads that have nothing to weigh, if there are such.
  for (uint32_t head = kDecodeThreads - 1 - thread_; head < group; head += kDecodeThreads) {
    const float l = sum_of_weights(s.p + head * kWeightStride, seen);
    if (count == 1)
      s.l[head] = l;
    else
      publish(a_.part_scales + slot(head) * 2 + 1, l, tag);
  }
  const uint32_t pairs = c.head_dim / 2;
  for (uint32_t at = thread_; at < (group + 1) / 2 * pairs; at += kDecodeThreads) {
    const uint32_t ha = at / pairs * 2, hb = ha + 1 < group ? ha + 1 : ha, d = at % pairs * 2;
    const TwoHeads o = weigh_values<kFormat>(s.weights + ha * kWeightStride, s.weights + hb * kWeightStride,
                                             kv + m.kv.v_offset, d, c.head_dim, seen);
    if (count == 1) {
      s.q[ha * c.head_dim + d] = o.a.x;
      s.q[ha * c.head_dim + d + 1] = o.a.y;
      if (hb == ha) continue;
      s.q[hb * c.head_dim + d] = o.b.x;
      s.q[hb * c.head_dim + d + 1] = o.b.y;
    } else {
      const auto put = [&](uint32_t head, const Pair& two) {
        Tagged* to = a_.parts + static_cast<uint64_t>(slot(head)) * c.head_dim + d;
        publish(to, two.x, tag);
        publish(to + 1, two.y, tag);
      };
      put(ha, o.a);
      if (hb != ha) put(hb, o.b);
    }
  }
  sync_block();
  if (orders) order_kv(n + 1, true);
  if (count > 1) return;
  for (uint32_t at = thread_; at < group * c.head_dim; at += kDecodeThreads)
    publish(a_.attended + first_head * c.head_dim + at, s.q[at] / s.l[at / c.head_dim], tag);
  sync_block();
}

/// Folds a head's parts, blocks within super-blocks and then these, ascending. The o of 16 parts are under way while m
/// and l of all come.
GPU_DEVICE void Decode::fold(uint32_t head, uint32_t tag) const {
  const auto& c = a_.model.shape;
  const uint32_t count = state().kv_count, supers = supers_of(a_.position + 1);
  float* m = reinterpret_cast<float*>(shared(a_.attend_offset));
  float *l = m + count, *a = l + count, *b = a + count;  // of blocks
  float *super_m = b + count, *super_a = super_m + supers, *super_b = super_a + supers, *whole_l = super_b + supers;
  for (uint32_t j = kDecodeThreads - 1 - thread_; j < count; j += kDecodeThreads) {
    float two[2];
    gather(two, 2, 2, tag, [&](uint32_t k) { return a_.part_scales + (head * a_.part_stride + j) * 2 + k; });
    m[j] = two[0];
    l[j] = two[1];
  }
  const bool mine = thread_ < c.head_dim;
  const Tagged* parts = a_.parts + static_cast<uint64_t>(head) * a_.part_stride * c.head_dim + thread_;
  const auto in_super = [&](uint32_t s) {
    const uint32_t left = count - s * kSuperBlock;
    return left < kSuperBlock ? left : kSuperBlock;
  };
  float o[kSuperBlock];
  const auto load = [&](uint32_t s) {
    gather(o, mine ? in_super(s) : 0, in_super(s), tag,
           [&](uint32_t k) { return parts + static_cast<uint64_t>(s * kSuperBlock + k) * c.head_dim; });
  };
  load(0);
  sync_block();
  // Weights of element `at` of a fold that began with element `begin`.
  const auto weigh = [](const float* of, uint32_t begin, uint32_t at, float& before_weight, float& weight) {
    float before = at == begin ? of[at] : -INFINITY;
    for (uint32_t j = begin; j < at; ++j) before = before > of[j] ? before : of[j];
    const float both = before > of[at] ? before : of[at];
    before_weight = exp_not_positive(before - both);
    weight = exp_not_positive(of[at] - both);
    return both;
  };
  for (uint32_t j = thread_; j < count; j += kDecodeThreads) {
    const float both = weigh(m, j / kSuperBlock * kSuperBlock, j, a[j], b[j]);
    if (j + 1 == count || (j + 1) % kSuperBlock == 0) super_m[j / kSuperBlock] = both;
  }
  sync_block();
  if (supers > 1) {
    for (uint32_t s = thread_; s < supers; s += kDecodeThreads) weigh(super_m, 0, s, super_a[s], super_b[s]);
    sync_block();
  }
  if (thread_ == kDecodeThreads - 1) {
    float total = 0.0f;
    for (uint32_t s = 0; s < supers; ++s) {
      const uint32_t begin = s * kSuperBlock, n = in_super(s);
      float sum = l[begin];
      for (uint32_t k = 1; k < n; ++k) sum = std::fma(sum, a[begin + k], l[begin + k] * b[begin + k]);
      total = s == 0 ? sum : std::fma(total, super_a[s], sum * super_b[s]);
    }
    *whole_l = total;
  }
  float total = 0.0f;
  for (uint32_t s = 0; s < supers; ++s) {
    if (s > 0) load(s);
    const uint32_t begin = s * kSuperBlock, n = in_super(s);
    float sum = o[0];
    by_eights<kSuperBlock>(n, [&](uint32_t k) {
      if (k > 0 && k < n) sum = std::fma(sum, a[begin + k], o[k] * b[begin + k]);
    });
    total = s == 0 ? sum : std::fma(total, super_a[s], sum * super_b[s]);
  }
  sync_block();
  if (mine) publish(a_.attended + head * c.head_dim + thread_, total / *whole_l, tag);
  sync_block();
}

template <KvFormat kFormat>
GPU_DEVICE void Decode::attention(uint32_t i) const {
  const uint32_t each = state().kv_tasks;
  for (uint32_t n = i * each; n < (i + 1) * each; ++n) attend<kFormat>(n);
  if (a_.position < kPagePositions) return;
  // From the other end: those blocks attend last, if at all.
  for (uint32_t head = blocks() - 1 - block(); head < a_.model.shape.heads; head += blocks()) fold(head, a_.tag + i);
}

}  // namespace
}  // namespace onebit::gpu
