// GGUF files, versions 2 and 3, little-endian, mapped read-only (format: ggml's docs/gguf.md).
#pragma once

#include <array>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "base/result.h"
#include "format/gguf_types.h"

namespace onebit {

/// A value of the metadata; the bytes live as long as the GgufFile.
struct GgufValue {
  gguf::Value type = gguf::Value::kU8;  // an array's: of its elements
  bool is_array = false;
  uint64_t count = 1;                // elements
  std::span<const std::byte> bytes;  // of all elements, a string with its length before it
};

/// A tensor; the bytes live as long as the GgufFile.
struct GgufTensor {
  uint32_t type = 0;                     // as the file has it
  const gguf::TypeInfo* info = nullptr;  // null: a type that is not read here, whose size is not known
  std::vector<uint64_t> shape;           // columns first, as the file has it; 1 to 4 numbers
  std::span<const std::byte> bytes;      // row-major; none where `info` is null

  uint64_t columns() const { return shape.front(); }
  /// All dimensions but the first together.
  uint64_t rows() const;
  /// One row's blocks.
  std::span<const std::byte> row(uint64_t index) const;
};

class GgufFile {
 public:
  /// Checks every count, length, type, offset and size; no two tensors share bytes, no name comes twice. Takes memory
  /// for what is in the file only, never for what a number in it says. Each error is one sentence that begins with the
  /// path.
  static Result<GgufFile> open(const std::string& path);
  /// Whether the file begins as GGUF files do. False for one that cannot be read.
  static bool is_gguf(const std::string& path);

  const std::string& path() const { return file_.path(); }
  uint32_t version() const { return version_; }
  const std::map<std::string, GgufTensor, std::less<>>& tensors() const { return tensors_; }
  const std::map<std::string, GgufValue, std::less<>>& metadata() const { return metadata_; }
  /// Null where there is none of this name.
  const GgufTensor* find(std::string_view name) const;

  bool has(std::string_view key) const { return metadata_.contains(key); }
  /// The value at a key; nothing where the key is not there, an error where it is of another kind. A whole number may
  /// have any integer type, and be no less than 0; `number` takes both kinds of float and whole numbers.
  Result<std::optional<uint64_t>> whole(std::string_view key) const;
  Result<std::optional<double>> number(std::string_view key) const;
  Result<std::optional<bool>> boolean(std::string_view key) const;
  Result<std::optional<std::string_view>> text(std::string_view key) const;
  /// Arrays; empty where the key is not there.
  Result<std::vector<std::string_view>> texts(std::string_view key) const;
  Result<std::vector<int64_t>> wholes(std::string_view key) const;
  Result<std::vector<float>> floats(std::string_view key) const;  // of f32 only

  /// An error where the file was cut or changed since it was opened.
  Status check_unchanged() const { return file_.check_unchanged(); }

 private:
  explicit GgufFile(MappedFile file) : file_(std::move(file)) {}
  Status read();
  Status place_tensors(std::span<const std::byte> data, uint64_t alignment,
                       std::vector<std::pair<uint64_t, std::string>> offsets);
  Status choose_q2_0(const std::vector<std::pair<uint64_t, std::string>>& offsets, uint64_t data_bytes,
                     uint64_t alignment);
  Result<const GgufValue*> find_value(std::string_view key, bool array) const;

  MappedFile file_;
  uint32_t version_ = 0;
  std::map<std::string, GgufValue, std::less<>> metadata_;
  std::map<std::string, GgufTensor, std::less<>> tensors_;
};

}  // namespace onebit
