// Reads a model file: mapped, every bound checked before use, nothing copied but names and config.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/mapped_file.h"
#include "base/result.h"
#include "format/h1b_writer.h"
#include "format/model_config.h"
#include "format/tensor.h"
#include "format/tokenizer_data.h"

namespace onebit {

/// Owns the mapping; all spans handed out live as long as the object (moves keep them valid).
class H1bFile {
 public:
  /// Checks header, section checksums and every offset, length, shape and id. The tensors' bytes are
  /// not read: verify() does that. Every error is one sentence that begins with the path.
  static Result<H1bFile> open(const std::string& path);

  const std::string& path() const { return file_.path(); }
  uint64_t file_bytes() const { return file_.bytes().size(); }
  /// All of it, as it is mapped.
  std::span<const std::byte> bytes() const { return file_.bytes(); }
  /// The header's checksum: it covers those of the sections, and these each tensor's, so files that have the same have
  /// the same contents.
  uint64_t identity() const { return identity_; }
  const ModelConfig& config() const { return config_; }
  const Provenance& provenance() const { return provenance_; }
  /// The value of a provenance key; empty where there is none.
  std::string_view provenance(std::string_view key) const;

  /// In file order.
  const std::vector<Tensor>& tensors() const { return tensors_; }
  /// Null where the file has no tensor of this name.
  const Tensor* find(std::string_view name) const;

  /// [context][head_dim / 2] each.
  std::span<const float> rope_cos() const { return rope_.first(rope_.size() / 2); }
  std::span<const float> rope_sin() const { return rope_.last(rope_.size() / 2); }

  std::span<const std::byte> tokenizer_section() const { return tokenizer_; }
  /// An error once the file no longer has what was read from it (MappedFile::check_readable). Whoever
  /// computes with the tensors asks before passing a result on.
  Status check_readable() const { return file_.check_readable(); }
  /// A copy, parsed and validated.
  Result<TokenizerData> tokenizer() const;

  /// Called with bytes checked so far and the total.
  using Progress = std::function<void(uint64_t done, uint64_t total)>;
  /// Reads every byte: tensor checksums, zeros between parts, valid codes, zero padding, finite scales
  /// and values. The error names the first damaged part.
  Status verify(const Progress& progress = {}) const;

 private:
  explicit H1bFile(MappedFile file) : file_(std::move(file)) {}
  Status read_sections();
  Status verify_bytes(const Progress& progress) const;
  Status read_config(std::span<const std::byte> bytes);
  Status read_directory(std::span<const std::byte> bytes, uint64_t data_offset);
  Status read_provenance(std::span<const std::byte> bytes);

  MappedFile file_;
  uint64_t identity_ = 0;
  ModelConfig config_;
  Provenance provenance_;
  std::vector<Tensor> tensors_;
  std::unordered_map<std::string_view, size_t> by_name_;  // views into the mapped names
  std::span<const std::byte> tokenizer_;
  std::span<const float> rope_;
  std::vector<std::pair<uint64_t, uint64_t>> parts_;  // [begin, end) of everything that has a checksum, ascending
};

}  // namespace onebit
