// The tensors of a Hugging Face model folder as weights of a model.
#pragma once

#include <string>
#include <utility>

#include "format/import/hf_config.h"
#include "format/import/safetensors.h"
#include "format/model_writer.h"

namespace onebit {

/// Every tensor is looked up and its shape checked when it is first needed; nothing is copied but the rows asked for.
class HfWeights final : public WeightSource {
 public:
  /// Completes `config` by what only the tensors tell: projection norms, and of a model without a head its pooling.
  /// Both must outlive the weights. That the embedding has the config's rows is checked here, before memory is taken
  /// for as many tokens; of unpacked weights, that each is -1, 0 or 1 times a scale, which reads them all.
  static Result<HfWeights> open(const Safetensors& tensors, HfConfig& config);

  ScaleGranularity scale_granularity() const override { return granularity_; }
  uint32_t scale_group() const override { return group_; }
  Status ternary_rows(uint32_t layer, Linear linear, uint64_t first, uint64_t count, std::span<int8_t> out) override;
  Status ternary_scales(uint32_t layer, Linear linear, std::span<float> out) override;
  Status norm(uint32_t layer, Norm norm, std::span<float> out) override;
  Status output_norm(std::span<float> out) override;
  Status embedding_row(uint64_t row, std::span<uint16_t> out) override;
  Status head_row(uint64_t row, std::span<float> out) override;
  Status check_unchanged() const override { return tensors_.check_unchanged(); }

 private:
  HfWeights(const Safetensors& tensors, HfConfig& config) : tensors_(tensors), config_(config) {}

  std::string name_of_linear(uint32_t layer, Linear linear) const;
  std::string name_of_norm(uint32_t layer, Norm norm) const;
  std::string name_of_embedding() const { return prefix_ + "embed_tokens.weight"; }

  Status complete(HfConfig& config);
  Status check_names() const;
  Status find_granularity();

  Status check_finite(std::string_view name, float value) const;
  Result<const SourceTensor*> find(const std::string& name, const std::vector<uint64_t>& shape) const;
  Result<const SourceTensor*> find_float(const std::string& name, const std::vector<uint64_t>& shape) const;
  Result<const SourceTensor*> find_table(const std::string& name) const;
  Result<const SourceTensor*> find_linear(uint32_t layer, Linear linear) const;
  Status vector(const std::string& name, std::span<float> out) const;

  Status unpack(uint32_t layer, Linear linear, uint64_t first, uint64_t count, std::span<int8_t> out) const;
  Status ternarise(uint32_t layer, Linear linear, uint64_t first, uint64_t count, std::span<int8_t> out);
  Status signs(uint32_t layer, Linear linear, uint64_t first, uint64_t count, std::span<int8_t> out) const;
  Result<float> packed_scale(uint32_t layer, Linear linear) const;
  Result<float> master_scale(uint32_t layer, Linear linear);

  const Safetensors& tensors_;
  const HfConfig& config_;
  std::string prefix_ = "model.";  // of every tensor's name but the head's
  std::string projection_norm_;    // "norm" or "rms_norm": what stands in a projection's name
  ScaleGranularity granularity_ = ScaleGranularity::kTensor;
  uint32_t group_ = 0;
  float scale_ = 0;  // of the tensor scale_of_: a master's scale takes a pass over all its weights
  std::pair<uint32_t, Linear> scale_of_{UINT32_MAX, Linear::kQuery};
};

}  // namespace onebit
