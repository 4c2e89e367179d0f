// Every bit layout of a stored matrix, defined once. docs/h1b.md shows the same in pictures.
//
// Matrices are [rows = outputs][columns = inputs]. Ternary and int8 packings are tiled so that no
// kernel repacks anything: 16 rows form a group; a group is a run of 64-byte blocks; a block holds for
// each of its 16 rows one lane of 4 bytes, so that a 512-bit register is one block and a 32-bit lane
// one row, whose products with broadcast activations need no horizontal sum. A group is contiguous, so
// a matrix divides among threads or devices at group boundaries.
//
//   byte i (0..3) of lane r (0..15) of block b of group g: offset ((g · blocks + b) · 16 + r) · 4 + i
//   holds of row 16 g + r the columns  C b + 4 j + i,  j = 0 … C/4 - 1  (C columns a block)
//
//   t2    C = 16   bits 2j..2j+1 = weight + 1 (0, 1, 2; 3 is invalid)
//   t1_6  C = 20   five trits, 243 = 3·64 + 51 codes: see t1_6_encode
//   q8    C = 4    two's complement int8 in -127..127
//
// s1_25 is for 3:4 sparse matrices: of every four columns 4 n … 4 n + 3 of a row exactly one weight is zero, which
// makes 4·2³ = 32 patterns, codes of five bits (sparse_packing.h). Its unit u is five blocks, 128 columns. Byte i of a
// row's lane has in the five blocks the codes v = 0 … 7 of the columns 128 u + 16 v + 4 i … + 3: codes 0 to 4 in the
// bits 0 to 4 of the blocks 0 to 4; of the others the bits 0 to 2 in the bits 5 to 7 of the blocks 0, 2 and 4; the bits
// 3 and 4 of code 5 in the bits 6 and 7 of block 1, of code 6 in those of block 3; bit 3 of code 7 in bit 5 of block 1,
// bit 4 in that of block 3.
//
// Rows are padded to 16 and columns to C (s1_25: 128) with the weight 0 (s1_25: with the code 0, which activations of 0
// meet). f16, bf16 and f32 are plain row-major. Scales (float32) follow the matrix at the next multiple of 64 bytes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/result.h"

namespace onebit {

enum class Packing : uint32_t {
  kT2 = 1,     // 2 bits a weight
  kT1_6 = 2,   // five trits a byte: 1.6 bits a weight
  kS1_25 = 3,  // 3:4 sparse, five bits for four weights: 1.25 bits a weight
  kQ8 = 4,
  kF16 = 5,
  kBf16 = 6,
  kF32 = 7,
};

enum class Tile : uint32_t {
  kRowMajor = 0,  // f16, bf16, f32
  kRows16 = 1,    // the 64-byte blocks above
};

/// How many weights share a float32 scale. Stored order: [row group of 16][column group][row in group]
/// for kRow (one column group) and kGroup; a single value for kTensor.
enum class ScaleGranularity : uint32_t { kNone = 0, kTensor = 1, kRow = 2, kGroup = 3 };

inline constexpr uint64_t kTileRows = 16;
inline constexpr uint64_t kBlockBytes = 64;

std::string_view name_of(Packing packing);
Result<Packing> packing_by_name(std::string_view name);
bool is_known(Packing packing);
bool is_ternary(Packing packing);
Tile tile_of(Packing packing);

/// A row group is a run of units. Columns in a unit of a tiled packing: 16, 20, 128 or 4; 1 for row-major ones.
uint64_t columns_per_unit(Packing packing);
/// 64-byte blocks in a unit: 1, of s1_25 five.
uint64_t blocks_per_unit(Packing packing);
uint64_t padded_rows(Packing packing, uint64_t rows);
uint64_t padded_columns(Packing packing, uint64_t columns);
/// Bytes of the packed matrix without its scales. Dimensions up to 2^31 do not overflow.
uint64_t packed_bytes(Packing packing, uint64_t rows, uint64_t columns);
/// Number of float32 scales. `group` is the number of columns a scale serves (kGroup only).
uint64_t scale_count(ScaleGranularity granularity, uint64_t rows, uint64_t columns, uint64_t group);
/// Where the scales begin, counted from the beginning of the matrix.
inline uint64_t scales_offset(uint64_t matrix_bytes) {
  return (matrix_bytes + 63) / 64 * 64;
}

/// Packs one group of 16 rows. `weights` is [16][columns], int8: -1, 0, 1 for a ternary packing (for s1_25
/// 3:4 sparse, or four zeros where there is no row), else the q8 values; `out` receives packed_bytes(packing, 16,
/// columns) bytes.
void pack_rows16(Packing packing, std::span<const int8_t> weights, uint64_t columns, std::span<std::byte> out);

/// The inverse for one row of a whole packed matrix: `out` receives `columns` values. Invalid codes
/// become some value in -1..2; find them with first_invalid_block.
void unpack_row(Packing packing, std::span<const std::byte> matrix, uint64_t columns, uint64_t row,
                std::span<int8_t> out);

/// Index of the first block that holds an invalid code or a padding weight other than 0 (of s1_25 a padding code, found
/// with its unit's first block; of q8, the value -128 too); -1 where all are sound. For tiled packings only.
int64_t first_invalid_block(Packing packing, std::span<const std::byte> matrix, uint64_t rows, uint64_t columns);

/// The byte of five trits (each weight + 1, trits[j] for column C b + 4 j + i). The fifth trit, if the
/// first four make an index n = t0 + 3 t1 + 9 t2 + 27 t3 below 64, stands in the top two bits and n in
/// the low six; the other 17 · 3 = 51 combinations have the top two bits set and, in the low six,
/// (n - 64) + 17 t4. A decoder needs one comparison and three small tables.
uint8_t t1_6_encode(const std::array<uint8_t, 5>& trits);
/// Codes 0xF3..0xFF are invalid; they decode to five trits of 1 (weight 0).
std::array<uint8_t, 5> t1_6_decode(uint8_t code);
inline bool t1_6_valid(uint8_t code) {
  return code < 0xC0 + 51;
}

}  // namespace onebit
