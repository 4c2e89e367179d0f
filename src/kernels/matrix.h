// Views of stored weights, as every backend's kernels take them.
#pragma once

#include <cstdint>
#include <span>

#include "format/packing.h"

namespace onebit {

/// y[outputs] = W x with integer weights: ternary or q8 (format/packing.h). Borrowed from the model file.
struct IntegerMatrix {
  Packing packing = Packing::kT2;
  uint32_t rows = 0;     // outputs
  uint32_t columns = 0;  // inputs
  std::span<const std::byte> data;
  ScaleGranularity granularity = ScaleGranularity::kTensor;
  uint32_t group = 0;             // columns a scale serves (kGroup)
  std::span<const float> scales;  // see ScaleGranularity

  /// Groups of 16 rows, and blocks of 64 bytes in each: how a tiled packing is laid out.
  uint32_t groups() const { return static_cast<uint32_t>(padded_rows(packing, rows) / kTileRows); }
  uint32_t blocks() const {
    return static_cast<uint32_t>(padded_columns(packing, columns) / columns_per_unit(packing) *
                                 blocks_per_unit(packing));
  }
};

/// A row-major matrix of f16 or bf16: a verification head, or the embedding table.
struct HalfMatrix {
  Packing packing = Packing::kBf16;
  uint32_t rows = 0;
  uint32_t columns = 0;
  std::span<const uint16_t> data;  // [rows][columns]
};

}  // namespace onebit
