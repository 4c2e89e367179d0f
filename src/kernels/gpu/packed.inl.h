// Products of packed weights with int8 activations on the dot instructions: a warp reads 8 blocks of 64 bytes at once,
// each thread 4 rows of one block (format/packing.h).
#pragma once

#include "kernels/gpu/rows.inl.h"

namespace onebit::gpu {
namespace {

/// The packing t1_6 by table: a copy of it for each thread of a warp, so that no two meet in a bank of shared memory.
/// An entry holds four trits in fields of two bits (as t2 has them) in its lowest byte and the fifth in its third.
inline constexpr uint32_t kTrits = 256;
inline constexpr uint32_t kTritTableBytes = kTrits * kWarp * 4;

GPU_DEVICE uint32_t trit_entry(uint32_t code) {
  uint32_t index = code & 63u, fifth = code >> 6;
  if (fifth == 3) {
    const bool valid = index < 51;
    fifth = valid ? index / 17 : 1;
    index = valid ? 64 + index % 17 : 40;  // 40: four trits of 1
  }
  return index % 3 | index / 3 % 3 << 2 | index / 9 % 3 << 4 | index / 27 << 6 | fifth << 16;
}

GPU_DEVICE void fill_trit_table(uint32_t* table) {
  for (uint32_t i = thread(); i < kTrits * kWarp; i += threads()) table[i] = trit_entry(i / kWarp);
}

/// Of four codes: the bytes of t2 in x, the fifth trits, a byte each, in y.
struct Trits {
  uint32_t x, y;
};
GPU_DEVICE Trits decode_trits(uint32_t codes, const uint32_t* table) {
  const uint32_t* mine = table + thread() % kWarp;
  const uint32_t low = mine[(codes & 0xffu) * kWarp] + (mine[(codes >> 8 & 0xffu) * kWarp] << 8);
  const uint32_t high = mine[(codes >> 16 & 0xffu) * kWarp] + (mine[(codes >> 24) * kWarp] << 8);
  return {pick_bytes(low, high, 0x5410), pick_bytes(low, high, 0x7632)};
}

/// Words of activations that one block of weights meets.
template <Code kCode>
struct Words {
  uint32_t w[kFields<kCode>];
};
template <Code kCode>
GPU_DEVICE Words<kCode> words_of(const int8_t* q, uint32_t index, uint32_t blocks) {
  Words<kCode> r;
  if constexpr (kCode == Code::kQ8) {
    r.w[0] = reinterpret_cast<const uint32_t*>(q)[index];
  } else {
    const uint4 v = reinterpret_cast<const uint4*>(q)[index];
    r.w[0] = v.x, r.w[1] = v.y, r.w[2] = v.z, r.w[3] = v.w;
    if constexpr (kCode == Code::kT1_6) r.w[4] = reinterpret_cast<const uint32_t*>(q + blocks * 16)[index];
  }
  return r;
}

/// A thread's sums for 4 rows. Fields of two bits are multiplied where they stand, 4^j times too large, and each has a
/// sum of its own, so that unpacking is one operation; total() brings them together. Ternary weights count one too
/// many.
template <Code kCode>
struct RowSums {
  int32_t field[4][kFields<kCode>];

  GPU_DEVICE void clear() {
    for (auto& row : field)
      for (auto& sum : row) sum = 0;
  }
  GPU_DEVICE void add(uint32_t row, uint32_t codes, const Words<kCode>& x, const uint32_t* table) {
    auto& f = field[row];
    if constexpr (kCode == Code::kQ8) {
      f[0] = dot4_signed(f[0], codes, x.w[0]);
    } else {
      uint32_t fields = codes;
      if constexpr (kCode == Code::kT1_6) {
        const auto trits = decode_trits(codes, table);
        fields = trits.x;
        f[4] = dot4(f[4], trits.y, x.w[4]);
      }
      f[0] = dot4(f[0], fields & 0x03030303u, x.w[0]);
      f[1] = dot4(f[1], fields & 0x0c0c0c0cu, x.w[1]);
      f[2] = dot4(f[2], fields & 0x30303030u, x.w[2]);
      f[3] = dot4(f[3], fields & 0xc0c0c0c0u, x.w[3]);
    }
  }
  GPU_DEVICE void add_block(const uint4& codes, const Words<kCode>& x, const uint32_t* table) {
    add(0, codes.x, x, table);
    add(1, codes.y, x, table);
    add(2, codes.z, x, table);
    add(3, codes.w, x, table);
  }
  GPU_DEVICE int32_t total(uint32_t row) const {
    const auto& f = field[row];
    if constexpr (kCode == Code::kQ8) {
      return f[0];
    } else {
      int32_t sum = f[0] + (f[1] >> 2) + (f[2] >> 4) + (f[3] >> 6);
      if constexpr (kCode == Code::kT1_6) sum += f[4];
      return sum;
    }
  }

  /// Over the warp: thread l holds afterwards the sum of row row_of_thread().
  GPU_DEVICE int32_t over_warp() const {
    const uint32_t lane = thread() % kWarp;
    const bool upper = (lane & 16u) != 0, odd = (lane & 8u) != 0;
    const int32_t t0 = total(0), t1 = total(1), t2 = total(2), t3 = total(3);
    const int32_t a = (upper ? t2 : t0) + shuffle_xor(upper ? t0 : t2, 16);
    const int32_t b = (upper ? t3 : t1) + shuffle_xor(upper ? t1 : t3, 16);
    const int32_t c = (odd ? b : a) + shuffle_xor(odd ? a : b, 8);
    return c + shuffle_xor(c, 4);
  }
};

/// Which of a group's 16 rows over_warp() leaves with this thread; threads l and l ^ 4 have the same.
GPU_DEVICE uint32_t row_of_thread() {
  const uint32_t lane = thread() % kWarp;
  return lane % 4 * 4 + ((lane & 16u) != 0 ? 2 : 0) + ((lane & 8u) != 0 ? 1 : 0);
}
GPU_DEVICE bool row_is_mine() {
  return (thread() & 4u) == 0;
}

}  // namespace
}  // namespace onebit::gpu
