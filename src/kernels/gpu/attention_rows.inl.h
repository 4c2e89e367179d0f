// Attention of a step's rows that come alone, or few of a sequence: a block of threads for each row, KV head and 64
// positions. A thread computes four of the KV head's queries, so that what it reads and unpacks of keys and values
// serves all of them. The last block of a row and KV head to end folds (docs/numerics.md, 5).
//
// Where no other row's keys are wanted, nothing stands between the QKV product and this kernel: each block takes its
// queries from the sums themselves, and the one that has the row's own position also its key and value.
#pragma once

#include "kernels/gpu/attend_state.inl.h"

namespace onebit::gpu {
namespace {

/// kHeadDim: the head's size where it is known and keys and values are staged, or 0.
template <KvFormat kFormat, uint32_t kHeadDim>
class AttendRowKernel {
 public:
  GPU_DEVICE AttendRowKernel(const AttendArgs& args, const AttendTask& task)
      : a_(args),
        c_(args.place.shape),
        kv_(args.place.kv),
        task_(task),
        kv_head_(block() % c_.kv_heads),
        group_(c_.heads / c_.kv_heads),
        s_(attend_layout(kIsQ8, group_, head_dim(), staged() ? kv_.block_bytes : 0)),
        page_(kv_.at(task.page, args.place.layer, kv_head_)),
        count_(seen_of(task)) {}

  GPU_DEVICE void run() {
    if (thread() == 0) {
      begin(&scratch().keys);
      begin(&scratch().values);
    }
    sync_block();
    // Not even what this step does not write is fetched earlier: what the kernel before this one waits for would come
    // later.
    wait_for_earlier();
    if (staged() && thread() < kWarp) stage();
    let_next_begin();
    if (a_.places != 0) {
      const auto& m = a_.place.matrix;
      const bool one = m[0].scales == nullptr && m[1].scales == nullptr && m[2].scales == nullptr;
      one ? take_row<true>() : take_row<false>();
    } else {
      load_queries();
    }
    sync_block();
    if constexpr (kIsQ8) quantize_queries();
    if (staged()) copy_wait(&scratch().keys, 0);
    for (uint32_t pack = 0; pack < packs_of(group_); ++pack) {
      weights_of(pack);
      if (staged()) copy_wait(&scratch().values, 0);
      sync_block();
      weigh(pack);
    }
    if (task_.blocks == 1) return;
    if (ends_last()) fold();
  }

 private:
  static constexpr bool kIsQ8 = kFormat == KvFormat::kQ8;

  GPU_DEVICE uint32_t head_dim() const { return kHeadDim != 0 ? kHeadDim : c_.head_dim; }
  GPU_DEVICE bool staged() const { return kHeadDim != 0 || a_.stage_kv != 0; }
  GPU_DEVICE static uint32_t seen_of(const AttendTask& task) {
    const uint32_t behind = task.position + 1 - task.kv_block * kPagePositions;
    return behind < kPagePositions ? behind : kPagePositions;
  }
  GPU_DEVICE static AttendScratch& scratch() { return *reinterpret_cast<AttendScratch*>(shared_memory()); }
  GPU_DEVICE static float* floats(uint32_t at) { return reinterpret_cast<float*>(shared_memory() + at); }
  GPU_DEVICE float* weights() const { return floats(s_.weights); }
  GPU_DEVICE unsigned char* keys() const { return staged() ? shared_memory() + s_.kv : page_; }
  /// Where a head's m and l of this row stand, of the first block.
  GPU_DEVICE uint64_t slot(uint32_t head) const {
    return static_cast<uint64_t>(task_.first_part) * c_.heads + (kv_head_ * group_ + head) * task_.blocks;
  }
  GPU_DEVICE float* attended(uint32_t head) const {
    return a_.attended + (static_cast<uint64_t>(task_.row) * c_.heads + kv_head_ * group_ + head) * head_dim();
  }
  /// Where element d of a query stands.
  GPU_DEVICE float& query(uint32_t head, uint32_t d) const {
    return floats(s_.q)[(head / kPack * head_dim() + d) * kPack + head % kPack];
  }

  /// By a warp.
  GPU_DEVICE void stage() const {
    auto& s = scratch();
    unsigned char* to = shared_memory() + s_.kv;
    constexpr uint32_t kScales = kIsQ8 ? kPagePositions * 4 : 0;
    copy_begin(&s.keys, kv_.v_offset + kScales);
    copy_bulk(&s.keys, to, page_, kv_.v_offset);
    if constexpr (kIsQ8) copy_bulk(&s.keys, to + kv_.k_scale_offset, page_ + kv_.k_scale_offset, kScales);
    copy_end(&s.keys);
    const uint32_t seen = kv_.v_offset / kPagePositions * count_;  // values stand by positions
    copy_begin(&s.values, seen + kScales);
    copy_bulk(&s.values, to + kv_.v_offset, page_ + kv_.v_offset, seen);
    if constexpr (kIsQ8) copy_bulk(&s.values, to + kv_.v_scale_offset, page_ + kv_.v_scale_offset, kScales);
    copy_end(&s.values);
  }

  GPU_DEVICE void load_queries() const {
    const float* from =
        a_.place.qkv.values + static_cast<uint64_t>(task_.row) * a_.place.qkv.stride + kv_head_ * group_ * head_dim();
    GPU_UNROLL(4)
    for (uint32_t i = thread(); i < group_ * head_dim(); i += kAttendThreads)
      query(i / head_dim(), i % head_dim()) = from[i];
  }

  /// The row's sums of what matrix `which` gives (queries, keys, values), from `at` on, and how they become numbers.
  struct Sums {
    const int32_t* of;
    const DeviceMatrix& matrix;
    uint32_t at;
    int32_t offset;
    float s;
    /// kOne: the matrix has one scale.
    template <bool kOne>
    GPU_DEVICE float value(uint32_t i, int32_t sum) const {
      return product_value(sum, offset, kOne ? matrix.one_scale : matrix.scale(at + i), s);
    }
  };
  GPU_DEVICE Sums sums_of(uint32_t which, uint32_t head) const {
    const PlaceArgs& p = a_.place;
    const uint32_t first = which == 0 ? 0 : which == 1 ? p.qkv.k_first : p.qkv.v_first, at = head * head_dim();
    return {p.product.sums + static_cast<uint64_t>(task_.row) * p.product.stride + first + at, p.matrix[which], at,
            p.product.sum[task_.row], p.product.s[task_.row]};
  }
  /// This row's queries and, where the block has its position, its key and value from their sums. Loads of all heads of
  /// 128 are under way at once.
  template <bool kOne>
  GPU_DEVICE void take_row() const {
    const bool appends = task_.kv_block + 1 == task_.blocks;
    constexpr uint32_t kAhead = 5, kValues = 2;
    const Sums query_sums = sums_of(0, kv_head_ * group_), key_sums = sums_of(1, kv_head_),
               value_sums = sums_of(2, kv_head_);
    const uint32_t half = head_dim() / 2, pairs = (group_ + (appends ? 1 : 0)) * half;
    const uint64_t angles = static_cast<uint64_t>(task_.position) * half;
    float *k = floats(s_.work), *v = k + head_dim();
    int32_t values[kValues];
    GPU_UNROLL_ALL
    for (uint32_t j = 0; j < kValues; ++j) {
      const uint32_t at = thread() + j * kAttendThreads;
      values[j] = appends && at < head_dim() ? value_sums.of[at] : 0;
    }
    for (uint32_t begin = thread(); begin < pairs; begin += kAhead * kAttendThreads) {
      int32_t low[kAhead], high[kAhead];
      float cos[kAhead], sin[kAhead];
      const auto each = [&](auto visit) {
        GPU_UNROLL_ALL
        for (uint32_t j = 0; j < kAhead; ++j) {
          const uint32_t i = begin + j * kAttendThreads;
          if (i < pairs) visit(j, i / half, i % half);
        }
      };
      each([&](uint32_t j, uint32_t head, uint32_t d) {
        const int32_t* from = (head < group_ ? query_sums.of + head * head_dim() : key_sums.of) + d;
        low[j] = from[0];
        high[j] = from[half];
        cos[j] = a_.place.rope_cos[angles + d];
        sin[j] = a_.place.rope_sin[angles + d];
      });
      each([&](uint32_t j, uint32_t head, uint32_t d) {
        const uint32_t at = head * head_dim() + d;
        const auto value = [&](uint32_t more, int32_t sum) {
          return head < group_ ? query_sums.template value<kOne>(at + more, sum)
                               : key_sums.template value<kOne>(d + more, sum);
        };
        const Rotated r = rotate(value(0, low[j]), value(half, high[j]), cos[j], sin[j]);
        (head < group_ ? query(head, d) : k[d]) = r.low;
        (head < group_ ? query(head, d + half) : k[d + half]) = r.high;
      });
    }
    if (!appends) return;
    GPU_UNROLL_ALL
    for (uint32_t j = 0; j < kValues; ++j) {
      const uint32_t at = thread() + j * kAttendThreads;
      if (at < head_dim()) v[at] = value_sums.template value<kOne>(at, values[j]);
    }
    for (uint32_t at = thread() + kValues * kAttendThreads; at < head_dim(); at += kAttendThreads)
      v[at] = value_sums.template value<kOne>(at, value_sums.of[at]);
    append_row(k, v);
  }
  /// A key and a value to the page and to the copy of it. A warp each.
  GPU_DEVICE void append_row(const float* k, const float* v) const {
    sync_block();
    const uint32_t t = task_.position % kPagePositions;
    const bool is_key = thread() < kWarp;
    const auto append = [&](unsigned char* to) {
      if (is_key)
        append_keys<kFormat, 1>(to, kv_, k, 0, head_dim(), t);
      else
        append_value<kFormat>(to, kv_, v, head_dim(), t);
    };
    append(page_);
    if (!staged()) return;
    copy_wait(is_key ? &scratch().keys : &scratch().values, 0);
    append(shared_memory() + s_.kv);
  }

  /// A warp a head. Ends with a barrier.
  GPU_DEVICE void quantize_queries() const {
    auto* words = shared_memory() + s_.bytes_q;
    for (uint32_t head = thread() / kWarp; head < group_; head += kAttendWarps) {
      uint32_t largest = bits_of(1e-5f);
      for (uint32_t d = thread() % kWarp; d < head_dim(); d += kWarp)
        largest = larger(largest, bits_of(query(head, d)) & 0x7fffffffu);
      largest = largest_in_warp(largest);
      const float factor = 127.0f / float_of(largest);
      for (uint32_t d = thread() % kWarp; d < head_dim(); d += kWarp)
        words[((head / kPack * head_dim() / 4 + d / 4) * kPack + head % kPack) * 4 + d % 4] =
            static_cast<unsigned char>(largest < kInfinityBits ? quantized(query(head, d), factor) : 0);
      if (thread() % kWarp == 0) scratch().q_scale[head] = float_of(largest) / 127.0f;
    }
    sync_block();
  }

  /// Scores of this thread's position: chains over d, times c.
  GPU_DEVICE void score(uint32_t pack, float (&value)[kPack]) const {
    const uint32_t t = thread();
    if constexpr (kIsQ8) {
      int32_t sum[kPack] = {};
      const auto* q = reinterpret_cast<const uint4*>(shared_memory() + s_.bytes_q) + pack * head_dim() / 4;
      const auto* k = reinterpret_cast<const uint32_t*>(keys()) + t;
      GPU_UNROLL(8)
      for (uint32_t i = 0; i < head_dim() / 4; ++i) {
        const uint4 four = q[i];
        const uint32_t key = k[i * kPagePositions];
        sum[0] = dot4_signed(sum[0], four.x, key);
        sum[1] = dot4_signed(sum[1], four.y, key);
        sum[2] = dot4_signed(sum[2], four.z, key);
        sum[3] = dot4_signed(sum[3], four.w, key);
      }
      const float scale = reinterpret_cast<const float*>(keys() + kv_.k_scale_offset)[t] / 127.0f;
      GPU_UNROLL_ALL
      for (uint32_t i = 0; i < kPack; ++i)
        value[i] = (static_cast<float>(sum[i]) * (scratch().q_scale[pack * kPack + i] * scale)) * c_.score_factor;
    } else {
      const auto* q = reinterpret_cast<const float4*>(floats(s_.q)) + pack * head_dim();
      GPU_UNROLL_ALL
      for (float& v : value) v = 0.0f;
      GPU_UNROLL(16)
      for (uint32_t d = 0; d < head_dim(); ++d) {
        const float4 four = q[d];
        const float key = key_at<kFormat>(keys(), d, t);
        value[0] = std::fma(four.x, key, value[0]);
        value[1] = std::fma(four.y, key, value[1]);
        value[2] = std::fma(four.z, key, value[2]);
        value[3] = std::fma(four.w, key, value[3]);
      }
      GPU_UNROLL_ALL
      for (float& v : value) v = v * c_.score_factor;
    }
  }

  /// p (and weights) of four queries; m where it is wanted. Has a barrier in its midst.
  GPU_DEVICE void weights_of(uint32_t pack) const {
    const uint32_t t = thread(), warp = t / kWarp;
    float value[kPack] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
    if (warp * kWarp < count_) score(pack, value);
    GPU_UNROLL_ALL
    for (uint32_t i = 0; i < kPack; ++i) {
      const float most = reduce_warp(t < count_ ? value[i] : -INFINITY, [](float a, float b) { return a > b ? a : b; });
      if (t % kWarp == 0) scratch().largest[warp][i] = most;
    }
    sync_block();
    float p[kPack];
    GPU_UNROLL_ALL
    for (uint32_t i = 0; i < kPack; ++i) {
      const float a = scratch().largest[0][i], b = scratch().largest[1][i], m = a > b ? a : b;
      p[i] = exp_not_positive(value[i] - m);
      const uint32_t head = pack * kPack + i;
      if (t == i && task_.blocks > 1 && head < group_) a_.parts.m[slot(head) + task_.kv_block] = m;
    }
    *reinterpret_cast<float4*>(floats(s_.work) + t * kPack) = {p[0], p[1], p[2], p[3]};
    if constexpr (kIsQ8) {
      copy_wait_values();
      const float scale = reinterpret_cast<const float*>(keys() + kv_.v_scale_offset)[t] / 127.0f;
      *reinterpret_cast<float4*>(floats(s_.weights) + t * kPack) = {p[0] * scale, p[1] * scale, p[2] * scale,
                                                                    p[3] * scale};
    }
  }
  GPU_DEVICE void copy_wait_values() const {
    if (staged()) copy_wait(&scratch().values, 0);
  }

  /// o of four queries, two elements a thread, and l of query thread() % 4: chains over t.
  GPU_DEVICE void weigh(uint32_t pack) const {
    const unsigned char* v = keys() + kv_.v_offset;
    const auto* w = reinterpret_cast<const float4*>(weights());
    const float* p = floats(s_.work) + thread() % kPack;
    for (uint32_t begin = thread() / kWarp * (2 * kWarp); begin < head_dim(); begin += 2 * kAttendThreads) {
      const uint32_t d = begin + thread() % kWarp * 2;
      const bool there = d < head_dim();
      const uint32_t first = there ? d : 0;
      float x[kPack] = {}, y[kPack] = {}, l = 0.0f;
      GPU_UNROLL(8)
      for (uint32_t t = 0; t < count_; ++t) {
        const Pair value = values_at<kFormat>(v, t * head_dim() + first);
        const float4 four = w[t];
        l = l + p[t * kPack];
        const float ws[kPack] = {four.x, four.y, four.z, four.w};
        GPU_UNROLL_ALL
        for (uint32_t i = 0; i < kPack; ++i) {
          x[i] = std::fma(ws[i], value.x, x[i]);
          y[i] = std::fma(ws[i], value.y, y[i]);
        }
      }
      GPU_UNROLL_ALL
      for (uint32_t i = 0; i < kPack; ++i) {
        const uint32_t head = pack * kPack + i;
        const float l_of = shuffle(l, i);
        if (!there || head >= group_) continue;
        if (task_.blocks == 1) {
          *reinterpret_cast<Pair*>(attended(head) + d) = {x[i] / l_of, y[i] / l_of};
          continue;
        }
        const uint64_t at = slot(head) + task_.kv_block;
        *reinterpret_cast<Pair*>(a_.parts.o + at * head_dim() + d) = {x[i], y[i]};
        if (d == 0) a_.parts.l[at] = l_of;
      }
    }
  }

  /// Whether all other blocks of the row and KV head have ended.
  GPU_DEVICE bool ends_last() const {
    sync_block();
    if (thread() == 0) {
      uint32_t* arrived = a_.arrived + task_.row * c_.kv_heads + kv_head_;
      const bool last = atomic_add_release(arrived, 1u) + 1 == task_.blocks;
      if (last) {
        *arrived = 0;
        fence();
      }
      scratch().is_last = last ? 1 : 0;
    }
    sync_block();
    return scratch().is_last != 0;
  }

  /// m and l of a super-block's blocks, n of them, and from these the weights of their o, [4][group][16] in shared
  /// memory: m, l, before, next. Then the same of this super-block and those before it, in scratch: before, next, l.
  GPU_DEVICE void fold_numbers(uint32_t begin, uint32_t n, float& m_total, float& l_total) const {
    const uint32_t heads = packs_of(group_) * kPack;
    float *m = floats(s_.work), *l = m + heads * kSuperBlock, *a = l + heads * kSuperBlock,
          *b = a + heads * kSuperBlock;
    sync_block();
    for (uint32_t i = thread(); i < group_ * kSuperBlock; i += kAttendThreads) {
      if (i % kSuperBlock >= n) continue;
      const uint64_t from = slot(i / kSuperBlock) + begin + i % kSuperBlock;
      m[i] = load_fresh(a_.parts.m + from);
      l[i] = load_fresh(a_.parts.l + from);
    }
    sync_block();
    for (uint32_t i = thread(); i < group_ * kSuperBlock; i += kAttendThreads) {
      const uint32_t at = i % kSuperBlock;
      if (at >= n) continue;
      const float mine = m[i], *first = m + (i - at);
      float before = at == 0 ? mine : -INFINITY;
      GPU_UNROLL_ALL
      for (uint32_t j = 0; j < kSuperBlock; ++j)
        if (j < at) before = before > first[j] ? before : first[j];
      const float both = before > mine ? before : mine;
      a[i] = exp_not_positive(before - both);
      b[i] = exp_not_positive(mine - both);
    }
    sync_block();
    const uint32_t head = thread();
    if (head < group_) {
      const uint32_t first = head * kSuperBlock;
      float l_super = l[first], m_super = m[first];
      GPU_UNROLL_ALL
      for (uint32_t j = 1; j < kSuperBlock; ++j) {
        if (j >= n) continue;
        l_super = std::fma(l_super, a[first + j], l[first + j] * b[first + j]);
        m_super = m_super > m[first + j] ? m_super : m[first + j];
      }
      auto& s = scratch();
      if (begin == 0) {
        m_total = m_super;
        l_total = l_super;
      } else {
        const float both = m_total > m_super ? m_total : m_super;
        s.before[head] = exp_not_positive(m_total - both);
        s.next[head] = exp_not_positive(m_super - both);
        l_total = std::fma(l_total, s.before[head], l_super * s.next[head]);
        m_total = both;
      }
      s.l[head] = l_total;
    }
    sync_block();
  }

  /// Each thread some elements, four at a time.
  GPU_DEVICE void fold() const {
    constexpr uint32_t kEach = 2;
    const uint32_t fours = group_ * head_dim() / 4;
    for (uint32_t first = thread(); first - thread() < fours; first += kEach * kAttendThreads) {
      float4 total[kEach];
      float m_total = 0, l_total = 0;
      for (uint32_t begin = 0; begin < task_.blocks; begin += kSuperBlock) {
        const uint32_t n = task_.blocks - begin < kSuperBlock ? task_.blocks - begin : kSuperBlock;
        fold_numbers(begin, n, m_total, l_total);
        GPU_UNROLL_ALL
        for (uint32_t k = 0; k < kEach; ++k)
          if (first + k * kAttendThreads < fours) fold_super(first + k * kAttendThreads, begin, n, total[k]);
      }
      GPU_UNROLL_ALL
      for (uint32_t k = 0; k < kEach; ++k) {
        const uint32_t at = (first + k * kAttendThreads) * 4, head = at / head_dim();
        if (at >= fours * 4) continue;
        const float l = scratch().l[head];
        const float4& o = total[k];
        *reinterpret_cast<float4*>(attended(head) + at % head_dim()) = {o.x / l, o.y / l, o.z / l, o.w / l};
      }
    }
  }
  GPU_DEVICE static void fold_four(float4& o, float before, const float4& next, float weight) {
    o.x = std::fma(o.x, before, next.x * weight);
    o.y = std::fma(o.y, before, next.y * weight);
    o.z = std::fma(o.z, before, next.z * weight);
    o.w = std::fma(o.w, before, next.w * weight);
  }
  GPU_DEVICE void fold_super(uint32_t index, uint32_t begin, uint32_t n, float4& total) const {
    const uint32_t head = index * 4 / head_dim(), d = index * 4 % head_dim(), heads = packs_of(group_) * kPack;
    const float *a = floats(s_.work) + (2 * heads + head) * kSuperBlock, *b = a + heads * kSuperBlock;
    const auto* from = reinterpret_cast<const float4*>(a_.parts.o + (slot(head) + begin) * head_dim() + d);
    const uint32_t step = head_dim() / 4;
    float4 o = load_fresh(from);
    constexpr uint32_t kAhead = 8;
    for (uint32_t at = 1; at < n; at += kAhead) {
      float4 next[kAhead];
      GPU_UNROLL_ALL
      for (uint32_t j = 0; j < kAhead; ++j)
        if (at + j < n) next[j] = load_fresh(from + (at + j) * step);
      GPU_UNROLL_ALL
      for (uint32_t j = 0; j < kAhead; ++j)
        if (at + j < n) fold_four(o, a[at + j], next[j], b[at + j]);
    }
    if (begin == 0)
      total = o;
    else
      fold_four(total, scratch().before[head], o, scratch().next[head]);
  }

  const AttendArgs& a_;
  const Shape& c_;
  const KvPlan& kv_;
  const AttendTask task_;
  const uint32_t kv_head_, group_;
  const AttendLayout s_;
  unsigned char* const page_;
  const uint32_t count_;  // positions of the block that the row sees
};

template <KvFormat kFormat, uint32_t kHeadDim>
GPU_KERNEL(kAttendThreads, 8)
attend_rows(GPU_ARGUMENT AttendArgs argument) {
  const auto& a = argument_of(argument);
  const AttendTask task = a.tasks[block() / a.place.shape.kv_heads];
  if (task.row != kNoRow) AttendRowKernel<kFormat, kHeadDim>(a, task).run();
}

}  // namespace
}  // namespace onebit::gpu
