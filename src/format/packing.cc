#include "format/packing.h"

#include <algorithm>
#include <cstring>

#include "format/sparse_packing.h"

namespace onebit {
namespace {

struct PackingInfo {
  Packing packing;
  std::string_view name;
  Tile tile;
  uint64_t columns;        // per unit (tiled)
  uint64_t element_bytes;  // row-major
  uint64_t blocks = 1;     // per unit (tiled)
};

constexpr std::array kPackings{
    PackingInfo{Packing::kT2, "t2", Tile::kRows16, 16, 0},
    PackingInfo{Packing::kT1_6, "t1_6", Tile::kRows16, 20, 0},
    PackingInfo{Packing::kS1_25, "s1_25", Tile::kRows16, s1_25::kUnitColumns, 0, s1_25::kUnitBlocks},
    PackingInfo{Packing::kQ8, "q8", Tile::kRows16, 4, 0},
    PackingInfo{Packing::kF16, "f16", Tile::kRowMajor, 1, 2},
    PackingInfo{Packing::kBf16, "bf16", Tile::kRowMajor, 1, 2},
    PackingInfo{Packing::kF32, "f32", Tile::kRowMajor, 1, 4},
};

const PackingInfo* find(Packing packing) {
  const auto* it = std::find_if(kPackings.begin(), kPackings.end(), [&](auto& p) { return p.packing == packing; });
  return it == kPackings.end() ? nullptr : it;
}

constexpr uint64_t round_up(uint64_t value, uint64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

/// Stored byte -> up to five int8 weights, column order j. One table per ternary packing.
using DecodeTable = std::array<std::array<int8_t, 8>, 256>;

DecodeTable make_table(Packing packing) {
  DecodeTable table{};
  for (unsigned code = 0; code < 256; ++code) {
    if (packing == Packing::kT2) {
      for (unsigned j = 0; j < 4; ++j) table[code][j] = static_cast<int8_t>(((code >> (2 * j)) & 3u)) - 1;
    } else {
      const auto trits = t1_6_decode(static_cast<uint8_t>(code));
      for (unsigned j = 0; j < 5; ++j) table[code][j] = static_cast<int8_t>(trits[j] - 1);
    }
  }
  return table;
}

const DecodeTable& decode_table(Packing packing) {
  static const DecodeTable t2 = make_table(Packing::kT2);
  static const DecodeTable t1_6 = make_table(Packing::kT1_6);
  return packing == Packing::kT2 ? t2 : t1_6;
}

/// The byte whose column j is weight(j), for j below `fields`.
template <class WeightAt>
std::byte encode_byte(Packing packing, WeightAt weight) {
  const auto trit = [&](uint64_t j) { return static_cast<uint8_t>(weight(j) + 1); };
  switch (packing) {
    case Packing::kT2:
      return static_cast<std::byte>(trit(0) | trit(1) << 2 | trit(2) << 4 | trit(3) << 6);
    case Packing::kT1_6:
      return static_cast<std::byte>(t1_6_encode({trit(0), trit(1), trit(2), trit(3), trit(4)}));
    default:
      return static_cast<std::byte>(weight(0));
  }
}

/// True where `code` is valid and the fields from column `first` on in steps of 4, past `columns`, are 0.
bool sound(Packing packing, uint8_t code, uint64_t first, uint64_t columns, bool row_exists) {
  if (packing == Packing::kQ8) {
    const bool padding = !row_exists || first >= columns;
    return padding ? code == 0 : code != 0x80;
  }
  if (packing == Packing::kT1_6 && !t1_6_valid(code)) return false;
  const auto& weights = decode_table(packing)[code];
  const uint64_t fields = columns_per_unit(packing) / 4;
  for (uint64_t j = 0; j < fields; ++j) {
    if (weights[j] > 1) return false;
    if ((!row_exists || first + 4 * j >= columns) && weights[j] != 0) return false;
  }
  return true;
}

}  // namespace

std::string_view name_of(Packing packing) {
  const auto* info = find(packing);
  return info != nullptr ? info->name : "unknown";
}

Result<Packing> packing_by_name(std::string_view name) {
  for (const auto& info : kPackings)
    if (info.name == name) return info.packing;
  return fail("unknown packing '{}': known are t2, t1_6, s1_25, q8, f16, bf16, f32", name);
}

bool is_known(Packing packing) {
  return find(packing) != nullptr;
}
bool is_ternary(Packing packing) {
  return packing == Packing::kT2 || packing == Packing::kT1_6 || packing == Packing::kS1_25;
}
Tile tile_of(Packing packing) {
  return find(packing)->tile;
}
uint64_t columns_per_unit(Packing packing) {
  return find(packing)->columns;
}
uint64_t blocks_per_unit(Packing packing) {
  return find(packing)->blocks;
}

uint64_t padded_rows(Packing packing, uint64_t rows) {
  return tile_of(packing) == Tile::kRows16 ? round_up(rows, kTileRows) : rows;
}

uint64_t padded_columns(Packing packing, uint64_t columns) {
  return round_up(columns, columns_per_unit(packing));
}

uint64_t packed_bytes(Packing packing, uint64_t rows, uint64_t columns) {
  if (tile_of(packing) == Tile::kRowMajor) return rows * columns * find(packing)->element_bytes;
  return padded_rows(packing, rows) / kTileRows * (padded_columns(packing, columns) / columns_per_unit(packing)) *
         blocks_per_unit(packing) * kBlockBytes;
}

uint64_t scale_count(ScaleGranularity granularity, uint64_t rows, uint64_t columns, uint64_t group) {
  switch (granularity) {
    case ScaleGranularity::kNone:
      return 0;
    case ScaleGranularity::kTensor:
      return 1;
    case ScaleGranularity::kRow:
      return round_up(rows, kTileRows);
    case ScaleGranularity::kGroup:
      return round_up(rows, kTileRows) * ((columns + group - 1) / group);
  }
  return 0;
}

void pack_rows16(Packing packing, std::span<const int8_t> weights, uint64_t columns, std::span<std::byte> out) {
  if (packing == Packing::kS1_25) return s1_25::pack_rows16(weights, columns, out);
  const uint64_t per_block = columns_per_unit(packing);
  const uint64_t blocks = padded_columns(packing, columns) / per_block;
  for (uint64_t b = 0; b < blocks; ++b)
    for (uint64_t r = 0; r < kTileRows; ++r)
      for (uint64_t i = 0; i < 4; ++i) {
        const auto weight = [&](uint64_t j) -> int8_t {
          const uint64_t column = per_block * b + 4 * j + i;
          return column < columns ? weights[r * columns + column] : int8_t{0};
        };
        out[(b * kTileRows + r) * 4 + i] = encode_byte(packing, weight);
      }
}

void unpack_row(Packing packing, std::span<const std::byte> matrix, uint64_t columns, uint64_t row,
                std::span<int8_t> out) {
  if (packing == Packing::kS1_25) return s1_25::unpack_row(matrix, columns, row, out);
  const uint64_t per_block = columns_per_unit(packing);
  const uint64_t blocks = padded_columns(packing, columns) / per_block;
  const std::byte* lane = matrix.data() + row / kTileRows * blocks * kBlockBytes + row % kTileRows * 4;
  if (packing == Packing::kQ8) {
    for (uint64_t column = 0; column < columns; column += 4, lane += kBlockBytes)
      std::memcpy(&out[column], lane, std::min<uint64_t>(4, columns - column));
    return;
  }
  const auto& table = decode_table(packing);
  const uint64_t fields = per_block / 4;
  for (uint64_t b = 0; b < blocks; ++b, lane += kBlockBytes) {
    const uint64_t first = per_block * b;
    if (first + per_block <= columns) {
      for (uint64_t i = 0; i < 4; ++i) {
        const auto& weights = table[static_cast<uint8_t>(lane[i])];
        for (uint64_t j = 0; j < fields; ++j) out[first + 4 * j + i] = weights[j];
      }
    } else {  // the last block of a row whose length is no multiple of the block's
      for (uint64_t i = 0; i < 4; ++i)
        for (uint64_t j = 0; j < fields && first + 4 * j + i < columns; ++j)
          out[first + 4 * j + i] = table[static_cast<uint8_t>(lane[i])][j];
    }
  }
}

int64_t first_invalid_block(Packing packing, std::span<const std::byte> matrix, uint64_t rows, uint64_t columns) {
  if (packing == Packing::kS1_25) return s1_25::first_invalid_block(matrix, rows, columns);
  const uint64_t per_block = columns_per_unit(packing);
  const uint64_t blocks = padded_columns(packing, columns) / per_block;
  const uint64_t count = matrix.size() / kBlockBytes;
  for (uint64_t block = 0; block < count; ++block)
    for (uint64_t byte = 0; byte < kBlockBytes; ++byte) {
      const uint64_t row = block / blocks * kTileRows + byte / 4;
      const uint64_t first = block % blocks * per_block + byte % 4;
      const auto code = static_cast<uint8_t>(matrix[block * kBlockBytes + byte]);
      if (!sound(packing, code, first, columns, row < rows)) return static_cast<int64_t>(block);
    }
  return -1;
}

uint8_t t1_6_encode(const std::array<uint8_t, 5>& trits) {
  const auto index = static_cast<unsigned>(trits[0] + 3 * trits[1] + 9 * trits[2] + 27 * trits[3]);
  const unsigned fifth = trits[4];
  return static_cast<uint8_t>(index < 64 ? (fifth << 6 | index) : (0xC0u | ((index - 64) + 17 * fifth)));
}

std::array<uint8_t, 5> t1_6_decode(uint8_t code) {
  if (!t1_6_valid(code)) return {1, 1, 1, 1, 1};
  unsigned index = code & 63u;
  unsigned fifth = code >> 6;
  if (fifth == 3) {
    fifth = index / 17;
    index = 64 + index % 17;
  }
  return {static_cast<uint8_t>(index % 3), static_cast<uint8_t>(index / 3 % 3), static_cast<uint8_t>(index / 9 % 3),
          static_cast<uint8_t>(index / 27), static_cast<uint8_t>(fifth)};
}

}  // namespace onebit
