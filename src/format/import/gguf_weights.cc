#include "format/import/gguf_weights.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "base/half.h"
#include "base/utf8.h"
#include "format/import/gguf_blocks.h"

namespace onebit {
namespace {

constexpr const char* kTableName = "token_embd.weight";
constexpr const char* kOutputName = "output.weight";
constexpr const char* kRopeFactorsName = "rope_freqs.weight";

std::string gguf_name(std::string name) {
  return name + ".weight";
}

/// How strongly a block speaks for its scale.
enum Claim : uint8_t {
  kNoClaim = 0,    // a scale of 0: a block of zeros
  kWeakClaim = 1,  // weights of 0 only, so that the scale makes no difference
  kStrongClaim = 2,
};
Claim claim_of(std::span<const int8_t> trits, float scale) {
  if (scale == 0) return kNoClaim;
  return std::all_of(trits.begin(), trits.end(), [](int8_t w) { return w == 0; }) ? kWeakClaim : kStrongClaim;
}

/// A scale as blocks of this type store it.
float stored_scale(gguf::Type type, float scale) {
  if (type == gguf::Type::kF32 || type == gguf::Type::kI2_S) return scale;
  return type == gguf::Type::kBf16 ? bf16_to_float(float_to_bf16(scale)) : half_to_float(float_to_half(scale));
}

/// Which granularities a product's blocks allow so far.
class Agreement {
 public:
  void begin_row() {
    for (auto& part : parts_) part.scale = 0;
  }
  void add(uint64_t column, float scale) {
    check(whole_, 0, scale);
    check(parts_[0], 0, scale);
    for (size_t i = 1; i < parts_.size(); ++i) check(parts_[i], column / kWidths[i], scale);
  }
  bool one_a_tensor() const { return whole_.agrees; }
  bool one_a_row() const { return parts_[0].agrees; }
  /// The widest of 128, 64 and 32 columns.
  uint32_t group() const { return parts_[1].agrees ? 128 : parts_[2].agrees ? 64 : 32; }

 private:
  struct Part {
    uint64_t index = 0;
    float scale = 0;  // of the part at hand; 0: none yet
    bool agrees = true;
  };
  static void check(Part& part, uint64_t index, float scale) {
    if (index != part.index) part = {index, 0, part.agrees};
    if (part.scale != 0 && part.scale != scale) part.agrees = false;
    part.scale = scale;
  }
  static constexpr std::array<uint64_t, 3> kWidths{0, 128, 64};

  Part whole_;
  std::array<Part, 3> parts_;  // a row, 128 and 64 columns
};

}  // namespace

Result<GgufWeights> GgufWeights::open(const GgufFile& file, const GgufArchitecture& architecture,
                                      const ModelConfig& config) {
  GgufWeights weights(file, architecture, config);
  RETURN_IF_ERROR(weights.check_tensors());
  RETURN_IF_ERROR(weights.settle_granularity());
  return weights;
}

Result<const GgufTensor*> GgufWeights::find(const std::string& name, uint64_t rows, uint64_t columns) const {
  const auto* tensor = file_->find(name);
  if (tensor == nullptr) return fail("{}: tensor {} is missing", file_->path(), name);
  if (tensor->info == nullptr)
    return fail("{}: tensor {}: {}, which this version cannot read", file_->path(), name,
                gguf::name_of_type(tensor->type));
  if (tensor->columns() != columns || tensor->rows() != rows)
    return fail("{}: tensor {}: shape is [{}], expected [{}, {}]", file_->path(), name, fmt::join(tensor->shape, ", "),
                columns, rows);
  return tensor;
}

Result<const GgufTensor*> GgufWeights::find_linear(uint32_t layer, Linear linear) const {
  const auto shape = shape_of(*config_, linear);
  const auto name = gguf_name(tensor_name(layer, linear));
  ASSIGN_OR_RETURN(const auto* tensor, find(name, shape.outputs, shape.inputs));
  if (!is_ternary(*tensor->info))
    return fail(
        "{}: tensor {}: type is {}, which is not ternary; this version reads i2_s, tq1_0, tq2_0, q2_0, f16, bf16 "
        "and f32",
        file_->path(), name, tensor->info->name);
  return tensor;
}

Result<const GgufTensor*> GgufWeights::find_wide(const std::string& name, uint64_t rows, uint64_t columns) const {
  ASSIGN_OR_RETURN(const auto* tensor, find(name, rows, columns));
  if (!is_wide(*tensor->info))
    return fail("{}: tensor {}: type is {}, expected f32, f16, bf16, q8_0, q6_k, q4_k or q4_0", file_->path(), name,
                tensor->info->name);
  return tensor;
}

/// All that the model needs is there, and nothing that it would compute without.
Status GgufWeights::check_tensors() const {
  std::set<std::string, std::less<>> known{kTableName, gguf_name(kOutputNormName)};
  RETURN_IF_ERROR(find_wide(kTableName, config_->vocabulary, config_->hidden));
  RETURN_IF_ERROR(find_wide(gguf_name(kOutputNormName), 1, config_->hidden));
  if (!config_->tied_head) {
    RETURN_IF_ERROR(find_wide(kOutputName, config_->vocabulary, config_->hidden));
    known.insert(kOutputName);
  }
  for (uint32_t layer = 0; layer < config_->layers; ++layer) {
    for (const auto norm : norms_of(*config_)) {
      const auto name = gguf_name(tensor_name(layer, norm));
      RETURN_IF_ERROR(find_wide(name, 1, width_of(*config_, norm)));
      known.insert(name);
    }
    for (const auto linear : kLinears) {
      RETURN_IF_ERROR(find_linear(layer, linear));
      known.insert(gguf_name(tensor_name(layer, linear)));
      const auto scale = tensor_name(layer, linear) + ".scale";
      if (file_->find(scale) == nullptr) continue;
      RETURN_IF_ERROR(find_wide(scale, 1, 1));
      known.insert(scale);
    }
  }
  for (const auto& [name, tensor] : file_->tensors())
    if (name == kRopeFactorsName)
      RETURN_IF_ERROR(check_rope_factors());
    else if (!known.contains(name))
      return fail("{}: tensor {}: this version does not know what {} does with it", file_->path(), printable(name),
                  architecture_->name);
  return {};
}

/// Divisors of RoPE's frequencies: 1 changes none.
Status GgufWeights::check_rope_factors() const {
  std::vector<float> factors(config_->head_dim / 2);
  RETURN_IF_ERROR(wide_vector(kRopeFactorsName, factors));
  for (const float factor : factors)
    if (factor != 1.0f)
      return fail("{}: tensor {}: a factor is {}; this version has no RoPE with scaled frequencies", file_->path(),
                  kRopeFactorsName, factor);
  return {};
}

Status GgufWeights::decode(const GgufTensor& tensor, uint32_t layer, Linear linear, uint64_t row,
                           std::span<int8_t> trits, std::span<float> scales) const {
  const auto status = decode_ternary_row(tensor, gguf_row(*architecture_, *config_, linear, row), trits, scales);
  if (!status)
    return fail("{}: {}: row {}, {}", file_->path(), gguf_name(tensor_name(layer, linear)), row,
                status.error().message);
  return {};
}

// ---- Scales

Status GgufWeights::settle_granularity() {
  ASSIGN_OR_RETURN(const auto told, file_->text("onebit.granularity"));
  if (told) return read_granularity(*told);
  bool tensor = true, row = true;
  uint32_t group = 128;
  std::vector<int8_t> trits;
  std::vector<float> scales;
  for (uint32_t layer = 0; layer < config_->layers; ++layer)
    for (const auto linear : kLinears) {
      ASSIGN_OR_RETURN(const auto* t, find_linear(layer, linear));
      if (t->info->tail_bytes != 0) continue;  // one scale in the tail
      const uint64_t block = ternary_block(*t->info);
      trits.resize(t->columns());
      scales.resize((t->columns() + block - 1) / block);
      Agreement agreement;
      for (uint64_t r = 0; r < t->rows(); ++r) {
        RETURN_IF_ERROR(decode(*t, layer, linear, r, trits, scales));
        agreement.begin_row();
        for (uint64_t b = 0; b < scales.size(); ++b)
          if (claim_of(std::span(trits).subspan(b * block, std::min(block, trits.size() - b * block)), scales[b]) ==
              kStrongClaim)
            agreement.add(b * block, scales[b]);
      }
      tensor = tensor && agreement.one_a_tensor();
      row = row && agreement.one_a_row();
      group = std::min(group, agreement.group());
    }
  if (tensor) return {};
  granularity_ = row ? ScaleGranularity::kRow : ScaleGranularity::kGroup;
  group_ = row ? 0 : group;
  return {};
}

Status GgufWeights::read_granularity(std::string_view told) {
  if (told == "tensor") return {};
  if (told == "row") {
    granularity_ = ScaleGranularity::kRow;
    return {};
  }
  ASSIGN_OR_RETURN(const auto group, file_->whole("onebit.group"));
  if (told != "group" || !group || (*group != 32 && *group != 64 && *group != 128))
    return fail(
        "{}: metadata onebit.granularity: found '{}' and a group of {}, expected tensor, row, or group and 32, 64 or "
        "128",
        file_->path(), printable(told), group.value_or(0));
  granularity_ = ScaleGranularity::kGroup;
  group_ = static_cast<uint32_t>(*group);
  return {};
}

uint64_t GgufWeights::units_per_row(const GgufTensor& tensor) const {
  return granularity_ == ScaleGranularity::kGroup ? (tensor.columns() + group_ - 1) / group_ : 1;
}

/// Which scale serves a weight.
uint64_t GgufWeights::unit_of(const GgufTensor& tensor, uint64_t row, uint64_t column) const {
  if (granularity_ == ScaleGranularity::kTensor) return 0;
  return row * units_per_row(tensor) + (granularity_ == ScaleGranularity::kGroup ? column / group_ : 0);
}

/// Adds what a row's blocks say to scales_.
Status GgufWeights::take_claims(const GgufTensor& tensor, uint64_t row, std::span<const int8_t> trits,
                                std::span<const float> blocks, std::vector<uint8_t>& claims) {
  const uint64_t block = ternary_block(*tensor.info);
  const uint64_t step = granularity_ == ScaleGranularity::kGroup ? std::min<uint64_t>(block, group_) : block;
  for (uint64_t column = 0; column < tensor.columns(); column += step) {
    const float scale = blocks[column / block];
    const auto claim = claim_of(trits.subspan(column, std::min(step, trits.size() - column)), scale);
    const uint64_t unit = unit_of(tensor, row, column);
    if (claim == kStrongClaim && claims[unit] == kStrongClaim && scales_[unit] != scale)
      return fail("row {}, column {}: the scale is {}, that of weights before it which share one is {}", row, column,
                  scale, scales_[unit]);
    if (claim <= claims[unit]) continue;
    claims[unit] = claim;
    scales_[unit] = scale;
  }
  return {};
}

/// Exact scales from the metadata in place of those in the blocks, which have to be what they are rounded to.
Status GgufWeights::apply_told(const GgufTensor& tensor, const std::string& name, std::span<const uint8_t> claims) {
  const auto key = "onebit.scale." + name;
  if (!file_->has(key)) return {};
  ASSIGN_OR_RETURN(const auto told, file_->floats(key));
  if (told.size() != scales_.size())
    return fail("{}: metadata {}: {} numbers, expected {}", file_->path(), key, told.size(), scales_.size());
  for (size_t i = 0; i < told.size(); ++i) {
    if (!(told[i] >= 0) || !std::isfinite(told[i]))
      return fail("{}: metadata {}[{}]: found {}, expected a finite number from 0", file_->path(), key, i, told[i]);
    if (claims[i] == kStrongClaim && stored_scale(tensor.info->type, told[i]) != scales_[i])
      return fail("{}: metadata {}[{}]: found {}, but the weights' scale is {}", file_->path(), key, i, told[i],
                  scales_[i]);
  }
  scales_ = told;
  told_ = true;
  return {};
}

/// scales_ of this product.
Status GgufWeights::read_scales(uint32_t layer, Linear linear) {
  if (scales_of_ == std::pair(layer, linear)) return {};
  ASSIGN_OR_RETURN(const auto* tensor, find_linear(layer, linear));
  const auto name = tensor_name(layer, linear);
  const uint64_t block = ternary_block(*tensor->info);
  const uint64_t units = granularity_ == ScaleGranularity::kTensor ? 1 : tensor->rows() * units_per_row(*tensor);
  std::vector<uint8_t> claims(units);
  std::vector<int8_t> trits(tensor->columns());
  std::vector<float> blocks((tensor->columns() + block - 1) / block);
  scales_of_.first = UINT32_MAX;
  scales_.assign(units, 0.0f);
  told_ = false;
  for (uint64_t row = 0; row < tensor->rows(); ++row) {
    RETURN_IF_ERROR(decode(*tensor, layer, linear, row, trits, blocks));
    if (const auto status = take_claims(*tensor, row, trits, blocks, claims); !status)
      return fail("{}: tensor {}: {}", file_->path(), gguf_name(name), status.error().message);
  }
  RETURN_IF_ERROR(apply_told(*tensor, name, claims));
  if (file_->find(name + ".scale") != nullptr) {
    float factor = 0;
    RETURN_IF_ERROR(wide_vector(name + ".scale", {&factor, 1}));
    for (size_t i = 0; i < scales_.size(); ++i) {
      float& scale = scales_[i];
      scale = claims[i] == kNoClaim ? factor : scale * factor;  // zeros do not show theirs
      if (!(scale >= 0) || !std::isfinite(scale))
        return fail("{}: tensor {}.scale is {}, which makes a scale {}", file_->path(), name, factor, scale);
    }
  }
  scales_of_ = {layer, linear};
  return {};
}

Status GgufWeights::ternary_scales(uint32_t layer, Linear linear, std::span<float> out) {
  RETURN_IF_ERROR(read_scales(layer, linear));
  std::copy(scales_.begin(), scales_.end(), out.begin());
  return {};
}

// ---- Weights

Status GgufWeights::ternary_rows(uint32_t layer, Linear linear, uint64_t first, uint64_t count, std::span<int8_t> out) {
  RETURN_IF_ERROR(read_scales(layer, linear));
  ASSIGN_OR_RETURN(const auto* tensor, find_linear(layer, linear));
  const uint64_t columns = tensor->columns(), block = ternary_block(*tensor->info);
  std::vector<float> blocks((columns + block - 1) / block);
  for (uint64_t r = 0; r < count; ++r) {
    const auto trits = out.subspan(r * columns, columns);
    RETURN_IF_ERROR(decode(*tensor, layer, linear, first + r, trits, blocks));
    // A block of scale 0 is one of zeros; where its scale comes from the metadata it was only too small.
    for (uint64_t b = 0; b < blocks.size(); ++b)
      if (blocks[b] == 0 && !told_ && scales_[unit_of(*tensor, first + r, b * block)] != 0) {
        const auto zeros = trits.subspan(b * block, std::min(block, columns - b * block));
        std::fill(zeros.begin(), zeros.end(), int8_t{0});
      }
  }
  return {};
}

Status GgufWeights::wide_vector(const std::string& name, std::span<float> out) const {
  ASSIGN_OR_RETURN(const auto* tensor, find_wide(name, 1, out.size()));
  decode_wide_row(*tensor, 0, out);
  for (const float x : out)
    if (!std::isfinite(x)) return fail("{}: {}: holds {}, expected finite numbers", file_->path(), name, x);
  return {};
}

Status GgufWeights::norm(uint32_t layer, Norm norm, std::span<float> out) {
  return wide_vector(gguf_name(tensor_name(layer, norm)), out);
}
Status GgufWeights::output_norm(std::span<float> out) {
  return wide_vector(gguf_name(kOutputNormName), out);
}

Status GgufWeights::head_row(uint64_t row, std::span<float> out) {
  const char* name = config_->tied_head ? kTableName : kOutputName;
  ASSIGN_OR_RETURN(const auto* table, find_wide(name, config_->vocabulary, config_->hidden));
  decode_wide_row(*table, row, out);
  for (const float x : out)
    if (!std::isfinite(x)) return fail("{}: {}: row {} holds {}, expected finite numbers", file_->path(), name, row, x);
  return {};
}

Status GgufWeights::embedding_row(uint64_t row, std::span<uint16_t> out) {
  ASSIGN_OR_RETURN(const auto* table, find_wide(kTableName, config_->vocabulary, config_->hidden));
  std::vector<float> values(out.size());
  decode_wide_row(*table, row, values);
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = float_to_bf16(values[i]);
    if (!std::isfinite(bf16_to_float(out[i])))
      return fail("{}: {}: row {} holds {}, expected numbers that bf16 has", file_->path(), kTableName, row, values[i]);
  }
  return {};
}

// ---- What there is to say

bool GgufWeights::has_type(gguf::Type type) const {
  for (uint32_t layer = 0; layer < config_->layers; ++layer)
    for (const auto linear : kLinears)
      if (file_->find(gguf_name(tensor_name(layer, linear)))->info->type == type) return true;
  return false;
}

std::string GgufWeights::ternary_types() const {
  std::set<std::string_view> types;
  for (uint32_t layer = 0; layer < config_->layers; ++layer)
    for (const auto linear : kLinears) types.insert(file_->find(gguf_name(tensor_name(layer, linear)))->info->name);
  return fmt::format("{}", fmt::join(types, ", "));
}

}  // namespace onebit
