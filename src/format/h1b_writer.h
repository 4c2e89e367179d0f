// Writes a model file: the layout is settled from the tensors' specs first, then they stream through.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/atomic_file.h"
#include "base/result.h"
#include "format/h1b_layout.h"
#include "format/model_config.h"
#include "format/rope.h"
#include "format/tensor.h"
#include "format/tokenizer_data.h"

namespace onebit {

/// Where a model came from, as (key, value) pairs in UTF-8: name, source, licence, converter, date, …
using Provenance = std::vector<std::pair<std::string, std::string>>;

/// What a file holds besides its tensors.
struct ModelParts {
  ModelConfig config;
  TokenizerData tokenizer;
  Provenance provenance;
  RopeScaling rope{};  // of the tables, which are all that the file keeps of it
};

/// Keeps nothing of a tensor once it is written. Nothing appears at the target before finish().
class H1bWriter {
 public:
  /// Lays the file out and writes everything before the tensors.
  static Result<H1bWriter> create(const std::string& path, const ModelParts& parts, std::vector<TensorSpec> tensors);

  const std::vector<TensorSpec>& tensors() const { return tensors_; }

  /// The next tensor in the order of the specs: specs[i].matrix_bytes() bytes and specs[i].scales() values.
  Status write_tensor(std::span<const std::byte> matrix, std::span<const float> scales);
  /// Header and directory, then the file gets its name. All tensors must have been written.
  Status finish();

 private:
  H1bWriter(AtomicFile file, std::vector<TensorSpec> tensors) : file_(std::move(file)), tensors_(std::move(tensors)) {}
  Status write_section(h1b::Section& section, std::span<const std::byte> bytes);
  Status pad_to(uint64_t offset);

  AtomicFile file_;
  std::vector<TensorSpec> tensors_;
  std::vector<std::byte> directory_;  // count, entries, names; completed as tensors are written
  h1b::Header header_{};
  size_t written_ = 0;
};

}  // namespace onebit
