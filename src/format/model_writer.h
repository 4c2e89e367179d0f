// From any source of weights to a model file: what conversion and synthesis share.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "format/h1b_writer.h"
#include "format/model_tensors.h"
#include "format/sparse_packing.h"

namespace onebit {

/// Weights by their place in the model. Row ranges come in ascending order, one tensor at a time.
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  /// -1, 0 or 1 for rows [first, first + count) of a product: `out` is [count][inputs].
  virtual Status ternary_rows(uint32_t layer, Linear linear, uint64_t first, uint64_t count, std::span<int8_t> out) = 0;
  /// How many weights of a product share a factor, the same for all products: kTensor, kRow or kGroup.
  virtual ScaleGranularity scale_granularity() const { return ScaleGranularity::kTensor; }
  /// Columns that share one (kGroup): 32, 64 or 128.
  virtual uint32_t scale_group() const { return 0; }
  /// The factors of a product: `out` is [1] (kTensor), [outputs] (kRow) or [outputs][groups of columns] (kGroup).
  virtual Status ternary_scales(uint32_t layer, Linear linear, std::span<float> out) = 0;
  virtual Status norm(uint32_t layer, Norm norm, std::span<float> out) = 0;
  virtual Status output_norm(std::span<float> out) = 0;
  /// One row of the embedding table as bf16 bits, and one of the head's weights (the embedding's where
  /// they are tied).
  virtual Status embedding_row(uint64_t row, std::span<uint16_t> out) = 0;
  virtual Status head_row(uint64_t row, std::span<float> out) = 0;
  /// Asked last, before the new file gets its name: whether what was read is still what the source holds.
  virtual Status check_unchanged() const { return {}; }
};

struct ModelPackings {
  Packing ternary = Packing::kT2;
  Packing head = Packing::kQ8;
  /// For s1_25: weights that are not 3:4 sparse are made so instead of refused.
  bool force_sparse = false;
  /// Of synthetic weights: columns that share a scale (32, 64 or 128); 0: a product has one. Others come with theirs.
  uint32_t synthetic_scale_group = 0;
};

/// Bytes of the new file written so far, the total, and the tensor at hand.
using WriteProgress = std::function<void(uint64_t done, uint64_t total, std::string_view tensor)>;

/// What s1_25 would change of a model's ternary weights (nothing, where it was trained 3:4 sparse). Reads them all.
/// Fails where a row is no multiple of four long.
Result<s1_25::Damage> sparse_damage(const ModelConfig& config, WeightSource& source);

/// Writes the whole file; nothing appears at `path` unless everything succeeded. Holds one tensor. Weights for s1_25
/// that are not 3:4 sparse are an error unless `packings` forces them.
Status write_model(const std::string& path, const ModelParts& parts, const ModelPackings& packings,
                   WeightSource& source, const WriteProgress& progress);

/// int8 values and scale of one row of a q8 head (NUMERICS 7): scale = max|x| / 127 (1 for a row of
/// zeros), value = round half to even (x / scale).
float quantize_head_row(std::span<const float> row, std::span<int8_t> out);

}  // namespace onebit
