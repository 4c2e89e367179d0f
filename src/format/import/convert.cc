#include "format/import/convert.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "base/half.h"
#include "base/utf8.h"
#include "format/import/hf_config.h"
#include "format/import/hf_tokenizer.h"
#include "format/import/json.h"
#include "format/import/safetensors.h"

namespace onebit {
namespace {

constexpr std::array kHfLinears{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                                "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj"};
constexpr std::array kHfNorms{"input_layernorm", "self_attn.attn_sub_norm", "post_attention_layernorm",
                              "mlp.ffn_sub_norm"};

std::string hf_name(uint32_t layer, Linear linear) {
  return fmt::format("model.layers.{}.{}", layer, kHfLinears[static_cast<size_t>(linear)]);
}

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

/// The weights of a BitNetForCausalLM folder. Every tensor is looked up and its shape checked when it
/// is first needed; nothing is copied but the rows asked for.
class HfWeights final : public WeightSource {
 public:
  HfWeights(const Safetensors& tensors, const HfConfig& config) : tensors_(tensors), config_(config) {}

  /// That the embedding has the config's rows: before memory is taken for as many tokens.
  Status check_vocabulary() const {
    ASSIGN_OR_RETURN([[maybe_unused]] const auto* table, find_table("model.embed_tokens.weight"));
    return {};
  }

  Status ternary_rows(uint32_t layer, Linear linear, uint64_t first, uint64_t count, std::span<int8_t> out) override {
    const auto shape = shape_of(config_.model, linear);
    ASSIGN_OR_RETURN(const auto* weight, find_linear(layer, linear));
    if (config_.storage == TernaryStorage::kMaster) return ternarise(*weight, layer, linear, first, count, out);
    const uint64_t quarter = shape.outputs / 4;
    for (uint64_t r = 0; r < count; ++r) {
      const uint64_t row = first + r;
      const std::byte* bytes = weight->bytes.data() + row % quarter * shape.inputs;
      const auto shift = static_cast<unsigned>(2 * (row / quarter));
      for (uint64_t c = 0; c < shape.inputs; ++c) {
        const auto code = (static_cast<unsigned>(bytes[c]) >> shift) & 3u;
        if (code == 3)
          return fail("{}: {}.weight: row {}, column {}: code 3 is no ternary weight", tensors_.path(),
                      hf_name(layer, linear), row, c);
        out[r * shape.inputs + c] = static_cast<int8_t>(static_cast<int>(code) - 1);
      }
    }
    return {};
  }

  Result<float> ternary_scale(uint32_t layer, Linear linear) override {
    if (config_.storage == TernaryStorage::kMaster) return master_scale(layer, linear);
    const auto name = hf_name(layer, linear) + ".weight_scale";
    ASSIGN_OR_RETURN(const auto* tensor, find_float(name, {1}));
    const float stored = element(*tensor, 0);
    if (!(stored > 0.0f) || !std::isfinite(stored))
      return fail("{}: {} is {}, expected a finite number above 0", tensors_.path(), name, stored);
    const float scale = config_.storage == TernaryStorage::kPackedMultiply ? stored : 1.0f / stored;
    if (!(scale > 0.0f) || !std::isfinite(scale))
      return fail("{}: {} is {}, whose reciprocal is no finite number", tensors_.path(), name, stored);
    return scale;
  }

  Status norm(uint32_t layer, Norm norm, std::span<float> out) override {
    return vector(fmt::format("model.layers.{}.{}.weight", layer, kHfNorms[static_cast<size_t>(norm)]), out);
  }
  Status output_norm(std::span<float> out) override { return vector("model.norm.weight", out); }

  Status embedding_row(uint64_t row, std::span<uint16_t> out) override {
    ASSIGN_OR_RETURN(const auto* table, find_table("model.embed_tokens.weight"));
    for (size_t c = 0; c < out.size(); ++c) {
      const float value = element(*table, row * out.size() + c);
      out[c] = float_to_bf16(value);
      RETURN_IF_ERROR(check_finite("model.embed_tokens.weight", bf16_to_float(out[c])));
    }
    return {};
  }

  Status head_row(uint64_t row, std::span<float> out) override {
    const char* name = config_.model.tied_head ? "model.embed_tokens.weight" : "lm_head.weight";
    ASSIGN_OR_RETURN(const auto* table, find_table(name));
    for (size_t c = 0; c < out.size(); ++c) {
      out[c] = element(*table, row * out.size() + c);
      RETURN_IF_ERROR(check_finite(name, out[c]));
    }
    return {};
  }

  Status check_unchanged() const override { return tensors_.check_unchanged(); }

 private:
  Status check_finite(std::string_view name, float value) const {
    if (!std::isfinite(value)) return fail("{}: {}: holds {}, expected finite numbers", tensors_.path(), name, value);
    return {};
  }

  Result<const SourceTensor*> find(const std::string& name, const std::vector<uint64_t>& shape) const {
    const auto* tensor = tensors_.find(name);
    if (tensor == nullptr) {
      const auto type = tensors_.other_type(name);
      if (!type.empty())
        return fail("{}: tensor {}: type is {}, which this version cannot read", tensors_.path(), name,
                    printable(type));
      return fail("{}: tensor {} is missing", tensors_.path(), name);
    }
    if (tensor->shape != shape)
      return fail("{}: tensor {}: shape is [{}], expected [{}]", tensors_.path(), name, fmt::join(tensor->shape, ", "),
                  fmt::join(shape, ", "));
    return tensor;
  }

  Result<const SourceTensor*> find_float(const std::string& name, const std::vector<uint64_t>& shape) const {
    ASSIGN_OR_RETURN(const auto* tensor, find(name, shape));
    if (tensor->dtype == DType::kU8)
      return fail("{}: tensor {}: type is U8, expected BF16, F16 or F32", tensors_.path(), name);
    return tensor;
  }

  Result<const SourceTensor*> find_table(const std::string& name) const {
    return find_float(name, {config_.model.vocabulary, config_.model.hidden});
  }

  Result<const SourceTensor*> find_linear(uint32_t layer, Linear linear) const {
    const auto shape = shape_of(config_.model, linear);
    const auto name = hf_name(layer, linear) + ".weight";
    if (config_.storage == TernaryStorage::kMaster) return find_float(name, {shape.outputs, shape.inputs});
    if (shape.outputs % 4 != 0)
      return fail("{}: tensor {}: {} rows, expected a multiple of 4 for packed weights", tensors_.path(), name,
                  shape.outputs);
    ASSIGN_OR_RETURN(const auto* tensor, find(name, {shape.outputs / 4, shape.inputs}));
    if (tensor->dtype != DType::kU8)
      return fail("{}: tensor {}: type is {}, expected U8 (quantization_mode offline)", tensors_.path(), name,
                  name_of(tensor->dtype));
    return tensor;
  }

  Status vector(const std::string& name, std::span<float> out) const {
    ASSIGN_OR_RETURN(const auto* tensor, find_float(name, {out.size()}));
    for (size_t i = 0; i < out.size(); ++i) {
      out[i] = element(*tensor, i);
      RETURN_IF_ERROR(check_finite(name, out[i]));
    }
    return {};
  }

  /// mean |W|, at least 1e-5 (BitNet b1.58, absmean quantisation).
  Result<float> master_scale(uint32_t layer, Linear linear) {
    if (scale_of_ == std::pair(layer, linear)) return scale_;
    ASSIGN_OR_RETURN(const auto* weight, find_linear(layer, linear));
    const uint64_t n = weight->bytes.size() / element_bytes(weight->dtype);
    double sum = 0;
    for (uint64_t i = 0; i < n; ++i) sum += std::fabs(double{element(*weight, i)});
    RETURN_IF_ERROR(check_finite(hf_name(layer, linear) + ".weight", static_cast<float>(sum)));
    scale_ = std::max(static_cast<float>(sum / static_cast<double>(n)), 1e-5f);
    scale_of_ = {layer, linear};
    return scale_;
  }

  /// round(W / scale), clamped to -1..1.
  Status ternarise(const SourceTensor& weight, uint32_t layer, Linear linear, uint64_t first, uint64_t count,
                   std::span<int8_t> out) {
    const uint64_t columns = shape_of(config_.model, linear).inputs;
    ASSIGN_OR_RETURN(const float scale, master_scale(layer, linear));
    for (uint64_t i = 0; i < count * columns; ++i)
      out[i] =
          static_cast<int8_t>(std::clamp(std::nearbyint(element(weight, first * columns + i) / scale), -1.0f, 1.0f));
    return {};
  }

  const Safetensors& tensors_;
  const HfConfig& config_;
  float scale_ = 0;  // of the tensor scale_of_: a master's scale takes a pass over all its weights
  std::pair<uint32_t, Linear> scale_of_{UINT32_MAX, Linear::kQuery};
};

Result<HfTokenizerFiles> read_tokenizer_files(const std::string& folder, std::string config_json) {
  HfTokenizerFiles files;
  files.folder = folder;
  files.config_json = std::move(config_json);
  const auto path_of = [&](const char* name) { return (std::filesystem::path(folder) / name).string(); };
  ASSIGN_OR_RETURN(files.tokenizer_json, read_text_file(path_of("tokenizer.json"), kMaxJsonBytes));
  for (const auto& [name, text] : {std::pair{"tokenizer_config.json", &files.tokenizer_config_json},
                                   {"generation_config.json", &files.generation_config_json},
                                   {"chat_template.jinja", &files.chat_template_jinja}}) {
    std::error_code ignored;
    if (!std::filesystem::exists(path_of(name), ignored)) continue;
    ASSIGN_OR_RETURN(*text, read_text_file(path_of(name), kMaxJsonBytes));
  }
  return files;
}

Provenance provenance_of(const ConvertOptions& options, TernaryStorage storage) {
  const auto folder = std::filesystem::path(options.folder).lexically_normal();
  const auto folder_name = (folder.has_filename() ? folder : folder.parent_path()).filename().string();
  Provenance p;
  p.emplace_back("name", options.name.empty() ? folder_name : options.name);
  p.emplace_back("source", folder_name);
  p.emplace_back("source_format", storage == TernaryStorage::kMaster ? "safetensors, full-precision masters"
                                                                     : "safetensors, packed ternary");
  if (!options.licence.empty()) p.emplace_back("licence", options.licence);
  p.emplace_back("converter", options.converter);
  p.emplace_back("date", options.date);
  for (auto& [key, value] : p) value = utf8_replace_invalid(value);
  return p;
}

}  // namespace

Result<s1_25::Damage> check_sparse(const ConvertOptions& options, const ModelConfig& config, WeightSource& weights) {
  if (options.packings.ternary != Packing::kS1_25) return s1_25::Damage{};
  ASSIGN_OR_RETURN(const auto damage, sparse_damage(config, weights));
  if (damage.changed_weights == 0 || options.packings.force_sparse) return damage;
  return fail(
      "{}: was not trained for s1_25: of every four weights exactly one has to be zero, and {:.1f} % of the groups "
      "are otherwise; {} of {} weights would change ({:.0f} % of them), which no dense model survives. Convert it "
      "to t1_6, or see for yourself with --force",
      options.folder, 100.0 * static_cast<double>(damage.changed_groups) / static_cast<double>(damage.groups),
      damage.changed_weights, damage.weights,
      100.0 * static_cast<double>(damage.changed_weights) / static_cast<double>(damage.weights));
}

Result<ConvertSummary> convert_hf_folder(const ConvertOptions& options, const WriteProgress& progress) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(options.folder, ignored))
    return fail("{}: is neither a GGUF file nor a folder; give the folder that holds config.json and model.safetensors", options.folder);
  const auto config_path = (std::filesystem::path(options.folder) / "config.json").string();
  ASSIGN_OR_RETURN(auto config_text, read_text_file(config_path, kMaxJsonBytes));
  ASSIGN_OR_RETURN(const auto config, parse_hf_config(config_text, config_path));
  ASSIGN_OR_RETURN(const auto tokenizer_files, read_tokenizer_files(options.folder, std::move(config_text)));
  ASSIGN_OR_RETURN(const auto tensors, Safetensors::open_folder(options.folder));
  HfWeights weights(tensors, config);
  RETURN_IF_ERROR(weights.check_vocabulary());
  ASSIGN_OR_RETURN(const auto damage, check_sparse(options, config.model, weights));
  ModelParts parts;
  parts.config = config.model;
  ASSIGN_OR_RETURN(parts.tokenizer, import_hf_tokenizer(tokenizer_files, config.model.vocabulary, options.chat));
  parts.provenance = provenance_of(options, config.storage);
  if (auto written = write_model(options.output, parts, options.packings, weights, progress); !written) {
    RETURN_IF_ERROR(tensors.check_unchanged());  // the better explanation of what was found in the weights
    return tl::unexpected(written.error());
  }
  return ConvertSummary{config.model, parts.tokenizer.chat.layout, damage, {}};
}

}  // namespace onebit
