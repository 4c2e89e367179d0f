// What attend_rows (attention_rows.inl.h) is told, and where its shared memory has what.
#pragma once

#include "kernels/gpu/attention.inl.h"
#include "kernels/gpu/place.inl.h"

namespace onebit::gpu {
namespace {

inline constexpr uint32_t kAttendThreads = 64;
inline constexpr uint32_t kAttendWarps = kAttendThreads / kWarp;
inline constexpr uint32_t kPack = 4;  // queries of a thread
static_assert(kAttendThreads == kPagePositions);

/// One KV block for one row, all heads of a KV head.
inline constexpr uint32_t kNoRow = 0xffffffffu;
struct alignas(16) AttendTask {
  uint32_t row, kv_block;  // kNoRow: a place without a task
  uint32_t blocks;         // that the row sees
  uint32_t first_part;     // slots of parts before this row's, a head's worth each
  uint32_t position;       // of the row
  uint32_t page;           // where the block lies
  uint32_t unused[2];
};
struct AttendArgs {
  PlaceArgs place;
  const AttendTask* tasks;
  Results parts;      // of a row: [heads][blocks]
  uint32_t* arrived;  // [rows][kv_heads]: blocks that have ended; zeros between launches
  float* attended;    // [rows][heads · head_dim]
  uint32_t places;    // 1: the QKV product is still sums, and no sequence has more than one row
  uint32_t stage_kv;
};

/// Shared memory of attend_rows, in bytes from its beginning.
struct AttendLayout {
  uint32_t q;        // [packs][head_dim][4] floats
  uint32_t bytes_q;  // q8: the same quantised, [packs][head_dim / 4][4] words
  uint32_t work;  // one after another: this row's key and value, [2][head_dim]; [64][4]: exp(s - m); what a fold wants
  uint32_t weights;  // [64][4]: of the values; the exponentials, or for q8 these times the value's scale
  uint32_t kv;       // the block staged
  uint32_t bytes;
};
struct AttendScratch {
  CopyBarrier keys, values;
  float largest[kAttendWarps][kPack];
  float q_scale[kMostGroup];                                  // over 127
  float before[kMostGroup], next[kMostGroup], l[kMostGroup];  // of a fold
  uint32_t is_last;
};
constexpr uint32_t packs_of(uint32_t group) {
  return (group + kPack - 1) / kPack;
}
constexpr AttendLayout attend_layout(bool is_q8, uint32_t group, uint32_t head_dim, uint32_t kv_bytes) {
  AttendLayout s{};
  uint32_t used = (sizeof(AttendScratch) + 127) / 128 * 128;
  const auto room = [&](uint32_t bytes) {
    const uint32_t at = used;
    used += (bytes + 127) / 128 * 128;
    return at;
  };
  const auto more = [](uint32_t a, uint32_t b) { return a > b ? a : b; };
  const uint32_t heads = packs_of(group) * kPack, each = kPagePositions * kPack * 4;
  s.q = room(heads * head_dim * 4);
  s.bytes_q = room(is_q8 ? heads * head_dim : 0);
  s.work = room(more(more(2 * head_dim * 4, each), 4 * heads * kSuperBlock * 4));
  s.weights = is_q8 ? room(each) : s.work;
  s.kv = room(kv_bytes);
  s.bytes = used;
  return s;
}

template <KvFormat kFormat>
GPU_DEVICE float key_at(const unsigned char* k, uint32_t d, uint32_t t) {
  if constexpr (kFormat == KvFormat::kF32) return reinterpret_cast<const float*>(k)[d * kPagePositions + t];
  return half_to_float(reinterpret_cast<const uint16_t*>(k)[d * kPagePositions + t]);
}

/// Two neighbouring values of a position.
template <KvFormat kFormat>
GPU_DEVICE Pair values_at(const unsigned char* v, uint32_t at) {
  if constexpr (kFormat == KvFormat::kF32) {
    return *reinterpret_cast<const Pair*>(v + at * 4);
  } else if constexpr (kFormat == KvFormat::kF16) {
    const uint32_t both = *reinterpret_cast<const uint32_t*>(v + at * 2);
    return {half_to_float(static_cast<uint16_t>(both & 0xffffu)), half_to_float(static_cast<uint16_t>(both >> 16))};
  } else {
    const uint32_t both = *reinterpret_cast<const uint16_t*>(v + at);
    return {float_of_byte(both, 0), float_of_byte(both, 1)};
  }
}

}  // namespace
}  // namespace onebit::gpu
