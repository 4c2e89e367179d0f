#include "format/import/gguf_blocks.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/half.h"

namespace onebit {
namespace {

using gguf::Type;

/// A block's bytes as numbers.
class Block {
 public:
  explicit Block(std::span<const std::byte> bytes) : bytes_(bytes) {}
  unsigned operator[](size_t i) const { return static_cast<unsigned>(bytes_[i]); }
  int signed_at(size_t i) const { return static_cast<int8_t>(bytes_[i]); }
  float half(size_t at) const { return half_to_float(static_cast<uint16_t>((*this)[at] | (*this)[at + 1] << 8)); }

 private:
  std::span<const std::byte> bytes_;
};

/// 128 weights in 32 bytes, the first quarter in the top bits.
void i2_s_codes(const Block& b, std::span<int8_t> out) {
  for (size_t e = 0; e < 128; ++e) out[e] = static_cast<int8_t>(b[e % 32] >> (6 - 2 * (e / 32)) & 3u);
}

/// Two halves of 128 weights in 32 bytes each, the first quarter in the low bits; then the scale.
float tq2_0_codes(const Block& b, std::span<int8_t> out) {
  for (size_t e = 0; e < 256; ++e)
    out[e] = static_cast<int8_t>(b[32 * (e / 128) + e % 32] >> (2 * (e % 128 / 32)) & 3u);
  return b.half(64);
}

/// Digits of base-3 fractions of 256: the first is the integer part of 3 · byte / 256, and so on with what is left.
float tq1_0_codes(const Block& b, std::span<int8_t> out) {
  const auto digits = [&](size_t byte, size_t first, size_t step, size_t count) {
    unsigned rest = b[byte];
    for (size_t n = 0; n < count; ++n) {
      rest *= 3;
      out[first + n * step] = static_cast<int8_t>(rest >> 8);
      rest &= 0xffu;
    }
  };
  for (size_t m = 0; m < 32; ++m) digits(m, m, 32, 5);
  for (size_t m = 0; m < 16; ++m) digits(32 + m, 160 + m, 16, 5);
  for (size_t m = 0; m < 4; ++m) digits(48 + m, 240 + m, 4, 4);
  return b.half(52);
}

/// The scale, then four weights a byte, the first in the low bits. 64 or 128 weights.
float q2_0_codes(const Block& b, std::span<int8_t> out) {
  for (size_t e = 0; e < out.size(); ++e) out[e] = static_cast<int8_t>(b[2 + e / 4] >> (2 * (e % 4)) & 3u);
  return b.half(0);
}

/// Codes 0, 1 and 2 to -1, 0 and 1, or their opposites.
Status codes_to_trits(std::span<int8_t> codes, bool turned, uint64_t first_column, Type type) {
  const auto* bad = std::find(codes.data(), codes.data() + codes.size(), int8_t{3});
  if (bad != codes.data() + codes.size()) {
    const auto column = first_column + static_cast<uint64_t>(bad - codes.data());
    if (type == Type::kQ2_0)
      return fail(
          "column {}: the value is 2 times the scale: this q2_0 tensor is not ternary, its model has four values a "
          "weight",
          column);
    return fail("column {}: code 3 is no ternary weight: the file is damaged, or has another layout of {}", column,
                gguf::info_of(type).name);
  }
  for (auto& code : codes) code = static_cast<int8_t>(turned ? 1 - code : code - 1);
  return {};
}

/// The scale of a tensor of i2_s: at the beginning of its tail.
float i2_s_scale(const GgufTensor& tensor) {
  float scale = 0;
  std::memcpy(&scale, tensor.bytes.data() + tensor.bytes.size() - tensor.info->tail_bytes, sizeof scale);
  return scale;
}

Status check_scale(float scale, uint64_t column) {
  if (!std::isfinite(scale)) return fail("column {}: the scale is {}, expected a finite number", column, scale);
  return {};
}

float plain_value(const Block& row, Type type, size_t i) {
  if (type == Type::kF32) {
    const uint32_t bits = row[4 * i] | row[4 * i + 1] << 8 | row[4 * i + 2] << 16 | row[4 * i + 3] << 24;
    return std::bit_cast<float>(bits);
  }
  const auto bits = static_cast<uint16_t>(row[2 * i] | row[2 * i + 1] << 8);
  return type == Type::kF16 ? half_to_float(bits) : bf16_to_float(bits);
}

/// Values 0 and ± one number in each 32.
Status trits_of_values(const Block& row, Type type, uint64_t columns, std::span<int8_t> trits,
                       std::span<float> scales) {
  constexpr uint64_t kBlock = 32;
  for (uint64_t first = 0; first < columns; first += kBlock) {
    float scale = 0;
    for (uint64_t c = first; c < std::min(first + kBlock, columns); ++c) {
      const float x = plain_value(row, type, c);
      RETURN_IF_ERROR(check_scale(x, c));
      trits[c] = static_cast<int8_t>((x > 0) - (x < 0));
      if (x == 0) continue;
      if (scale != 0 && std::fabs(x) != scale)
        return fail("column {}: {} beside ±{}: these weights are not ternary", c, x, scale);
      scale = std::fabs(x);
    }
    scales[first / kBlock] = scale;
  }
  return {};
}

void q8_0_values(const Block& b, std::span<float> out) {
  const float d = b.half(0);
  for (size_t i = 0; i < 32; ++i) out[i] = d * static_cast<float>(b.signed_at(2 + i));
}

/// 16 bytes: the first half of the values in the low nibbles, the second in the high ones, each + 8.
void q4_0_values(const Block& b, std::span<float> out) {
  const float d = b.half(0);
  for (size_t i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>(static_cast<int>(b[2 + i] & 15u) - 8);
    out[i + 16] = d * static_cast<float>(static_cast<int>(b[2 + i] >> 4) - 8);
  }
}

/// Eight groups of 32, each with a scale and a minimum of six bits: the low ones of groups 0 to 3 stand in bytes of
/// their own, those of groups 4 to 7 are spread over nibbles and the top bits of the former.
void q4_k_values(const Block& b, std::span<float> out) {
  const float d = b.half(0), least = b.half(2);
  const auto six_bits = [&](size_t group, size_t at) {  // at: 4 for scales, 8 for minima
    if (group < 4) return b[at + group] & 63u;
    const unsigned low = at == 4 ? b[8 + group] & 15u : b[8 + group] >> 4;
    return low | b[at + group - 4] >> 6 << 4;
  };
  for (size_t group = 0; group < 8; ++group) {
    const float scale = d * static_cast<float>(six_bits(group, 4)),
                minimum = least * static_cast<float>(six_bits(group, 8));
    for (size_t i = 0; i < 32; ++i) {
      const unsigned q = b[16 + group / 2 * 32 + i] >> (group % 2 * 4) & 15u;
      out[group * 32 + i] = scale * static_cast<float>(q) - minimum;
    }
  }
}

/// Two halves of 128: low four bits in 64 bytes, high two in 32; a signed scale for each 16 values, one of halves for
/// all.
void q6_k_values(const Block& b, std::span<float> out) {
  const float d = b.half(208);
  for (size_t e = 0; e < 256; ++e) {
    const size_t half = e / 128, quarter = e % 128 / 32, i = e % 32;
    const unsigned low = b[64 * half + 32 * (quarter % 2) + i] >> (quarter / 2 * 4) & 15u;
    const unsigned high = b[128 + 32 * half + i] >> (2 * quarter) & 3u;
    out[e] =
        d * static_cast<float>(b.signed_at(192 + e / 16)) * static_cast<float>(static_cast<int>(low | high << 4) - 32);
  }
}

}  // namespace

uint64_t ternary_block(const gguf::TypeInfo& info) {
  return info.block == 1 ? 32 : info.block;
}

bool is_ternary(const gguf::TypeInfo& info) {
  switch (info.type) {
    case Type::kI2_S:
    case Type::kTq1_0:
    case Type::kTq2_0:
    case Type::kQ2_0:
    case Type::kF16:
    case Type::kBf16:
    case Type::kF32:
      return true;
    default:
      return false;
  }
}

Status decode_ternary_row(const GgufTensor& tensor, uint64_t row, std::span<int8_t> trits, std::span<float> scales) {
  const auto& info = *tensor.info;
  const auto bytes = tensor.row(row);
  if (info.block == 1) return trits_of_values(Block(bytes), info.type, tensor.columns(), trits, scales);
  for (uint64_t i = 0; i < tensor.columns() / info.block; ++i) {
    const Block block(bytes.subspan(i * info.block_bytes, info.block_bytes));
    const auto codes = trits.subspan(i * info.block, info.block);
    float scale = 0;
    switch (info.type) {
      case Type::kI2_S:
        i2_s_codes(block, codes);
        scale = i2_s_scale(tensor);
        break;
      case Type::kTq1_0:
        scale = tq1_0_codes(block, codes);
        break;
      case Type::kTq2_0:
        scale = tq2_0_codes(block, codes);
        break;
      default:
        scale = q2_0_codes(block, codes);
    }
    RETURN_IF_ERROR(check_scale(scale, i * info.block));
    RETURN_IF_ERROR(codes_to_trits(codes, scale < 0, i * info.block, info.type));
    scales[i] = std::fabs(scale);
  }
  return {};
}

bool is_wide(const gguf::TypeInfo& info) {
  switch (info.type) {
    case Type::kF32:
    case Type::kF16:
    case Type::kBf16:
    case Type::kQ8_0:
    case Type::kQ6_K:
    case Type::kQ4_K:
    case Type::kQ4_0:
      return true;
    default:
      return false;
  }
}

void decode_wide_row(const GgufTensor& tensor, uint64_t row, std::span<float> out) {
  const auto& info = *tensor.info;
  const auto bytes = tensor.row(row);
  if (info.block == 1) {
    for (size_t i = 0; i < out.size(); ++i) out[i] = plain_value(Block(bytes), info.type, i);
    return;
  }
  const auto values = info.type == Type::kQ8_0   ? q8_0_values
                      : info.type == Type::kQ6_K ? q6_k_values
                      : info.type == Type::kQ4_K ? q4_k_values
                                                 : q4_0_values;
  for (uint64_t i = 0; i < tensor.columns() / info.block; ++i)
    values(Block(bytes.subspan(i * info.block_bytes, info.block_bytes)), out.subspan(i * info.block, info.block));
}

}  // namespace onebit
