// Each block layout against bytes that the test packs itself, by the table in docs/gguf.md.
#include "format/import/gguf_blocks.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>

#include "base/half.h"
#include "tests/support/expect_error.h"
#include "tests/support/gguf_edit.h"
#include "tests/support/hostile_cases.h"

namespace onebit {
namespace {

using gguf::Type;
using test::raw;

/// A tensor over bytes of the test's own.
struct Owned {
  std::string bytes;
  GgufTensor tensor;

  Owned(const gguf::TypeInfo& info, uint64_t columns, uint64_t rows, std::string data) : bytes(std::move(data)) {
    tensor.type = static_cast<uint32_t>(info.type);
    tensor.info = &info;
    tensor.shape = {columns, rows};
    tensor.bytes = std::as_bytes(std::span(bytes));
  }
  Owned(const Owned&) = delete;
};

struct Row {
  std::vector<int8_t> trits;
  std::vector<float> scales;
  Status status;
};
Row decode(const GgufTensor& tensor, uint64_t row) {
  const uint64_t block = ternary_block(*tensor.info);
  Row out{std::vector<int8_t>(tensor.columns()), std::vector<float>((tensor.columns() + block - 1) / block), {}};
  out.status = decode_ternary_row(tensor, row, out.trits, out.scales);
  return out;
}

std::vector<int8_t> any_trits(size_t n) {
  return *rc::gen::container<std::vector<int8_t>>(
      n, rc::gen::map(rc::gen::inRange(-1, 2), [](int w) { return static_cast<int8_t>(w); }));
}
/// Bits of a finite half above 0.
uint16_t any_half() {
  return static_cast<uint16_t>(*rc::gen::inRange(1, 0x7c00));
}

/// 256 weights as five digits a byte.
std::string pack_tq1_0(const int8_t* w, uint16_t half) {
  std::string out;
  const auto byte = [&](std::initializer_list<int> elements) {
    int number = 0, digits = 0;
    for (const int e : elements) number = number * 3 + w[e] + 1, ++digits;
    for (; digits < 5; ++digits) number *= 3;
    out += static_cast<char>(static_cast<uint8_t>(std::ceil(number * 256.0 / 243.0)));
  };
  for (int m = 0; m < 32; ++m) byte({m, m + 32, m + 64, m + 96, m + 128});
  for (int m = 160; m < 176; ++m) byte({m, m + 16, m + 32, m + 48, m + 64});
  for (int m = 240; m < 244; ++m) byte({m, m + 4, m + 8, m + 12});
  return out + raw(half);
}

std::string pack_tq2_0(const int8_t* w, uint16_t half) {
  std::string out(64, '\0');
  for (int e = 0; e < 256; ++e) out[32 * (e / 128) + e % 32] |= static_cast<char>((w[e] + 1) << 2 * (e % 128 / 32));
  return out + raw(half);
}

std::string pack_q2_0(const int8_t* w, int n, uint16_t half) {
  std::string out(n / 4, '\0');
  for (int e = 0; e < n; ++e) out[e / 4] |= static_cast<char>((w[e] + 1) << 2 * (e % 4));
  return raw(half) + out;
}

std::string pack_i2_s(const int8_t* w, size_t n) {
  std::string out(n / 4, '\0');
  for (size_t e = 0; e < n; ++e)
    out[e / 128 * 32 + e % 32] |= static_cast<char>((w[e] + 1) << (6 - 2 * (e % 128 / 32)));
  return out;
}

RC_GTEST_PROP(GgufBlocks, TernaryBlocksReadBack, ()) {
  struct Layout {
    const gguf::TypeInfo& info;
    std::function<std::string(const int8_t*, uint16_t)> pack;
  };
  const Layout layouts[] = {
      {gguf::info_of(Type::kTq1_0), pack_tq1_0},
      {gguf::info_of(Type::kTq2_0), pack_tq2_0},
      {gguf::info_of(Type::kQ2_0), [](const int8_t* w, uint16_t half) { return pack_q2_0(w, 64, half); }},
      {gguf::q2_0_of_128(), [](const int8_t* w, uint16_t half) { return pack_q2_0(w, 128, half); }}};
  const uint64_t rows = *rc::gen::inRange(1, 3), blocks = *rc::gen::inRange(1, 4);
  for (const auto& layout : layouts) {
    const uint64_t columns = blocks * layout.info.block;
    const auto weights = any_trits(rows * columns);
    std::string bytes;
    std::vector<uint16_t> halves;
    for (uint64_t b = 0; b < rows * blocks; ++b) {
      halves.push_back(any_half());
      bytes += layout.pack(&weights[b * layout.info.block], halves.back());
    }
    const Owned owned(layout.info, columns, rows, bytes);
    for (uint64_t row = 0; row < rows; ++row) {
      const auto got = decode(owned.tensor, row);
      RC_ASSERT(got.status.has_value());
      RC_ASSERT(
          std::equal(got.trits.begin(), got.trits.end(), weights.begin() + static_cast<std::ptrdiff_t>(row * columns)));
      for (uint64_t b = 0; b < blocks; ++b) RC_ASSERT(got.scales[b] == half_to_float(halves[row * blocks + b]));
    }
  }
}

RC_GTEST_PROP(GgufBlocks, I2sReadsBack, ()) {
  const uint64_t rows = *rc::gen::inRange(1, 4), columns = 128 * *rc::gen::inRange<uint64_t>(1, 4);
  const auto weights = any_trits(rows * columns);
  const float scale = static_cast<float>(*rc::gen::inRange(1, 1000000)) / 777.0f;
  const Owned owned(gguf::info_of(Type::kI2_S), columns, rows,
                    pack_i2_s(weights.data(), weights.size()) + raw(scale) + std::string(28, '\x7f'));
  for (uint64_t row = 0; row < rows; ++row) {
    const auto got = decode(owned.tensor, row);
    RC_ASSERT(got.status.has_value());
    RC_ASSERT(
        std::equal(got.trits.begin(), got.trits.end(), weights.begin() + static_cast<std::ptrdiff_t>(row * columns)));
    for (const float s : got.scales) RC_ASSERT(s == scale);
  }
}

RC_GTEST_PROP(GgufBlocks, PlainNumbersAreTernaryWhereTheyAre, ()) {
  const uint64_t columns = *rc::gen::inRange(1, 100);
  const auto weights = any_trits(columns);
  const Type type = *rc::gen::element(Type::kF16, Type::kBf16, Type::kF32);
  std::vector<float> scales;
  for (uint64_t c = 0; c < columns; c += 32) {
    const auto half = any_half();
    scales.push_back(type == Type::kF16    ? half_to_float(half)
                     : type == Type::kBf16 ? bf16_to_float(half)
                                           : half_to_float(half) * 1.0001f);
  }
  std::string bytes;
  for (uint64_t c = 0; c < columns; ++c) {
    const float x = static_cast<float>(weights[c]) * scales[c / 32];
    bytes += type == Type::kF16 ? raw(float_to_half(x)) : type == Type::kBf16 ? raw(float_to_bf16(x)) : raw(x);
  }
  const Owned owned(gguf::info_of(type), columns, 1, bytes);
  const auto got = decode(owned.tensor, 0);
  RC_ASSERT(got.status.has_value());
  RC_ASSERT(got.trits == weights);
  for (uint64_t c = 0; c < columns; ++c) RC_ASSERT(weights[c] == 0 || got.scales[c / 32] == scales[c / 32]);
}

TEST(GgufBlocks, ANegativeScaleTurnsTheWeightsRound) {
  std::vector<int8_t> w(256, 1);
  w[3] = -1;
  w[4] = 0;
  const Owned owned(gguf::info_of(Type::kTq2_0), 256, 1, pack_tq2_0(w.data(), 0xbc00));  // -1
  const auto got = decode(owned.tensor, 0);
  ASSERT_TRUE(got.status);
  EXPECT_EQ(got.scales[0], 1.0f);
  EXPECT_EQ(got.trits[0], -1);
  EXPECT_EQ(got.trits[3], 1);
  EXPECT_EQ(got.trits[4], 0);
}

TEST(GgufBlocks, WhatIsNoTernaryWeightIsNamed) {
  test::hostile("gguf", "values");
  const auto refused = [](const gguf::TypeInfo& info, uint64_t columns, const std::string& bytes,
                          std::initializer_list<std::string_view> parts) {
    test::count_case(std::string(info.name) + bytes);
    const Owned owned(info, columns, 1, bytes);
    const auto status = decode(owned.tensor, 0).status;
    test::expect_error(status, parts);
  };
  const std::string half_one("\x00\x3c", 2);
  for (size_t e = 0; e < 256; e += 37) {
    std::vector<int8_t> w(256, 0);
    w[e] = 2;
    const auto column = fmt::format("column {}:", e);
    refused(gguf::info_of(Type::kTq2_0), 256, pack_tq2_0(w.data(), 0x3c00), {column, "code 3"});
    if (e < 128)
      refused(gguf::info_of(Type::kI2_S), 128, pack_i2_s(w.data(), 128) + std::string(32, '\1'),
              {column, "code 3", "another layout"});
    if (e < 64) refused(gguf::info_of(Type::kQ2_0), 64, pack_q2_0(w.data(), 64, 0x3c00), {column, "2 times the scale"});
  }
  const std::vector<int8_t> zeros(256, 0);
  for (const uint16_t bad : {uint16_t{0x7c00}, uint16_t{0xfc00}, uint16_t{0x7e00}}) {
    refused(gguf::info_of(Type::kTq1_0), 256, pack_tq1_0(zeros.data(), bad), {"column 0: the scale is"});
    refused(gguf::info_of(Type::kTq2_0), 256, pack_tq2_0(zeros.data(), bad), {"column 0: the scale is"});
    refused(gguf::info_of(Type::kF16), 2, half_one + raw(bad), {"column 1: the scale is"});
  }
  for (const float bad : {NAN, INFINITY})
    refused(gguf::info_of(Type::kI2_S), 128, pack_i2_s(zeros.data(), 128) + raw(bad) + std::string(28, '\0'),
            {"the scale is"});
  refused(gguf::info_of(Type::kF16), 2, half_one + raw(uint16_t{0x3c01}), {"column 1", "not ternary"});
  refused(gguf::info_of(Type::kF32), 2, raw(1.0f) + raw(-2.0f), {"column 1: -2 beside ±1"});
}

// ---- Rows of numbers

std::vector<float> wide(const gguf::TypeInfo& info, uint64_t columns, const std::string& bytes) {
  const Owned owned(info, columns, 1, bytes);
  std::vector<float> out(columns);
  decode_wide_row(owned.tensor, 0, out);
  return out;
}

int any(int low, int high) {
  return *rc::gen::inRange(low, high);
}

RC_GTEST_PROP(GgufBlocks, Q8AndQ4ReadBack, ()) {
  const auto half = any_half();
  std::string q8 = raw(half), q4 = raw(half);
  std::vector<float> expected8, expected4(32);
  for (int i = 0; i < 32; ++i) {
    const int q = any(-128, 128);
    q8 += static_cast<char>(q);
    expected8.push_back(half_to_float(half) * static_cast<float>(q));
  }
  for (int i = 0; i < 16; ++i) {
    const int low = any(0, 16), high = any(0, 16);
    q4 += static_cast<char>(low | high << 4);
    expected4[i] = half_to_float(half) * static_cast<float>(low - 8);
    expected4[i + 16] = half_to_float(half) * static_cast<float>(high - 8);
  }
  RC_ASSERT(wide(gguf::info_of(Type::kQ8_0), 32, q8) == expected8);
  RC_ASSERT(wide(gguf::info_of(Type::kQ4_0), 32, q4) == expected4);
}

RC_GTEST_PROP(GgufBlocks, Q6KReadsBack, ()) {
  int q[256], scale[16];
  for (int& x : q) x = any(0, 64);
  for (int& x : scale) x = any(-128, 128);
  const auto half = any_half();
  std::string low(128, '\0'), high(64, '\0'), scales;
  for (int h = 0; h < 2; ++h)
    for (int i = 0; i < 32; ++i) {
      const int *first = q + 128 * h + i, second = 64 * h + i;
      low[second] = static_cast<char>((first[0] & 15) | (first[64] & 15) << 4);
      low[second + 32] = static_cast<char>((first[32] & 15) | (first[96] & 15) << 4);
      high[32 * h + i] =
          static_cast<char>(first[0] >> 4 | first[32] >> 4 << 2 | first[64] >> 4 << 4 | first[96] >> 4 << 6);
    }
  for (const int s : scale) scales += static_cast<char>(s);
  const auto got = wide(gguf::info_of(Type::kQ6_K), 256, low + high + scales + raw(half));
  for (int e = 0; e < 256; ++e)
    RC_ASSERT(got[e] == half_to_float(half) * static_cast<float>(scale[e / 16]) * static_cast<float>(q[e] - 32));
}

RC_GTEST_PROP(GgufBlocks, Q4KReadsBack, ()) {
  int q[256], scale[8], minimum[8];
  for (int& x : q) x = any(0, 16);
  for (int g = 0; g < 8; ++g) scale[g] = any(0, 64), minimum[g] = any(0, 64);
  const auto d = any_half(), least = any_half();
  int packed[12] = {};
  for (int g = 0; g < 4; ++g) {
    packed[g] = scale[g] | scale[g + 4] >> 4 << 6;
    packed[g + 4] = minimum[g] | minimum[g + 4] >> 4 << 6;
    packed[g + 8] = (scale[g + 4] & 15) | (minimum[g + 4] & 15) << 4;
  }
  std::string bytes = raw(d) + raw(least);
  for (const int p : packed) bytes += static_cast<char>(p);
  for (int pair = 0; pair < 4; ++pair)
    for (int i = 0; i < 32; ++i) bytes += static_cast<char>(q[64 * pair + i] | q[64 * pair + 32 + i] << 4);
  const auto got = wide(gguf::info_of(Type::kQ4_K), 256, bytes);
  for (int e = 0; e < 256; ++e) {
    const float s = half_to_float(d) * static_cast<float>(scale[e / 32]);
    RC_ASSERT(got[e] == s * static_cast<float>(q[e]) - half_to_float(least) * static_cast<float>(minimum[e / 32]));
  }
}

}  // namespace
}  // namespace onebit
