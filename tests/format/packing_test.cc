#include "format/packing.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <random>
#include <set>
#include <vector>

#include "format/sparse_packing.h"

namespace onebit {
namespace {

constexpr std::array kTiled{Packing::kT2, Packing::kT1_6, Packing::kQ8};

/// The header comment's columns a block, as it says them.
uint64_t documented_columns(Packing packing) {
  return packing == Packing::kT2 ? 16 : packing == Packing::kT1_6 ? 20 : 4;
}

struct Case {
  Packing packing;
  uint64_t rows, columns;
  std::vector<int8_t> weights;  // [rows][columns]
};

int8_t largest(Packing packing) {
  return packing == Packing::kQ8 ? 127 : 1;
}

Case random_case(Packing packing, uint64_t rows, uint64_t columns, uint32_t seed) {
  Case c{packing, rows, columns, std::vector<int8_t>(rows * columns)};
  std::mt19937 random(seed);
  std::uniform_int_distribution<int> weight(-largest(packing), largest(packing));
  for (auto& w : c.weights) w = static_cast<int8_t>(weight(random));
  return c;
}

/// Packs group by group, the missing rows of the last one as zeros.
std::vector<std::byte> pack(const Case& c) {
  const uint64_t groups = (c.rows + 15) / 16;
  const uint64_t group_bytes = packed_bytes(c.packing, 16, c.columns);
  std::vector<std::byte> matrix(packed_bytes(c.packing, c.rows, c.columns), std::byte{0xee});
  EXPECT_EQ(matrix.size(), groups * group_bytes);
  auto padded = c.weights;
  padded.resize(groups * 16 * c.columns);
  for (uint64_t g = 0; g < groups; ++g)
    pack_rows16(c.packing, std::span(padded).subspan(g * 16 * c.columns, 16 * c.columns), c.columns,
                std::span(matrix).subspan(g * group_bytes, group_bytes));
  return matrix;
}

/// Where the header comment says that the weight at (row, column) stands: byte i of lane r of block b of
/// group g, field j, for row = 16 g + r and column = C b + 4 j + i.
struct Place {
  uint64_t byte, field;
};
Place documented_place(const Case& c, uint64_t row, uint64_t column) {
  const uint64_t per_block = documented_columns(c.packing);
  const uint64_t blocks = (c.columns + per_block - 1) / per_block;
  const uint64_t g = row / 16, r = row % 16, b = column / per_block;
  const uint64_t j = column % per_block / 4, i = column % 4;
  return {((g * blocks + b) * 16 + r) * 4 + i, j};
}

/// The comment at t1_6_encode, told once more: what the fifth trit and the first four make.
uint8_t documented_t1_6(const std::array<unsigned, 5>& t) {
  const unsigned n = t[0] + 3 * t[1] + 9 * t[2] + 27 * t[3];
  if (n < 64) return static_cast<uint8_t>(64 * t[4] + n);
  return static_cast<uint8_t>(192 + (n - 64) + 17 * t[4]);
}

Case arbitrary_case(Packing packing) {
  const auto rows = *rc::gen::inRange<uint64_t>(1, 70);
  const auto columns = *rc::gen::inRange<uint64_t>(1, 130);
  return random_case(packing, rows, columns, *rc::gen::arbitrary<uint32_t>());
}

class TiledPacking : public ::testing::TestWithParam<Packing> {};

TEST_P(TiledPacking, UnpacksWhatWasPacked) {
  EXPECT_TRUE(rc::check([&] {
    const auto c = arbitrary_case(GetParam());
    const auto matrix = pack(c);
    std::vector<int8_t> row(c.columns);
    for (uint64_t r = 0; r < c.rows; ++r) {
      std::fill(row.begin(), row.end(), int8_t{99});
      unpack_row(c.packing, matrix, c.columns, r, row);
      RC_ASSERT(std::equal(row.begin(), row.end(), c.weights.begin() + static_cast<int64_t>(r * c.columns)));
    }
    RC_ASSERT(first_invalid_block(c.packing, matrix, c.rows, c.columns) == -1);
  }));
}

TEST_P(TiledPacking, EveryWeightStandsWhereTheFormulaSays) {
  EXPECT_TRUE(rc::check([&] {
    const auto c = arbitrary_case(GetParam());
    const auto matrix = pack(c);
    std::vector<std::array<unsigned, 5>> trits(matrix.size(), {1, 1, 1, 1, 1});  // padding is weight 0
    std::vector<int8_t> bytes(matrix.size(), 0);
    for (uint64_t row = 0; row < c.rows; ++row)
      for (uint64_t column = 0; column < c.columns; ++column) {
        const auto place = documented_place(c, row, column);
        const int8_t weight = c.weights[row * c.columns + column];
        trits[place.byte][place.field] = static_cast<unsigned>(weight + 1);
        bytes[place.byte] = weight;
      }
    for (size_t i = 0; i < matrix.size(); ++i) {
      const auto& t = trits[i];
      const auto expected = c.packing == Packing::kQ8   ? static_cast<uint8_t>(bytes[i])
                            : c.packing == Packing::kT2 ? static_cast<uint8_t>(t[0] + 4 * t[1] + 16 * t[2] + 64 * t[3])
                                                        : documented_t1_6(t);
      RC_ASSERT(static_cast<uint8_t>(matrix[i]) == expected);
    }
  }));
}

/// Sets the field at (row, column), which may be padding, to a value that is wrong there.
void plant(const Case& c, std::vector<std::byte>& matrix, uint64_t row, uint64_t column, bool is_padding) {
  const auto place = documented_place(c, row, column);
  auto code = static_cast<unsigned>(matrix[place.byte]);
  if (c.packing == Packing::kQ8) {
    code = is_padding ? 1 : 0x80;
  } else if (c.packing == Packing::kT2) {
    const auto shift = static_cast<unsigned>(2 * place.field);
    code = (code & ~(3u << shift)) | (is_padding ? 2u : 3u) << shift;
  } else if (is_padding) {
    auto trits = t1_6_decode(static_cast<uint8_t>(code));
    trits[place.field] = 2;
    code = t1_6_encode(trits);
  } else {
    code = 0xf3 + static_cast<unsigned>((row + column) % 13);
  }
  matrix[place.byte] = static_cast<std::byte>(code);
}

TEST_P(TiledPacking, OneWrongCodeIsFoundInItsBlock) {
  EXPECT_TRUE(rc::check([&] {
    const auto c = arbitrary_case(GetParam());
    auto matrix = pack(c);
    // Anywhere in the padded shape: the corner past the last row and column too.
    const auto row = *rc::gen::inRange<uint64_t>(0, (c.rows + 15) / 16 * 16);
    const uint64_t per_block = documented_columns(c.packing);
    const auto column = *rc::gen::inRange<uint64_t>(0, (c.columns + per_block - 1) / per_block * per_block);
    plant(c, matrix, row, column, row >= c.rows || column >= c.columns);
    const auto block = static_cast<int64_t>(documented_place(c, row, column).byte / 64);
    RC_ASSERT(first_invalid_block(c.packing, matrix, c.rows, c.columns) == block);
  }));
}

TEST_P(TiledPacking, TheFirstOfTwoWrongBlocksIsTold) {
  const auto c = random_case(GetParam(), 40, 50, 3);
  auto matrix = pack(c);
  plant(c, matrix, 39, 49, false);
  plant(c, matrix, 17, 2, false);
  EXPECT_EQ(first_invalid_block(c.packing, matrix, c.rows, c.columns),
            static_cast<int64_t>(documented_place(c, 17, 2).byte / 64));
}

TEST_P(TiledPacking, NamesAndTilesAreThoseOfTheFormat) {
  EXPECT_EQ(columns_per_unit(GetParam()), documented_columns(GetParam()));
  EXPECT_EQ(blocks_per_unit(GetParam()), 1u);
  EXPECT_EQ(tile_of(GetParam()), Tile::kRows16);
  EXPECT_EQ(packing_by_name(name_of(GetParam())), GetParam());
}

INSTANTIATE_TEST_SUITE_P(All, TiledPacking, ::testing::ValuesIn(kTiled),
                         [](const auto& packing) { return std::string(name_of(packing.param)); });

// ---- s1_25

Case random_sparse_case(uint64_t rows, uint64_t columns, uint32_t seed) {
  Case c{Packing::kS1_25, rows, columns, std::vector<int8_t>(rows * columns)};
  std::mt19937 random(seed);
  for (size_t i = 0; i < c.weights.size(); i += 4) {
    for (size_t j = 0; j < 4; ++j) c.weights[i + j] = random() % 2 == 0 ? int8_t{-1} : int8_t{1};
    c.weights[i + random() % 4] = 0;
  }
  return c;
}

Case arbitrary_sparse_case() {
  return random_sparse_case(*rc::gen::inRange<uint64_t>(1, 70), 4 * *rc::gen::inRange<uint64_t>(1, 80),
                            *rc::gen::arbitrary<uint32_t>());
}

TEST(S1_25, UnpacksWhatWasPacked) {
  EXPECT_TRUE(rc::check([] {
    const auto c = arbitrary_sparse_case();
    const auto matrix = pack(c);
    RC_ASSERT(matrix.size() == (c.rows + 15) / 16 * ((c.columns + 127) / 128) * 320);
    std::vector<int8_t> row(c.columns);
    for (uint64_t r = 0; r < c.rows; ++r) {
      std::fill(row.begin(), row.end(), int8_t{99});
      unpack_row(c.packing, matrix, c.columns, r, row);
      RC_ASSERT(std::equal(row.begin(), row.end(), c.weights.begin() + static_cast<int64_t>(r * c.columns)));
    }
    RC_ASSERT(first_invalid_block(c.packing, matrix, c.rows, c.columns) == -1);
  }));
}

/// The header comment once more: bit b of the code of the columns 128 u + 16 v + 4 i … + 3 of a row.
struct Bit {
  uint64_t block, bit;
};
Bit documented_bit(uint64_t v, uint64_t b) {
  if (v < 5) return {v, b};
  if (b < 3) return {2 * (v - 5), 5 + b};
  if (v < 7) return {2 * (v - 5) + 1, 6 + b - 3};
  return {b == 3 ? 1u : 3u, 5};
}

TEST(S1_25, EveryBitStandsWhereTheCommentSays) {
  std::set<std::pair<uint64_t, uint64_t>> used;
  for (uint64_t v = 0; v < 8; ++v)
    for (uint64_t b = 0; b < 5; ++b) used.insert({documented_bit(v, b).block, documented_bit(v, b).bit});
  EXPECT_EQ(used.size(), 40u) << "each bit of five bytes holds one bit of eight codes";
  EXPECT_TRUE(rc::check([] {
    const auto c = arbitrary_sparse_case();
    const auto matrix = pack(c);
    std::vector<uint8_t> expected(matrix.size());
    const uint64_t units = (c.columns + 127) / 128;
    for (uint64_t row = 0; row < c.rows; ++row)
      for (uint64_t n = 0; n < c.columns / 4; ++n) {
        const auto code = s1_25::encode(&c.weights[row * c.columns + 4 * n]);
        const uint64_t u = n / 32, v = n % 32 / 4, i = n % 4;
        for (uint64_t b = 0; b < 5; ++b) {
          const auto [block, bit] = documented_bit(v, b);
          expected[((row / 16 * units + u) * 5 + block) * 64 + row % 16 * 4 + i] |=
              static_cast<uint8_t>((code >> b & 1) << bit);
        }
      }
    for (size_t i = 0; i < matrix.size(); ++i) RC_ASSERT(static_cast<uint8_t>(matrix[i]) == expected[i]);
  }));
}

TEST(S1_25, The32PatternsHave32Codes) {
  std::set<std::array<int8_t, 4>> patterns;
  for (uint8_t code = 0; code < 32; ++code) {
    const auto four = s1_25::decode(code);
    EXPECT_TRUE(s1_25::is_sparse(four.data()));
    EXPECT_EQ(s1_25::encode(four.data()), code);
    EXPECT_EQ(four[code & 3u], 0);
    patterns.insert(four);
  }
  EXPECT_EQ(patterns.size(), 32u);
}

TEST(S1_25, PaddingThatIsNotZeroIsFound) {
  EXPECT_TRUE(rc::check([] {
    const auto c = arbitrary_sparse_case();
    auto matrix = pack(c);
    const uint64_t units = (c.columns + 127) / 128;
    const auto row = *rc::gen::inRange<uint64_t>(0, (c.rows + 15) / 16 * 16);
    const auto n = *rc::gen::inRange<uint64_t>(0, units * 32), b = *rc::gen::inRange<uint64_t>(0, 5);
    const bool padding = row >= c.rows || 4 * n >= c.columns;
    const auto [block, bit] = documented_bit(n % 32 / 4, b);
    const uint64_t unit = row / 16 * units + n / 32;
    matrix[(unit * 5 + block) * 64 + row % 16 * 4 + n % 4] ^= std::byte{1} << static_cast<int>(bit);
    RC_ASSERT(first_invalid_block(c.packing, matrix, c.rows, c.columns) ==
              (padding ? static_cast<int64_t>(unit * 5) : -1));
  }));
}

TEST(S1_25, AsT2ItIsTheSameMatrix) {
  EXPECT_TRUE(rc::check([] {
    const auto c = arbitrary_sparse_case();
    auto t2 = c;
    t2.packing = Packing::kT2;
    RC_ASSERT(s1_25::to_t2(pack(c), c.rows, c.columns) == pack(t2));
  }));
}

TEST(S1_25, DenseWeightsAreMadeSparseWithFewChanges) {
  EXPECT_TRUE(rc::check([] {
    const auto before =
        random_case(Packing::kT2, 1, 4 * *rc::gen::inRange<uint64_t>(1, 50), *rc::gen::arbitrary<uint32_t>());
    auto after = before.weights;
    s1_25::Damage damage;
    s1_25::make_sparse(after, damage);
    uint64_t changed = 0, nonzero = 0, least = 0;
    for (size_t i = 0; i < after.size(); ++i) {
      changed += after[i] != before.weights[i];
      nonzero += before.weights[i] != 0;
    }
    for (size_t i = 0; i < after.size(); i += 4) {
      const auto zeros = std::count(before.weights.begin() + static_cast<int64_t>(i),
                                    before.weights.begin() + static_cast<int64_t>(i) + 4, int8_t{0});
      least += static_cast<uint64_t>(zeros == 0 ? 1 : zeros - 1);
      RC_ASSERT(s1_25::is_sparse(&after[i]));
    }
    RC_ASSERT(changed == least);
    RC_ASSERT(damage.changed_weights == changed);
    RC_ASSERT(damage.nonzero == nonzero);
    RC_ASSERT(damage.weights == after.size());
  }));
}

TEST(T1_6, The243CombinationsHave243CodesAndTheOther13AreInvalid) {
  std::set<uint8_t> codes;
  for (unsigned n = 0; n < 243; ++n) {
    const std::array<unsigned, 5> digits{n % 3, n / 3 % 3, n / 9 % 3, n / 27 % 3, n / 81};
    std::array<uint8_t, 5> trits{};
    std::copy(digits.begin(), digits.end(), trits.begin());
    const uint8_t code = t1_6_encode(trits);
    EXPECT_EQ(code, documented_t1_6(digits));
    EXPECT_TRUE(t1_6_valid(code)) << n;
    EXPECT_EQ(t1_6_decode(code), trits) << n;
    codes.insert(code);
  }
  EXPECT_EQ(codes.size(), 243u);
  for (unsigned code = 0; code < 256; ++code) {
    const auto byte = static_cast<uint8_t>(code);
    EXPECT_EQ(t1_6_valid(byte), codes.contains(byte)) << code;
    EXPECT_EQ(t1_6_valid(byte), code < 0xf3) << code;
    if (!t1_6_valid(byte)) {
      EXPECT_EQ(t1_6_decode(byte), (std::array<uint8_t, 5>{1, 1, 1, 1, 1})) << code;
    }
  }
}

TEST(Packing, InvalidCodesUnpackToSomethingFromMinus1To2) {
  for (const auto packing : {Packing::kT2, Packing::kT1_6}) {
    std::vector<std::byte> block(64);
    for (unsigned code = 0; code < 256; ++code) {
      std::fill(block.begin(), block.end(), static_cast<std::byte>(code));
      std::vector<int8_t> row(documented_columns(packing));
      unpack_row(packing, block, row.size(), 7, row);
      for (const int8_t weight : row) {
        EXPECT_GE(weight, -1);
        EXPECT_LE(weight, 2);
      }
    }
  }
}

TEST(Packing, SizesOfThe2BModelsMatrices) {
  struct Expected {
    uint64_t rows, columns, t2, t1_6, q8;
  };
  // 16 rows of t2 take 64 bytes for 16 columns, of t1_6 for 20, of q8 for 4.
  for (const auto& e :
       {Expected{2560, 2560, 1638400, 1310720, 6553600}, Expected{640, 2560, 409600, 327680, 1638400},
        Expected{6912, 2560, 4423680, 3538944, 17694720}, Expected{2560, 6912, 4423680, 160 * 346 * 64, 17694720},
        Expected{128256, 2560, 82083840, 65667072, 328335360}, Expected{1, 1, 64, 64, 64},
        Expected{17, 21, 2 * 2 * 64, 2 * 2 * 64, 2 * 6 * 64}}) {
    EXPECT_EQ(packed_bytes(Packing::kT2, e.rows, e.columns), e.t2) << e.rows << " x " << e.columns;
    EXPECT_EQ(packed_bytes(Packing::kT1_6, e.rows, e.columns), e.t1_6) << e.rows << " x " << e.columns;
    EXPECT_EQ(packed_bytes(Packing::kQ8, e.rows, e.columns), e.q8) << e.rows << " x " << e.columns;
    EXPECT_EQ(packed_bytes(Packing::kBf16, e.rows, e.columns), 2 * e.rows * e.columns);
    EXPECT_EQ(packed_bytes(Packing::kF16, e.rows, e.columns), 2 * e.rows * e.columns);
    EXPECT_EQ(packed_bytes(Packing::kF32, e.rows, e.columns), 4 * e.rows * e.columns);
  }
}

TEST(Packing, SizesOfTheLargestShapesDoNotOverflow) {
  constexpr uint64_t kHuge = uint64_t{1} << 31;
  EXPECT_EQ(packed_bytes(Packing::kQ8, kHuge, kHuge), uint64_t{1} << 62);
  EXPECT_EQ(packed_bytes(Packing::kT2, kHuge, kHuge), uint64_t{1} << 60);
}

TEST(Packing, ScaleCountsAreOneATensorAPaddedRowOrAPaddedRowAndGroup) {
  EXPECT_EQ(scale_count(ScaleGranularity::kNone, 100, 100, 0), 0u);
  EXPECT_EQ(scale_count(ScaleGranularity::kTensor, 100, 100, 0), 1u);
  EXPECT_EQ(scale_count(ScaleGranularity::kRow, 100, 100, 0), 112u);
  EXPECT_EQ(scale_count(ScaleGranularity::kRow, 128256, 2560, 0), 128256u);
  EXPECT_EQ(scale_count(ScaleGranularity::kGroup, 100, 100, 32), 112u * 4);
  EXPECT_EQ(scale_count(ScaleGranularity::kGroup, 2560, 6912, 128), 2560u * 54);
  EXPECT_EQ(scale_count(ScaleGranularity::kGroup, 16, 33, 32), 32u);
}

TEST(Packing, UnknownNamesAndIdsAreRefused) {
  EXPECT_FALSE(packing_by_name("s1_58").has_value());
  EXPECT_FALSE(packing_by_name("").has_value());
  for (const uint32_t id : {0u, 8u, 0xffffffffu}) EXPECT_FALSE(is_known(static_cast<Packing>(id))) << id;
}

}  // namespace
}  // namespace onebit
