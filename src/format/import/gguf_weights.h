// The weights of a GGUF file by their place in the model.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "format/gguf_architecture.h"
#include "format/import/gguf_file.h"
#include "format/model_writer.h"

namespace onebit {

/// Checks all tensors that the model needs once, then decodes the rows asked for. Blocks' scales become those of an
/// .h1b file: one a tensor where all blocks with a weight other than 0 agree, otherwise one a row, otherwise one for
/// 128, 64 or 32 columns, the finest that a product of the model needs; or what onebit.granularity says. A block whose
/// scale is 0 or whose weights all are agrees with any.
class GgufWeights final : public WeightSource {
 public:
  /// Finds each tensor and checks its type and shape; reads the scales of all products. `file`, `architecture` and
  /// `config` must outlive the object.
  static Result<GgufWeights> open(const GgufFile& file, const GgufArchitecture& architecture,
                                  const ModelConfig& config);

  ScaleGranularity scale_granularity() const override { return granularity_; }
  uint32_t scale_group() const override { return group_; }
  Status ternary_rows(uint32_t layer, Linear linear, uint64_t first, uint64_t count, std::span<int8_t> out) override;
  Status ternary_scales(uint32_t layer, Linear linear, std::span<float> out) override;
  Status norm(uint32_t layer, Norm norm, std::span<float> out) override;
  Status output_norm(std::span<float> out) override;
  Status embedding_row(uint64_t row, std::span<uint16_t> out) override;
  Status head_row(uint64_t row, std::span<float> out) override;
  Status check_unchanged() const override { return file_->check_unchanged(); }

  /// Names of the types of the products, as "i2_s" or "tq2_0, f16".
  std::string ternary_types() const;
  bool has_type(gguf::Type type) const;

 private:
  GgufWeights(const GgufFile& file, const GgufArchitecture& architecture, const ModelConfig& config)
      : file_(&file), architecture_(&architecture), config_(&config) {}
  Result<const GgufTensor*> find(const std::string& name, uint64_t rows, uint64_t columns) const;
  Result<const GgufTensor*> find_linear(uint32_t layer, Linear linear) const;
  Result<const GgufTensor*> find_wide(const std::string& name, uint64_t rows, uint64_t columns) const;
  Status check_tensors() const;
  Status check_rope_factors() const;
  Status settle_granularity();
  Status read_granularity(std::string_view told);
  uint64_t units_per_row(const GgufTensor& tensor) const;
  uint64_t unit_of(const GgufTensor& tensor, uint64_t row, uint64_t column) const;
  Status read_scales(uint32_t layer, Linear linear);
  Status take_claims(const GgufTensor& tensor, uint64_t row, std::span<const int8_t> trits,
                     std::span<const float> blocks, std::vector<uint8_t>& claims);
  Status apply_told(const GgufTensor& tensor, const std::string& name, std::span<const uint8_t> claims);
  Status decode(const GgufTensor& tensor, uint32_t layer, Linear linear, uint64_t row, std::span<int8_t> trits,
                std::span<float> scales) const;
  Status wide_vector(const std::string& name, std::span<float> out) const;

  const GgufFile* file_;
  const GgufArchitecture* architecture_;
  const ModelConfig* config_;
  ScaleGranularity granularity_ = ScaleGranularity::kTensor;
  uint32_t group_ = 0;
  std::vector<float> scales_;  // of the product scales_of_
  bool told_ = false;          // they come from the metadata
  std::pair<uint32_t, Linear> scales_of_{UINT32_MAX, Linear::kQuery};
};

}  // namespace onebit
