// s1_25: 3:4 sparse ternary weights, of every four side by side exactly one zero, in five bits (packing.h has the
// layout).
//
// A code of four weights w0 … w3, of which w_z is the zero: z in the bits 0 and 1; then the signs of the other three,
// ascending, in the bits 2 to 4, set for +1.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"

namespace onebit::s1_25 {

inline constexpr uint64_t kGroup = 4;  // weights a code stands for
inline constexpr uint64_t kUnitColumns = 128;
inline constexpr uint64_t kUnitBlocks = 5;

/// Whether exactly one of four ternary weights is zero.
inline bool is_sparse(const int8_t* four) {
  return (four[0] == 0) + (four[1] == 0) + (four[2] == 0) + (four[3] == 0) == 1;
}

/// The code (0 … 31) of four weights, one of them zero.
uint8_t encode(const int8_t* four);
std::array<int8_t, 4> decode(uint8_t code);

/// What becomes of dense ternary weights that are made 3:4 sparse although their model was not trained so.
struct Damage {
  uint64_t weights = 0, groups = 0;
  uint64_t changed_weights = 0, changed_groups = 0;
  uint64_t nonzero = 0;  // weights before
  /// |change| / |weights|, Euclidean: 0 where nothing changes.
  double relative_error() const;
};

/// Makes each group of four in `weights` 3:4 sparse where it is not, and counts that. Of groups without a zero the last
/// weight becomes zero; of several zeros the first stays, and the others become -1 and +1 by turns.
void make_sparse(std::span<int8_t> weights, Damage& damage);

/// See packing.h, whose functions call these.
void pack_rows16(std::span<const int8_t> weights, uint64_t columns, std::span<std::byte> out);
void unpack_row(std::span<const std::byte> matrix, uint64_t columns, uint64_t row, std::span<int8_t> out);
/// The same matrix packed as t2.
std::vector<std::byte> to_t2(std::span<const std::byte> matrix, uint64_t rows, uint64_t columns);
int64_t first_invalid_block(std::span<const std::byte> matrix, uint64_t rows, uint64_t columns);

}  // namespace onebit::s1_25
