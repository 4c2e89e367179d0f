#include "format/import/hf_weights.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <set>

#include "base/half.h"
#include "base/utf8.h"

namespace onebit {
namespace {

constexpr std::array kHfLinears{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                                "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj"};

float element(const SourceTensor& tensor, uint64_t index) {
  const std::byte* at = tensor.bytes.data() + index * element_bytes(tensor.dtype);
  if (tensor.dtype == DType::kF32) {
    float value = 0;
    std::memcpy(&value, at, sizeof value);
    return value;
  }
  uint16_t bits = 0;
  std::memcpy(&bits, at, sizeof bits);
  return tensor.dtype == DType::kBf16 ? bf16_to_float(bits) : half_to_float(bits);
}

/// Which granularities the values of an unpacked tensor still allow, the coarsest first.
struct Granularities {
  static constexpr std::array kGroups{uint32_t{128}, uint32_t{64}, uint32_t{32}};
  bool tensor = true, row = true;
  std::array<bool, kGroups.size()> group{true, true, true};
  float tensor_scale = 0;  // of the tensor at hand; 0: only zeros so far

  bool any() const { return tensor || row || group[0] || group[1] || group[2]; }

  /// Whether `value`, which is not 0, is `scale` or its opposite; the first value is what settles the scale.
  static bool agrees(float value, float& scale) {
    if (scale == 0) scale = std::fabs(value);
    return std::fabs(value) == scale;
  }

  void add_row(const SourceTensor& tensor_values, uint64_t row_index, uint64_t columns) {
    float row_scale = 0;
    std::array<float, kGroups.size()> group_scale{};
    for (uint64_t c = 0; c < columns; ++c) {
      const float value = element(tensor_values, row_index * columns + c);
      for (size_t g = 0; g < kGroups.size(); ++g)
        if (c % kGroups[g] == 0) group_scale[g] = 0;
      if (value == 0) continue;
      tensor = tensor && agrees(value, tensor_scale);
      row = row && agrees(value, row_scale);
      for (size_t g = 0; g < kGroups.size(); ++g) group[g] = group[g] && agrees(value, group_scale[g]);
    }
  }
};

}  // namespace

Result<HfWeights> HfWeights::open(const Safetensors& tensors, HfConfig& config) {
  HfWeights weights(tensors, config);
  RETURN_IF_ERROR(weights.complete(config));
  RETURN_IF_ERROR(weights.check_names());
  ASSIGN_OR_RETURN([[maybe_unused]] const auto* table, weights.find_table(weights.name_of_embedding()));
  if (config.storage == TernaryStorage::kUnpacked) RETURN_IF_ERROR(weights.find_granularity());
  return weights;
}

Status HfWeights::complete(HfConfig& config) {
  auto& m = config.model;
  const auto has = [&](const std::string& name) { return tensors_.find(prefix_ + name) != nullptr; };
  if (!has("embed_tokens.weight") && tensors_.find("embed_tokens.weight") != nullptr) {
    prefix_.clear();  // a model without a head is saved without the part that holds it
    m.tied_head = true;
    if (m.pooling == Pooling::kNone) m.pooling = Pooling::kLast;
  }
  for (const char* name : {"norm", "rms_norm"})
    if (has(fmt::format("layers.0.self_attn.q_proj.{}.weight", name))) projection_norm_ = name;
  if (projection_norm_.empty() && config.needs_projection_norms)
    return fail("{}: config.json says use_rms_norm, but tensor {}layers.0.self_attn.q_proj.rms_norm.weight is missing",
                tensors_.path(), prefix_);
  if (projection_norm_.empty()) return {};
  if (m.norms.sub)
    return fail("{}: has both sub-norms and a norm for each projection, which this version does not know",
                tensors_.path());
  m.norms.sub = m.norms.projections = true;
  if (config.storage == TernaryStorage::kUnpacked) config.storage = TernaryStorage::kMaster;
  return {};
}

/// Every tensor is one that this model is computed with, or none of its forward pass: another could change answers.
Status HfWeights::check_names() const {
  std::set<std::string, std::less<>> known{name_of_embedding(), prefix_ + "norm.weight", "lm_head.weight"};
  for (uint32_t layer = 0; layer < config_.model.layers; ++layer) {
    for (const auto norm : norms_of(config_.model)) known.insert(name_of_norm(layer, norm));
    for (const auto linear : kLinears)
      for (const char* part : {".weight", ".weight_scale"}) known.insert(name_of_linear(layer, linear) + part);
  }
  for (const auto& name : known)
    if (!name.ends_with(".weight_scale") && (name != "lm_head.weight" || !config_.model.tied_head) &&
        tensors_.find(name) == nullptr && tensors_.other_type(name).empty())
      return fail("{}: tensor {} is missing", tensors_.path(), name);
  const auto harmless = [](std::string_view name) { return name.ends_with("rotary_emb.inv_freq"); };
  for (const auto& [name, tensor] : tensors_.tensors())
    if (!known.contains(name) && !harmless(name))
      return fail("{}: tensor {}: this version does not know what it does in a model like this (config.json)",
                  tensors_.path(), printable(name, 100));
  return {};
}

std::string HfWeights::name_of_linear(uint32_t layer, Linear linear) const {
  return fmt::format("{}layers.{}.{}", prefix_, layer, kHfLinears[static_cast<size_t>(linear)]);
}

std::string HfWeights::name_of_norm(uint32_t layer, Norm norm) const {
  const auto of_linear = [&](Linear linear) {
    return fmt::format("{}.{}.weight", name_of_linear(layer, linear), projection_norm_);
  };
  const auto named = [&](const char* name) { return fmt::format("{}layers.{}.{}.weight", prefix_, layer, name); };
  const bool first_bitnet = config_.sub_norm_names == SubNormNames::kBitnet3B;
  switch (norm) {
    case Norm::kAttention:
      return named("input_layernorm");
    case Norm::kAttentionSub:
      if (!projection_norm_.empty()) return of_linear(Linear::kAttentionOutput);
      return named(first_bitnet ? "self_attn.inner_attn_ln" : "self_attn.attn_sub_norm");
    case Norm::kFfn:
      return named("post_attention_layernorm");
    case Norm::kFfnSub:
      if (!projection_norm_.empty()) return of_linear(Linear::kDown);
      return named(first_bitnet ? "mlp.ffn_layernorm" : "mlp.ffn_sub_norm");
    case Norm::kQueryHead:
      return named("self_attn.q_norm");
    case Norm::kKeyHead:
      return named("self_attn.k_norm");
    case Norm::kQueryInput:
      return of_linear(Linear::kQuery);
    case Norm::kKeyInput:
      return of_linear(Linear::kKey);
    case Norm::kValueInput:
      return of_linear(Linear::kValue);
    case Norm::kGateInput:
      return of_linear(Linear::kGate);
    case Norm::kUpInput:
      break;
  }
  return of_linear(Linear::kUp);
}

/// The coarsest granularity that all tensors allow.
Status HfWeights::find_granularity() {
  Granularities allowed;
  for (uint32_t layer = 0; layer < config_.model.layers; ++layer)
    for (const auto linear : kLinears) {
      ASSIGN_OR_RETURN(const auto* weight, find_linear(layer, linear));
      const auto shape = shape_of(config_.model, linear);
      allowed.tensor_scale = 0;
      for (uint64_t row = 0; row < shape.outputs; ++row) {
        allowed.add_row(*weight, row, shape.inputs);
        if (!allowed.any())
          return fail(
              "{}: {}.weight: row {} holds other values than -1, 0 and 1 times a scale for each 32 columns: this is "
              "no ternary model, and made ternary now it would not survive",
              tensors_.path(), name_of_linear(layer, linear), row);
      }
    }
  if (allowed.tensor) return {};
  granularity_ = allowed.row ? ScaleGranularity::kRow : ScaleGranularity::kGroup;
  for (size_t g = Granularities::kGroups.size(); !allowed.row && g-- > 0;)
    if (allowed.group[g]) group_ = Granularities::kGroups[g];
  return {};
}

Status HfWeights::ternary_rows(uint32_t layer, Linear linear, uint64_t first, uint64_t count, std::span<int8_t> out) {
  if (config_.storage == TernaryStorage::kMaster) return ternarise(layer, linear, first, count, out);
  if (config_.storage == TernaryStorage::kUnpacked) return signs(layer, linear, first, count, out);
  return unpack(layer, linear, first, count, out);
}

Status HfWeights::ternary_scales(uint32_t layer, Linear linear, std::span<float> out) {
  if (config_.storage != TernaryStorage::kUnpacked) {
    ASSIGN_OR_RETURN(
        out[0], config_.storage == TernaryStorage::kMaster ? master_scale(layer, linear) : packed_scale(layer, linear));
    return {};
  }
  ASSIGN_OR_RETURN(const auto* weight, find_linear(layer, linear));
  const auto shape = shape_of(config_.model, linear);
  const uint64_t span = granularity_ == ScaleGranularity::kGroup ? group_ : shape.inputs;
  const uint64_t groups = (shape.inputs + span - 1) / span;
  std::fill(out.begin(), out.end(), 0.0f);
  for (uint64_t row = 0; row < shape.outputs; ++row)
    for (uint64_t c = 0; c < shape.inputs; ++c) {
      const float value = std::fabs(element(*weight, row * shape.inputs + c));
      RETURN_IF_ERROR(check_finite(name_of_linear(layer, linear) + ".weight", value));
      float& scale = out[granularity_ == ScaleGranularity::kTensor ? 0 : row * groups + c / span];
      scale = std::max(scale, value);
    }
  return {};
}

/// Two bits a weight, four rows to a byte: row r + i · (outputs / 4) in the bits 2i and 2i + 1 of byte [r, :].
Status HfWeights::unpack(uint32_t layer, Linear linear, uint64_t first, uint64_t count, std::span<int8_t> out) const {
  const auto shape = shape_of(config_.model, linear);
  ASSIGN_OR_RETURN(const auto* weight, find_linear(layer, linear));
  const uint64_t quarter = shape.outputs / 4;
  for (uint64_t r = 0; r < count; ++r) {
    const uint64_t row = first + r;
    const std::byte* bytes = weight->bytes.data() + row % quarter * shape.inputs;
    const auto shift = static_cast<unsigned>(2 * (row / quarter));
    for (uint64_t c = 0; c < shape.inputs; ++c) {
      const auto code = (static_cast<unsigned>(bytes[c]) >> shift) & 3u;
      if (code == 3)
        return fail("{}: {}.weight: row {}, column {}: code 3 is no ternary weight", tensors_.path(),
                    name_of_linear(layer, linear), row, c);
      out[r * shape.inputs + c] = static_cast<int8_t>(static_cast<int>(code) - 1);
    }
  }
  return {};
}

Result<float> HfWeights::packed_scale(uint32_t layer, Linear linear) const {
  const auto name = name_of_linear(layer, linear) + ".weight_scale";
  ASSIGN_OR_RETURN(const auto* tensor, find_float(name, {1}));
  const float stored = element(*tensor, 0);
  if (!(stored > 0.0f) || !std::isfinite(stored))
    return fail("{}: {} is {}, expected a finite number above 0", tensors_.path(), name, stored);
  const float scale = config_.storage == TernaryStorage::kPackedMultiply ? stored : 1.0f / stored;
  if (!(scale > 0.0f) || !std::isfinite(scale))
    return fail("{}: {} is {}, whose reciprocal is no finite number", tensors_.path(), name, stored);
  return scale;
}

/// mean |W|, at least 1e-5 (BitNet b1.58, absmean quantisation).
Result<float> HfWeights::master_scale(uint32_t layer, Linear linear) {
  if (scale_of_ == std::pair(layer, linear)) return scale_;
  ASSIGN_OR_RETURN(const auto* weight, find_linear(layer, linear));
  const uint64_t n = weight->bytes.size() / element_bytes(weight->dtype);
  double sum = 0;
  for (uint64_t i = 0; i < n; ++i) sum += std::fabs(double{element(*weight, i)});
  RETURN_IF_ERROR(check_finite(name_of_linear(layer, linear) + ".weight", static_cast<float>(sum)));
  scale_ = std::max(static_cast<float>(sum / static_cast<double>(n)), 1e-5f);
  scale_of_ = {layer, linear};
  return scale_;
}

/// round(W / scale), clamped to -1..1.
Status HfWeights::ternarise(uint32_t layer, Linear linear, uint64_t first, uint64_t count, std::span<int8_t> out) {
  const uint64_t columns = shape_of(config_.model, linear).inputs;
  ASSIGN_OR_RETURN(const auto* weight, find_linear(layer, linear));
  ASSIGN_OR_RETURN(const float scale, master_scale(layer, linear));
  for (uint64_t i = 0; i < count * columns; ++i)
    out[i] =
        static_cast<int8_t>(std::clamp(std::nearbyint(element(*weight, first * columns + i) / scale), -1.0f, 1.0f));
  return {};
}

/// Of unpacked weights, whose magnitudes find_granularity() has looked at.
Status HfWeights::signs(uint32_t layer, Linear linear, uint64_t first, uint64_t count, std::span<int8_t> out) const {
  const uint64_t columns = shape_of(config_.model, linear).inputs;
  ASSIGN_OR_RETURN(const auto* weight, find_linear(layer, linear));
  for (uint64_t i = 0; i < count * columns; ++i) {
    const float value = element(*weight, first * columns + i);
    out[i] = static_cast<int8_t>((value > 0) - (value < 0));
  }
  return {};
}

Status HfWeights::norm(uint32_t layer, Norm norm, std::span<float> out) {
  return vector(name_of_norm(layer, norm), out);
}

Status HfWeights::output_norm(std::span<float> out) {
  return vector(prefix_ + "norm.weight", out);
}

Status HfWeights::embedding_row(uint64_t row, std::span<uint16_t> out) {
  ASSIGN_OR_RETURN(const auto* table, find_table(name_of_embedding()));
  for (size_t c = 0; c < out.size(); ++c) {
    const float value = element(*table, row * out.size() + c);
    out[c] = float_to_bf16(value);
    RETURN_IF_ERROR(check_finite(name_of_embedding(), bf16_to_float(out[c])));
  }
  return {};
}

Status HfWeights::head_row(uint64_t row, std::span<float> out) {
  const auto name = config_.model.tied_head ? name_of_embedding() : "lm_head.weight";
  ASSIGN_OR_RETURN(const auto* table, find_table(name));
  for (size_t c = 0; c < out.size(); ++c) {
    out[c] = element(*table, row * out.size() + c);
    RETURN_IF_ERROR(check_finite(name, out[c]));
  }
  return {};
}

Status HfWeights::check_finite(std::string_view name, float value) const {
  if (!std::isfinite(value)) return fail("{}: {}: holds {}, expected finite numbers", tensors_.path(), name, value);
  return {};
}

Result<const SourceTensor*> HfWeights::find(const std::string& name, const std::vector<uint64_t>& shape) const {
  const auto* tensor = tensors_.find(name);
  if (tensor == nullptr) {
    const auto type = tensors_.other_type(name);
    if (!type.empty())
      return fail("{}: tensor {}: type is {}, which this version cannot read", tensors_.path(), name, printable(type));
    return fail("{}: tensor {} is missing", tensors_.path(), name);
  }
  if (tensor->shape != shape)
    return fail("{}: tensor {}: shape is [{}], expected [{}]", tensors_.path(), name, fmt::join(tensor->shape, ", "),
                fmt::join(shape, ", "));
  return tensor;
}

Result<const SourceTensor*> HfWeights::find_float(const std::string& name, const std::vector<uint64_t>& shape) const {
  ASSIGN_OR_RETURN(const auto* tensor, find(name, shape));
  if (tensor->dtype == DType::kU8)
    return fail("{}: tensor {}: type is U8, expected BF16, F16 or F32", tensors_.path(), name);
  return tensor;
}

Result<const SourceTensor*> HfWeights::find_table(const std::string& name) const {
  return find_float(name, {config_.model.vocabulary, config_.model.hidden});
}

Result<const SourceTensor*> HfWeights::find_linear(uint32_t layer, Linear linear) const {
  const auto shape = shape_of(config_.model, linear);
  const auto name = name_of_linear(layer, linear) + ".weight";
  const bool packed =
      config_.storage == TernaryStorage::kPackedMultiply || config_.storage == TernaryStorage::kPackedDivide;
  if (!packed) return find_float(name, {shape.outputs, shape.inputs});
  if (shape.outputs % 4 != 0)
    return fail("{}: tensor {}: {} rows, expected a multiple of 4 for packed weights", tensors_.path(), name,
                shape.outputs);
  ASSIGN_OR_RETURN(const auto* tensor, find(name, {shape.outputs / 4, shape.inputs}));
  if (tensor->dtype != DType::kU8)
    return fail("{}: tensor {}: type is {}, expected U8 (quantization_mode offline)", tensors_.path(), name,
                onebit::name_of(tensor->dtype));
  return tensor;
}

Status HfWeights::vector(const std::string& name, std::span<float> out) const {
  ASSIGN_OR_RETURN(const auto* tensor, find_float(name, {out.size()}));
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = element(*tensor, i);
    RETURN_IF_ERROR(check_finite(name, out[i]));
  }
  return {};
}

}  // namespace onebit
