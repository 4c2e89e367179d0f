// What a model file says of one tensor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "format/packing.h"

namespace onebit {

enum class TensorKind : uint32_t {
  kEmbedding = 1,  // bf16 [vocabulary][hidden], for look-ups
  kHead = 2,       // [vocabulary][hidden], to logits
  kLinear = 3,     // ternary [outputs][inputs]
  kNorm = 4,       // f32 [1][width], an RMSNorm weight
};

std::string_view name_of(TensorKind kind);

/// Everything that fixes a tensor's place and size. Names: docs/h1b.md, "Tensors".
struct TensorSpec {
  std::string name;
  TensorKind kind = TensorKind::kLinear;
  Packing packing = Packing::kF32;
  ScaleGranularity granularity = ScaleGranularity::kNone;
  uint32_t group = 0;
  uint64_t rows = 0;
  uint64_t columns = 0;

  uint64_t matrix_bytes() const { return packed_bytes(packing, rows, columns); }
  uint64_t scales() const { return scale_count(granularity, rows, columns, group); }
  /// Matrix and scales: what the tensor occupies in the file.
  uint64_t bytes() const {
    return scales() == 0 ? matrix_bytes() : scales_offset(matrix_bytes()) + scales() * sizeof(float);
  }
};

/// A tensor inside a mapped file; the spans live as long as the file.
struct Tensor : TensorSpec {
  uint64_t offset = 0;
  uint64_t xxh3 = 0;
  std::span<const std::byte> data;  // matrix and scales
  std::span<const std::byte> matrix;
  std::span<const float> scale_values;
};

}  // namespace onebit
