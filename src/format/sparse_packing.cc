#include "format/sparse_packing.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "format/packing.h"

namespace onebit::s1_25 {
namespace {

constexpr uint64_t kUnitBytes = kUnitBlocks * kBlockBytes;
constexpr uint64_t kCodes = kUnitColumns / kGroup;

/// What a row has in a unit, as four bytes of each of five blocks.
using Lane = std::array<std::array<uint8_t, 4>, kUnitBlocks>;

Lane load(const std::byte* unit, uint64_t row) {
  Lane lane;
  for (uint64_t k = 0; k < kUnitBlocks; ++k) std::memcpy(lane[k].data(), unit + k * kBlockBytes + row * 4, 4);
  return lane;
}

void store(const Lane& lane, std::byte* unit, uint64_t row) {
  for (uint64_t k = 0; k < kUnitBlocks; ++k) std::memcpy(unit + k * kBlockBytes + row * 4, lane[k].data(), 4);
}

/// Code n is that of the columns 4 n … 4 n + 3 of the unit.
uint8_t code_at(const Lane& lane, uint64_t n) {
  const uint64_t v = n / 4, i = n % 4;
  const auto at = [&](uint64_t block) { return unsigned{lane[block][i]}; };
  const auto code = v < 5    ? at(v)
                    : v == 5 ? at(0) >> 5 | at(1) >> 6 << 3
                    : v == 6 ? at(2) >> 5 | at(3) >> 6 << 3
                             : at(4) >> 5 | (at(1) >> 5 & 1) << 3 | (at(3) >> 5 & 1) << 4;
  return static_cast<uint8_t>(code & 31u);
}

void set_code(Lane& lane, uint64_t n, unsigned code) {
  const uint64_t v = n / 4, i = n % 4;
  const auto add = [&](uint64_t block, unsigned bits) { lane[block][i] |= static_cast<uint8_t>(bits); };
  if (v < 5) return add(v, code);
  add(2 * (v - 5), (code & 7) << 5);
  if (v < 7) return add(2 * (v - 5) + 1, code >> 3 << 6);
  add(1, (code >> 3 & 1) << 5);
  add(3, code >> 4 << 5);
}

uint64_t units_of(uint64_t columns) {
  return (columns + kUnitColumns - 1) / kUnitColumns;
}

}  // namespace

uint8_t encode(const int8_t* four) {
  unsigned zero = 0;
  while (zero < 3 && four[zero] != 0) ++zero;
  unsigned code = zero, bit = 4;
  for (unsigned i = 0; i < 4; ++i) {
    if (i == zero) continue;
    if (four[i] > 0) code |= bit;
    bit *= 2;
  }
  return static_cast<uint8_t>(code);
}

std::array<int8_t, 4> decode(uint8_t code) {
  const unsigned zero = code & 3u;
  std::array<int8_t, 4> four{};
  unsigned bit = 4;
  for (unsigned i = 0; i < 4; ++i) {
    if (i == zero) continue;
    four[i] = (code & bit) != 0 ? int8_t{1} : int8_t{-1};
    bit *= 2;
  }
  return four;
}

double Damage::relative_error() const {
  return nonzero == 0 ? 0 : std::sqrt(static_cast<double>(changed_weights) / static_cast<double>(nonzero));
}

void make_sparse(std::span<int8_t> weights, Damage& damage) {
  damage.weights += weights.size();
  damage.groups += weights.size() / kGroup;
  for (size_t at = 0; at + kGroup <= weights.size(); at += kGroup) {
    int8_t* four = &weights[at];
    damage.nonzero += static_cast<uint64_t>(kGroup - std::count(four, four + kGroup, int8_t{0}));
    if (is_sparse(four)) continue;
    ++damage.changed_groups;
    int8_t* first = std::find(four, four + kGroup, int8_t{0});
    if (first == four + kGroup) {
      four[kGroup - 1] = 0;
      ++damage.changed_weights;
      continue;
    }
    for (int8_t* w = first + 1; w < four + kGroup; ++w)
      if (*w == 0) *w = damage.changed_weights++ % 2 == 0 ? int8_t{-1} : int8_t{1};
  }
}

void pack_rows16(std::span<const int8_t> weights, uint64_t columns, std::span<std::byte> out) {
  for (uint64_t u = 0; u < units_of(columns); ++u)
    for (uint64_t r = 0; r < kTileRows; ++r) {
      Lane lane{};
      for (uint64_t n = 0; n < kCodes && u * kUnitColumns + n * kGroup < columns; ++n) {
        const int8_t* four = &weights[r * columns + u * kUnitColumns + n * kGroup];
        const bool there = std::any_of(four, four + kGroup, [](int8_t w) { return w != 0; });
        if (there) set_code(lane, n, encode(four));
      }
      store(lane, out.data() + u * kUnitBytes, r);
    }
}

void unpack_row(std::span<const std::byte> matrix, uint64_t columns, uint64_t row, std::span<int8_t> out) {
  const std::byte* unit = matrix.data() + row / kTileRows * units_of(columns) * kUnitBytes;
  for (uint64_t first = 0; first < columns; first += kUnitColumns, unit += kUnitBytes) {
    const auto lane = load(unit, row % kTileRows);
    for (uint64_t n = 0; n < kCodes && first + n * kGroup < columns; ++n) {
      const auto four = decode(code_at(lane, n));
      std::copy(four.begin(), four.end(), &out[first + n * kGroup]);
    }
  }
}

std::vector<std::byte> to_t2(std::span<const std::byte> matrix, uint64_t rows, uint64_t columns) {
  // t2 has columns 4 j + i at byte i, field j; a code has four columns 4 j … 4 j + 3, so one field of each byte.
  std::array<uint32_t, 32> words{};
  for (uint8_t code = 0; code < 32; ++code)
    for (unsigned i = 0; i < 4; ++i) words[code] |= static_cast<uint32_t>(decode(code)[i] + 1) << 8 * i;
  constexpr uint32_t kZeros = 0x01010101;  // four weights of 0
  const uint64_t units = units_of(columns), blocks = padded_columns(Packing::kT2, columns) / 16;
  std::vector<std::byte> out(packed_bytes(Packing::kT2, rows, columns));
  for (uint64_t row = 0; row < padded_rows(Packing::kT2, rows); ++row) {
    const std::byte* unit = matrix.data() + row / kTileRows * units * kUnitBytes;
    std::byte* to = out.data() + row / kTileRows * blocks * kBlockBytes + row % kTileRows * 4;
    Lane lane{};
    for (uint64_t b = 0; b < blocks; ++b, to += kBlockBytes) {
      if (b % 8 == 0) lane = load(unit + b / 8 * kUnitBytes, row % kTileRows);
      uint32_t word = 0;
      for (uint64_t j = 0; j < 4; ++j) {
        const bool there = row < rows && 16 * b + 4 * j < columns;
        word |= (there ? words[code_at(lane, b % 8 * 4 + j)] : kZeros) << 2 * j;
      }
      std::memcpy(to, &word, sizeof word);
    }
  }
  return out;
}

int64_t first_invalid_block(std::span<const std::byte> matrix, uint64_t rows, uint64_t columns) {
  const uint64_t units = units_of(columns);
  for (uint64_t u = 0; u < matrix.size() / kUnitBytes; ++u)
    for (uint64_t r = 0; r < kTileRows; ++r) {
      const auto lane = load(matrix.data() + u * kUnitBytes, r);
      const bool row_exists = u / units * kTileRows + r < rows;
      const uint64_t codes = !row_exists ? 0 : std::min(kCodes, (columns - u % units * kUnitColumns) / kGroup);
      for (uint64_t n = codes; n < kCodes; ++n)
        if (code_at(lane, n) != 0) return static_cast<int64_t>(u * kUnitBlocks);
    }
  return -1;
}

}  // namespace onebit::s1_25
