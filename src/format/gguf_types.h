// Names and sizes that reader and writer of GGUF files share. Byte layouts of the blocks: docs/gguf.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace onebit::gguf {

inline constexpr char kMagic[4] = {'G', 'G', 'U', 'F'};
inline constexpr uint32_t kVersion = 3;            // 2 is laid out alike
inline constexpr uint64_t kDefaultAlignment = 32;  // of tensors, counted from the first

/// Types of a metadata value.
enum class Value : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};
/// Bytes of a value of fixed size; 0 for strings, arrays and unknown types.
uint64_t bytes_of(Value type);

/// Types of a tensor that are read here; files name others too.
enum class Type : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ8_0 = 8,
  kQ4_K = 12,
  kQ6_K = 14,
  kBf16 = 30,
  kTq1_0 = 34,
  kTq2_0 = 35,
  kI2_S = 36,
  kQ2_0 = 42,
};

/// A row is a run of blocks; a whole tensor may end with bytes of its own.
struct TypeInfo {
  Type type;
  std::string_view name;
  uint32_t block;        // weights
  uint32_t block_bytes;  // of a block
  uint32_t tail_bytes = 0;
};
/// Null for a type that is not read here.
const TypeInfo* find_type(uint32_t id);
const TypeInfo& info_of(Type type);
/// The other layout with Q2_0's number: 128 weights a block, as the fork that introduced it writes them.
const TypeInfo& q2_0_of_128();

/// "tq2_0", or "type 99".
std::string name_of_type(uint32_t id);

/// Metadata of this program's own: what GGUF has no key for, so that a model comes back as it was.
inline constexpr std::string_view kOwnKeys = "onebit.";

}  // namespace onebit::gguf
