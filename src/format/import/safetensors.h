// safetensors files and sharded folders (format: huggingface/safetensors README), mapped, read-only.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "base/result.h"

namespace onebit {

enum class DType { kU8, kF16, kBf16, kF32 };
std::string_view name_of(DType dtype);
size_t element_bytes(DType dtype);

/// A tensor inside a mapped file; `bytes` lives as long as the Safetensors object.
struct SourceTensor {
  DType dtype = DType::kU8;
  std::vector<uint64_t> shape;
  std::span<const std::byte> bytes;  // row-major, little-endian
};

/// One file or all shards of a folder.
class Safetensors {
 public:
  static Result<Safetensors> open_file(const std::string& path);
  /// model.safetensors, or the shards that model.safetensors.index.json names.
  static Result<Safetensors> open_folder(const std::string& folder);

  /// Null where there is none of this name. Tensors of a type not in DType are not listed.
  const SourceTensor* find(std::string_view name) const;
  const std::map<std::string, SourceTensor, std::less<>>& tensors() const { return tensors_; }
  /// The type of a tensor that is there but not listed; empty where there is none of this name.
  std::string_view other_type(std::string_view name) const;
  /// An error where a file was cut or changed since it was opened.
  Status check_unchanged() const;
  /// Where errors about the whole place the blame.
  const std::string& path() const { return path_; }

 private:
  Status add(const std::string& path);

  std::string path_;
  std::vector<MappedFile> files_;
  std::map<std::string, SourceTensor, std::less<>> tensors_;
  std::map<std::string, std::string, std::less<>> other_types_;
};

}  // namespace onebit
