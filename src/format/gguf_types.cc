#include "format/gguf_types.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace onebit::gguf {
namespace {

constexpr std::array kTypes{
    TypeInfo{Type::kF32, "f32", 1, 4},        TypeInfo{Type::kF16, "f16", 1, 2},
    TypeInfo{Type::kQ4_0, "q4_0", 32, 18},    TypeInfo{Type::kQ8_0, "q8_0", 32, 34},
    TypeInfo{Type::kQ4_K, "q4_k", 256, 144},  TypeInfo{Type::kQ6_K, "q6_k", 256, 210},
    TypeInfo{Type::kBf16, "bf16", 1, 2},      TypeInfo{Type::kTq1_0, "tq1_0", 256, 54},
    TypeInfo{Type::kTq2_0, "tq2_0", 256, 66}, TypeInfo{Type::kI2_S, "i2_s", 128, 32, 32},
    TypeInfo{Type::kQ2_0, "q2_0", 64, 18},
};
constexpr TypeInfo kQ2_0Of128{Type::kQ2_0, "q2_0", 128, 34};

}  // namespace

uint64_t bytes_of(Value type) {
  switch (type) {
    case Value::kU8:
    case Value::kI8:
    case Value::kBool:
      return 1;
    case Value::kU16:
    case Value::kI16:
      return 2;
    case Value::kU32:
    case Value::kI32:
    case Value::kF32:
      return 4;
    case Value::kU64:
    case Value::kI64:
    case Value::kF64:
      return 8;
    case Value::kString:
    case Value::kArray:
      break;
  }
  return 0;
}

const TypeInfo* find_type(uint32_t id) {
  const auto it = std::find_if(kTypes.begin(), kTypes.end(),
                               [&](const TypeInfo& info) { return static_cast<uint32_t>(info.type) == id; });
  return it == kTypes.end() ? nullptr : &*it;
}

const TypeInfo& info_of(Type type) {
  return *find_type(static_cast<uint32_t>(type));
}

const TypeInfo& q2_0_of_128() {
  return kQ2_0Of128;
}

std::string name_of_type(uint32_t id) {
  // ik_llama.cpp's: two layouts of each are about, without and with a scale a row.
  if (id == 134) return "iq1_bn";
  if (id == 135) return "iq2_bn";
  const auto* info = find_type(id);
  return info != nullptr ? std::string(info->name) : fmt::format("type {}", id);
}

}  // namespace onebit::gguf
