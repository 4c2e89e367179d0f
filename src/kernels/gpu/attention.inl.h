// Attention over blocks of 64 positions, split over blocks of threads, and the folds of their results in the contract's
// order (docs/numerics.md, 5): blocks inside super-blocks of 16, then super-blocks.
#pragma once

#include "kernels/exp_log.h"
#include "kernels/gpu/rows.inl.h"

namespace onebit::gpu {
namespace {

inline constexpr uint32_t kSuperBlock = 16;
inline constexpr uint32_t kMostGroup = 16;  // query heads that share a KV head

GPU_DEVICE uint32_t blocks_of(uint32_t positions) {
  return (positions + kPagePositions - 1) / kPagePositions;
}
GPU_DEVICE uint32_t supers_of(uint32_t positions) {
  return (blocks_of(positions) + kSuperBlock - 1) / kSuperBlock;
}

/// A result over some positions: o [head_dim], m and l beside it. Slots of a row's head are [blocks] + [supers].
struct Results {
  float *o, *m, *l;
};

/// Shared memory of attend_block: the queries of a KV head's group, their weights.
struct AttendShared {
  float* q;           // [group][head_dim]; q8: as int8, [group][head_dim]
  float* p;           // [group][64]: exp(s - m)
  float* weights;     // [group][64]: of the values; p itself, or for q8 p times the value's scale
  float* reduced;     // [group][2]: the halves' maxima
  float* q_scale;     // [group]; q8 only
  unsigned char* kv;  // the block staged, or where it lies
};
constexpr uint32_t attend_shared_floats(uint32_t group, uint32_t head_dim) {
  return group * (head_dim + 2 * kPagePositions + 2 + 1);
}
template <KvFormat kFormat>
GPU_DEVICE AttendShared attend_shared(float* at, uint32_t group, uint32_t head_dim) {
  AttendShared s;
  s.q = at;
  s.p = s.q + group * head_dim;
  s.weights = kFormat == KvFormat::kQ8 ? s.p + group * kPagePositions : s.p;
  s.reduced = s.p + 2 * group * kPagePositions;
  s.q_scale = s.reduced + group * 2;
  s.kv = nullptr;
  return s;
}

template <KvFormat kFormat>
GPU_DEVICE float key_at(const unsigned char* k, uint32_t d, uint32_t t) {
  if constexpr (kFormat == KvFormat::kF32) return reinterpret_cast<const float*>(k)[d * kPagePositions + t];
  return half_to_float(reinterpret_cast<const uint16_t*>(k)[d * kPagePositions + t]);
}

/// s_t of one query and one position: the chain over d, times c.
template <KvFormat kFormat>
GPU_DEVICE float score(const AttendShared& s, const KvPlan& plan, uint32_t head, uint32_t t, uint32_t head_dim,
                       float c) {
  if constexpr (kFormat == KvFormat::kQ8) {
    const auto* q = reinterpret_cast<const uint32_t*>(s.q) + head * head_dim / 4;
    const auto* k = reinterpret_cast<const uint32_t*>(s.kv);
    int32_t sum = 0;
    for (uint32_t i = 0; i < head_dim / 4; ++i) sum = dot4_signed(sum, q[i], k[i * kPagePositions + t]);
    const float k_scale = reinterpret_cast<const float*>(s.kv + plan.k_scale_offset)[t];
    return (static_cast<float>(sum) * ((s.q_scale[head] / 127.0f) * (k_scale / 127.0f))) * c;
  } else {
    const auto* q = reinterpret_cast<const float4*>(s.q + head * head_dim);
    float sum = 0.0f;
    GPU_UNROLL(8)
    for (uint32_t d = 0; d < head_dim; d += 4) {
      const float4 four = q[d / 4];
      sum = std::fma(four.x, key_at<kFormat>(s.kv, d, t), sum);
      sum = std::fma(four.y, key_at<kFormat>(s.kv, d + 1, t), sum);
      sum = std::fma(four.z, key_at<kFormat>(s.kv, d + 2, t), sum);
      sum = std::fma(four.w, key_at<kFormat>(s.kv, d + 3, t), sum);
    }
    return sum * c;
  }
}

/// Two neighbouring values of a position.
struct Pair {
  float x, y;
};
template <KvFormat kFormat>
GPU_DEVICE Pair values_at(const unsigned char* v, uint32_t t, uint32_t pair, uint32_t head_dim) {
  const uint32_t at = t * head_dim + 2 * pair;
  if constexpr (kFormat == KvFormat::kF32) {
    const auto* p = reinterpret_cast<const float*>(v) + at;
    return {p[0], p[1]};
  } else if constexpr (kFormat == KvFormat::kF16) {
    const uint32_t both = *reinterpret_cast<const uint32_t*>(v + at * 2);
    return {half_to_float(static_cast<uint16_t>(both & 0xffffu)), half_to_float(static_cast<uint16_t>(both >> 16))};
  } else {
    const uint16_t both = *reinterpret_cast<const uint16_t*>(v + at);
    return {static_cast<float>(static_cast<int8_t>(both & 0xffu)), static_cast<float>(static_cast<int8_t>(both >> 8))};
  }
}

/// What a thread gathers for one query: two neighbouring elements of o, and l, which each thread computes for itself.
struct Weighed {
  float x, y, l;
};
template <KvFormat kFormat>
GPU_DEVICE void weigh(Weighed& sum, float p, float weight, const Pair& values) {
  sum.l = sum.l + p;
  sum.x = std::fma(weight, values.x, sum.x);
  sum.y = std::fma(weight, values.y, sum.y);
}

/// One KV block for the queries of one KV head: s.q (and q_scale) and s.kv are there, a barrier after them is done.
/// count: positions that the queries see of it, at least 1. out: of the group's heads in turn, `stride` slots apart.
/// whole: null, or where the quotients o / l go, [group][head_dim], if this block is all that there is.
template <KvFormat kFormat>
GPU_DEVICE void attend_block(const AttendShared& s, const KvPlan& plan, uint32_t group, uint32_t head_dim, float c,
                             uint32_t count, const Results& out, uint32_t stride, float* whole) {
  // Scores; a warp has one query and half of the positions.
  for (uint32_t i = thread(); i < group * kPagePositions; i += threads()) {
    const uint32_t head = i / kPagePositions, t = i % kPagePositions;
    const float value = t < count ? score<kFormat>(s, plan, head, t, head_dim, c) : -INFINITY;
    s.p[i] = value;
    const float most = reduce_warp(value, [](float a, float b) { return a > b ? a : b; });
    if (i % kWarp == 0) s.reduced[i / kWarp] = most;
  }
  sync_block();
  for (uint32_t i = thread(); i < group * kPagePositions; i += threads()) {
    const uint32_t head = i / kPagePositions, t = i % kPagePositions;
    const float a = s.reduced[2 * head], b = s.reduced[2 * head + 1];
    const float m = a > b ? a : b;
    if (t < count) {
      const float p = exp_f32(s.p[i] - m);
      s.p[i] = p;
      if constexpr (kFormat == KvFormat::kQ8)
        s.weights[i] = p * (reinterpret_cast<const float*>(s.kv + plan.v_scale_offset)[t] / 127.0f);
    }
    if (t == 0 && whole == nullptr) out.m[head * stride] = m;
  }
  sync_block();
  const uint32_t pairs = head_dim / 2;
  const unsigned char* v = s.kv + plan.v_offset;
  for (uint32_t i = thread(); i < group * pairs; i += threads()) {
    const uint32_t head = i / pairs, pair = i % pairs;
    const float *p = s.p + head * kPagePositions, *weights = s.weights + head * kPagePositions;
    Weighed sum{0.0f, 0.0f, 0.0f};
    uint32_t t = 0;
    GPU_UNROLL(4)
    for (; t + 4 <= count; t += 4) {
      const float4 p4 = *reinterpret_cast<const float4*>(p + t), w4 = *reinterpret_cast<const float4*>(weights + t);
      weigh<kFormat>(sum, p4.x, w4.x, values_at<kFormat>(v, t, pair, head_dim));
      weigh<kFormat>(sum, p4.y, w4.y, values_at<kFormat>(v, t + 1, pair, head_dim));
      weigh<kFormat>(sum, p4.z, w4.z, values_at<kFormat>(v, t + 2, pair, head_dim));
      weigh<kFormat>(sum, p4.w, w4.w, values_at<kFormat>(v, t + 3, pair, head_dim));
    }
    for (; t < count; ++t) weigh<kFormat>(sum, p[t], weights[t], values_at<kFormat>(v, t, pair, head_dim));
    float* o = whole != nullptr ? whole + head * head_dim + 2 * pair
                                : out.o + (static_cast<uint64_t>(head) * stride) * head_dim + 2 * pair;
    o[0] = whole != nullptr ? sum.x / sum.l : sum.x;
    o[1] = whole != nullptr ? sum.y / sum.l : sum.y;
    if (whole == nullptr && pair == 0) out.l[head * stride] = sum.l;
  }
}

/// Folds `count` results of each of a group's heads, ascending, into `into`, or, where `whole` is not null, into the
/// quotients o / l there, [group][head_dim]. weights: shared, [group][2][count].
GPU_FUNCTION void fold_results(const Results& from, uint32_t from_stride, uint32_t count, const Results& into,
                               uint32_t into_stride, uint32_t group, uint32_t head_dim, float* weights, float* whole) {
  for (uint32_t i = thread(); i < group * count; i += threads()) {
    const uint32_t head = i / count, at = i % count;
    const float* m = from.m + head * from_stride;
    const float mine = load_fresh(m + at);
    float before = at == 0 ? mine : -INFINITY;
    GPU_UNROLL(8)
    for (uint32_t j = 0; j < at; ++j) {
      const float next = load_fresh(m + j);
      before = before > next ? before : next;
    }
    const float both = before > mine ? before : mine;
    weights[(head * 2) * count + at] = exp_f32(before - both);
    weights[(head * 2 + 1) * count + at] = exp_f32(mine - both);
    if (at + 1 == count && whole == nullptr) into.m[head * into_stride] = both;
  }
  sync_block();
  // Each thread an element of o, and l besides.
  constexpr uint32_t kAhead = 8;
  for (uint32_t i = thread(); i < group * head_dim; i += threads()) {
    const uint32_t head = i / head_dim, d = i % head_dim;
    const float *a = weights + head * 2 * count, *b = a + count;
    const float* o = from.o + static_cast<uint64_t>(head) * from_stride * head_dim + d;
    const float* l = from.l + head * from_stride;
    float o_sum = load_fresh(o), l_sum = load_fresh(l);
    for (uint32_t begin = 1; begin < count; begin += kAhead) {
      float o_next[kAhead], l_next[kAhead];
      GPU_UNROLL_ALL
      for (uint32_t j = 0; j < kAhead; ++j) {
        const bool there = begin + j < count;
        o_next[j] = there ? load_fresh(o + static_cast<uint64_t>(begin + j) * head_dim) : 0.0f;
        l_next[j] = there ? load_fresh(l + begin + j) : 0.0f;
      }
      GPU_UNROLL_ALL
      for (uint32_t j = 0; j < kAhead; ++j) {
        if (begin + j >= count) continue;
        o_sum = std::fma(o_sum, a[begin + j], o_next[j] * b[begin + j]);
        l_sum = std::fma(l_sum, a[begin + j], l_next[j] * b[begin + j]);
      }
    }
    if (whole != nullptr) {
      whole[i] = o_sum / l_sum;
      continue;
    }
    into.o[static_cast<uint64_t>(head) * into_stride * head_dim + d] = o_sum;
    if (d == 0) into.l[head * into_stride] = l_sum;
  }
  sync_block();
}

/// Quantises a group's queries in place: floats become int8. One warp a head.
GPU_DEVICE void quantize_queries(const AttendShared& s, uint32_t group, uint32_t head_dim) {
  const uint32_t lane = thread() % kWarp, warps = threads() / kWarp;
  for (uint32_t first = 0; first < group; first += warps) {
    const uint32_t head = first + thread() / kWarp;
    const bool mine = head < group;
    const float* x = s.q + (mine ? head : 0) * head_dim;
    uint32_t largest = bits_of(1e-5f);
    for (uint32_t d = lane; d < head_dim; d += kWarp) largest = larger(largest, bits_of(x[d]) & 0x7fffffffu);
    largest = reduce_warp(largest, larger);
    const float factor = 127.0f / float_of(largest);
    // The int8 values of a head go where its floats were, and so only once all of them are read.
    int8_t values[16];
    GPU_UNROLL_ALL
    for (uint32_t i = 0; i < 16; ++i)
      if (i * kWarp + lane < head_dim)
        values[i] = static_cast<int8_t>(largest < kInfinityBits ? quantized(x[i * kWarp + lane], factor) : 0);
    sync_block();
    auto* q = reinterpret_cast<int8_t*>(s.q) + (mine ? head : 0) * head_dim;
    if (mine) {
      GPU_UNROLL_ALL
      for (uint32_t i = 0; i < 16; ++i)
        if (i * kWarp + lane < head_dim) q[i * kWarp + lane] = values[i];
      if (lane == 0) s.q_scale[head] = float_of(largest);
    }
    sync_block();
  }
}

/// RoPE of the pair (i, i + half) of x: docs/numerics.md, 4.
struct Rotated {
  float low, high;
};
GPU_DEVICE Rotated rotate(float a, float b, float cos, float sin) {
  return {std::fma(-b, sin, a * cos), std::fma(a, sin, b * cos)};
}

}  // namespace
}  // namespace onebit::gpu
