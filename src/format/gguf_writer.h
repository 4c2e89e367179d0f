// Writes GGUF files, version 3.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "format/gguf_types.h"
#include "format/model_writer.h"

namespace onebit {

/// Keys and values of the header, in the order in which they are added.
class GgufMetadata {
 public:
  void add(std::string_view key, uint32_t value) { add_plain(key, gguf::Value::kU32, value); }
  void add(std::string_view key, float value) { add_plain(key, gguf::Value::kF32, value); }
  void add(std::string_view key, double value) { add_plain(key, gguf::Value::kF64, value); }
  void add(std::string_view key, bool value) { add_plain(key, gguf::Value::kBool, static_cast<uint8_t>(value)); }
  void add(std::string_view key, std::string_view value);
  void add(std::string_view key, const char* value) { add(key, std::string_view(value)); }
  void add(std::string_view key, const std::vector<std::string>& values);
  void add(std::string_view key, const std::vector<int32_t>& values);
  void add(std::string_view key, std::span<const float> values);
  uint64_t count() const { return count_; }
  const std::string& bytes() const { return bytes_; }

 private:
  void begin(std::string_view key, gguf::Value type);
  void begin_array(std::string_view key, gguf::Value type, uint64_t size);
  template <class T>
  void add_plain(std::string_view key, gguf::Value type, T value) {
    begin(key, type);
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }

  std::string bytes_;
  uint64_t count_ = 0;
};

/// A tensor of the new file and how a row of it is made. Rows are made one by one.
struct GgufEntry {
  std::string name;
  gguf::Type type;
  uint64_t columns, rows;  // columns are a multiple of the type's block; one row makes a vector
  std::function<std::string(uint64_t row)> make_row;

  uint64_t row_bytes() const { return columns / gguf::info_of(type).block * gguf::info_of(type).block_bytes; }
  uint64_t bytes() const { return rows * row_bytes(); }
};

/// Nothing appears at `path` before `check` (asked last) and all else succeeded.
Status write_gguf(const std::string& path, const GgufMetadata& metadata, const std::vector<GgufEntry>& entries,
                  const std::function<Status()>& check, const WriteProgress& progress);

}  // namespace onebit
