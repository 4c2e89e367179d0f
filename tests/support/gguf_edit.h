// GGUF files taken apart and put together again, with any contents at all. Independent of the product's reader and
// writer.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace onebit::test {

template <class T>
std::string raw(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}
/// u64 length, then the text.
inline std::string gguf_text(std::string_view text) {
  return raw(uint64_t{text.size()}) + std::string(text);
}

/// Types of values, by the format's numbers.
enum GgufValueType : uint32_t {
  kGU8 = 0,
  kGI8,
  kGU16,
  kGI16,
  kGU32,
  kGI32,
  kGF32,
  kGBool,
  kGString,
  kGArray,
  kGU64,
  kGI64,
  kGF64
};

/// Type and bytes of a metadata value.
template <class T>
std::string gguf_value(GgufValueType type, T value) {
  return raw(uint32_t{type}) + raw(value);
}
inline std::string gguf_value(std::string_view text) {
  return raw(uint32_t{kGString}) + gguf_text(text);
}
std::string gguf_array(GgufValueType type, uint64_t count, std::string_view elements);
std::string gguf_array(const std::vector<std::string>& texts);

struct GgufParts {
  struct Pair {
    std::string key, value;  // value: type and bytes
  };
  struct Entry {
    std::string name;
    std::vector<uint64_t> shape;
    uint32_t type;
    std::string data;
  };
  uint32_t version = 3;
  uint64_t alignment = 32;
  std::vector<Pair> metadata;
  std::vector<Entry> tensors;

  /// Throws where there is none.
  std::string& value(std::string_view key);
  Entry& tensor(std::string_view name);
  void set(std::string_view key, std::string value);
  void remove(std::string_view key_or_name);
};

/// The whole file; tensors one after another, each at the next multiple of the alignment.
std::string gguf_bytes(const GgufParts& parts);
/// The bytes before the tensors' data.
size_t gguf_header_bytes(const GgufParts& parts);
/// The inverse for a sound file whose tensors stand in order.
GgufParts gguf_parts(const std::string& file);

}  // namespace onebit::test
