#include "format/import/gguf_import.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>

#include "base/utf8.h"
#include "format/import/gguf_tokenizer.h"
#include "format/import/gguf_weights.h"

namespace onebit {
namespace {

/// The keys of one architecture.
class ArchitectureKeys {
 public:
  ArchitectureKeys(const GgufFile& file, std::string_view architecture) : file_(file), architecture_(architecture) {}

  std::string key(std::string_view name) const { return fmt::format("{}.{}", architecture_, name); }

  Result<uint32_t> dimension(std::string_view name, std::optional<uint64_t> otherwise = std::nullopt) const {
    ASSIGN_OR_RETURN(auto value, file_.whole(key(name)));
    if (!value) value = otherwise;
    if (!value) return fail("{}: metadata {} is missing", file_.path(), key(name));
    // validate() has the true bounds.
    return static_cast<uint32_t>(std::min<uint64_t>(*value, UINT32_MAX));
  }
  Result<double> number(std::string_view name, std::optional<double> otherwise = std::nullopt) const {
    ASSIGN_OR_RETURN(auto value, file_.number(key(name)));
    if (!value) value = otherwise;
    if (!value) return fail("{}: metadata {} is missing", file_.path(), key(name));
    return *value;
  }
  /// An error where the key is there with another value.
  Status check_equal(std::string_view name, uint64_t expected) const {
    ASSIGN_OR_RETURN(const auto value, file_.whole(key(name)));
    if (value && *value != expected)
      return fail("{}: metadata {}: found {}, this version has {} only", file_.path(), key(name), *value, expected);
    return {};
  }
  Result<RopeScaling> rope_scaling() const {
    RopeScaling scaling;
    ASSIGN_OR_RETURN(const auto type, file_.text(key("rope.scaling.type")));
    // A factor without a type is linear's; early files call it scale_linear.
    ASSIGN_OR_RETURN(const auto told, file_.number(key("rope.scaling.factor")));
    ASSIGN_OR_RETURN(const auto early, file_.number(key("rope.scale_linear")));
    const double factor = told.value_or(early.value_or(type ? 0 : 1));
    if (type ? *type == "none" : factor == 1) return scaling;
    if (type && *type != "linear")
      return fail(
          "{}: metadata {}: found '{}', this version knows none and linear; convert the model's Hugging Face folder "
          "instead",
          file_.path(), key("rope.scaling.type"), printable(*type));
    scaling.kind = RopeScaling::Kind::kLinear;
    scaling.factor = factor;
    if (!(scaling.factor >= 1 && scaling.factor <= 1e6))
      return fail("{}: metadata {}: found {}, expected 1 to 1000000", file_.path(), key("rope.scaling.factor"),
                  scaling.factor);
    return scaling;
  }

  /// A key of the architecture that nobody here has heard of may change the forward pass.
  Status check_keys() const {
    constexpr std::array<std::string_view, 25> kKnown{"block_count",
                                                      "context_length",
                                                      "embedding_length",
                                                      "feed_forward_length",
                                                      "attention.head_count",
                                                      "attention.head_count_kv",
                                                      "attention.key_length",
                                                      "attention.value_length",
                                                      "attention.layer_norm_rms_epsilon",
                                                      "attention.layer_norm_epsilon",
                                                      "attention.sliding_window",
                                                      "attention.causal",
                                                      "rope.dimension_count",
                                                      "rope.freq_base",
                                                      "rope.scaling.type",
                                                      "rope.scaling.factor",
                                                      "rope.scaling.original_context_length",
                                                      "rope.scaling.finetuned",
                                                      "rope.scale_linear",
                                                      "vocab_size",
                                                      "expert_count",
                                                      "expert_used_count",
                                                      "pooling_type",
                                                      "tensor_data_layout",
                                                      "attention.scale"};
    const auto prefix = key("");
    for (const auto& [name, value] : file_.metadata())
      if (name.starts_with(prefix) &&
          std::find(kKnown.begin(), kKnown.end(), std::string_view(name).substr(prefix.size())) == kKnown.end())
        return fail("{}: metadata {}: this version does not know what it changes", file_.path(), printable(name));
    ASSIGN_OR_RETURN(const auto causal, file_.boolean(key("attention.causal")));
    if (!causal.value_or(true))
      return fail("{}: metadata {} is false: this version attends to earlier tokens only", file_.path(),
                  key("attention.causal"));
    return {};
  }
  /// What scores are multiplied by can only be 1 / sqrt(head_dim).
  Status check_scale(uint32_t head_dim) const {
    ASSIGN_OR_RETURN(const auto scale, file_.number(key("attention.scale")));
    if (!scale || std::fabs(*scale * std::sqrt(static_cast<double>(head_dim)) - 1) < 1e-6) return {};
    return fail("{}: metadata {}: found {}, this version has 1 / sqrt({}) only", file_.path(), key("attention.scale"),
                *scale, head_dim);
  }

 private:
  const GgufFile& file_;
  std::string_view architecture_;
};

Result<Activation> activation_of(const GgufFile& file, const GgufArchitecture& architecture) {
  ASSIGN_OR_RETURN(const auto told, file.text("onebit.activation"));
  if (!told) return architecture.activation;
  for (const auto activation : {Activation::kSquaredRelu, Activation::kSilu})
    if (*told == name_of(activation)) return activation;
  return fail("{}: metadata onebit.activation: found '{}', this version knows relu2 and silu", file.path(),
              printable(*told));
}

/// Ours, or llama.cpp's pooling_type: 0 none, 1 mean, 2 the first token's, 3 the last's.
Result<Pooling> pooling_of(const GgufFile& file, const ArchitectureKeys& keys) {
  ASSIGN_OR_RETURN(const auto told, file.whole("onebit.pooling"));
  if (told) return static_cast<Pooling>(std::min<uint64_t>(*told, UINT32_MAX));  // validate() knows those there are
  ASSIGN_OR_RETURN(const auto type, file.whole(keys.key("pooling_type")));
  switch (type.value_or(0)) {
    case 0:
      return Pooling::kNone;
    case 1:
      return Pooling::kMean;
    case 3:
      return Pooling::kLast;
    default:
      return fail("{}: metadata {}: found {}, this version knows 0 (none), 1 (mean) and 3 (last)", file.path(),
                  keys.key("pooling_type"), *type);
  }
}

Result<uint32_t> head_dim_of(const ArchitectureKeys& keys, const ModelConfig& c) {
  const bool divides = c.heads != 0 && c.hidden % c.heads == 0;
  return keys.dimension("attention.key_length", divides ? std::optional<uint64_t>(c.hidden / c.heads) : std::nullopt);
}

Provenance provenance_of(const ConvertOptions& options, const GgufFile& file, const std::string& types) {
  const auto text = [&](std::string_view key) {
    const auto value = file.text(key);
    return value ? std::string(value->value_or("")) : std::string();
  };
  const auto path = std::filesystem::path(options.folder);
  const auto name = !options.name.empty() ? options.name : text("general.name");
  const auto licence = !options.licence.empty() ? options.licence : text("general.license");
  Provenance p;
  p.emplace_back("name", name.empty() ? path.stem().string() : name);
  p.emplace_back("source", options.source.empty() ? path.filename().string() : options.source);
  p.emplace_back("source_format", "GGUF, " + types);
  if (!licence.empty()) p.emplace_back("licence", licence);
  p.emplace_back("converter", options.converter);
  p.emplace_back("date", options.date);
  for (auto& [key, value] : p) value = utf8_replace_invalid(value);
  return p;
}

void add_layout_notes(const GgufFile& file, const GgufWeights& weights, std::vector<std::string>& notes) {
  if (weights.has_type(gguf::Type::kI2_S))
    notes.push_back(
        "i2_s: read as bitnet.cpp writes it on x86, 128 weights in 32 bytes; other layouts have the same number and "
        "nothing tells them apart, so if answers make no sense, convert the model's Hugging Face folder instead");
  const bool of_128 = std::any_of(file.tensors().begin(), file.tensors().end(),
                                  [](const auto& entry) { return entry.second.info == &gguf::q2_0_of_128(); });
  if (of_128) notes.push_back("q2_0: read in blocks of 128 weights, as the tensors' sizes have it");
}

}  // namespace

Result<GgufConfig> read_gguf_config(const GgufFile& file) {
  ASSIGN_OR_RETURN(const auto name, file.text("general.architecture"));
  if (!name) return fail("{}: metadata general.architecture is missing", file.path());
  GgufConfig config;
  config.architecture = find_gguf_architecture(*name);
  if (config.architecture == nullptr)
    return fail("{}: metadata general.architecture: found '{}', this version reads {}", file.path(), printable(*name),
                gguf_architecture_names());
  ASSIGN_OR_RETURN(const auto parts, file.whole("split.count"));
  if (parts.value_or(1) > 1)
    return fail("{}: is one of {} parts of a model; merge them first (llama-gguf-split --merge)", file.path(), *parts);

  const ArchitectureKeys keys(file, config.architecture->name);
  auto& c = config.model;
  c.norms = config.architecture->norms;
  ASSIGN_OR_RETURN(c.pooling, pooling_of(file, keys));
  ASSIGN_OR_RETURN(c.activation, activation_of(file, *config.architecture));
  ASSIGN_OR_RETURN(c.layers, keys.dimension("block_count"));
  ASSIGN_OR_RETURN(c.hidden, keys.dimension("embedding_length"));
  ASSIGN_OR_RETURN(c.ffn, keys.dimension("feed_forward_length"));
  ASSIGN_OR_RETURN(c.heads, keys.dimension("attention.head_count"));
  ASSIGN_OR_RETURN(c.kv_heads, keys.dimension("attention.head_count_kv", c.heads));
  ASSIGN_OR_RETURN(c.head_dim, head_dim_of(keys, c));
  ASSIGN_OR_RETURN(c.context, keys.dimension("context_length"));
  ASSIGN_OR_RETURN(const double epsilon, keys.number("attention.layer_norm_rms_epsilon"));
  c.rms_epsilon = static_cast<float>(epsilon);
  ASSIGN_OR_RETURN(const double theta, keys.number("rope.freq_base", 10000.0));
  ASSIGN_OR_RETURN(const auto exact_theta, file.number("onebit.rope_theta"));
  c.rope_theta = exact_theta.value_or(theta);
  RETURN_IF_ERROR(keys.check_equal("attention.value_length", c.head_dim));
  RETURN_IF_ERROR(keys.check_equal("rope.dimension_count", c.head_dim));
  RETURN_IF_ERROR(keys.check_equal("expert_count", 0));
  RETURN_IF_ERROR(keys.check_equal("attention.sliding_window", 0));
  RETURN_IF_ERROR(keys.check_keys());
  RETURN_IF_ERROR(keys.check_scale(c.head_dim));
  ASSIGN_OR_RETURN(config.rope, keys.rope_scaling());
  const auto* embedding = file.find("token_embd.weight");
  if (embedding == nullptr || embedding->shape.size() != 2)
    return fail("{}: tensor token_embd.weight is missing, or no matrix", file.path());
  c.vocabulary = static_cast<uint32_t>(std::min<uint64_t>(embedding->shape[1], UINT32_MAX));
  RETURN_IF_ERROR(keys.check_equal("vocab_size", c.vocabulary));
  c.tied_head = file.find("output.weight") == nullptr;
  if (const auto status = validate(c); !status) return fail_in(file.path(), status.error());
  return config;
}

Result<ConvertSummary> convert_gguf(const ConvertOptions& options, const WriteProgress& progress) {
  ASSIGN_OR_RETURN(const auto file, GgufFile::open(options.folder));
  ASSIGN_OR_RETURN(const auto config, read_gguf_config(file));
  ConvertSummary summary;
  summary.config = config.model;
  ModelParts parts;
  parts.config = config.model;
  parts.rope = config.rope;
  // An error may stem from a file that changes; that explains it better.
  const auto explain = [&](const Error& error) -> tl::unexpected<Error> {
    if (const auto unchanged = file.check_unchanged(); !unchanged) return tl::unexpected(unchanged.error());
    return tl::unexpected(error);
  };
  auto weights = GgufWeights::open(file, *config.architecture, config.model);
  if (!weights) return explain(weights.error());
  auto tokenizer = import_gguf_tokenizer(file, config.model.vocabulary, options.chat, summary.notes);
  if (!tokenizer) return explain(tokenizer.error());
  parts.tokenizer = *std::move(tokenizer);
  add_layout_notes(file, *weights, summary.notes);
  const auto damage = check_sparse(options, config.model, *weights);
  if (!damage) return explain(damage.error());
  summary.damage = *damage;
  parts.provenance = provenance_of(options, file, weights->ternary_types());
  summary.chat_layout = parts.tokenizer.chat.layout;
  if (auto written = write_model(options.output, parts, options.packings, *weights, progress); !written)
    return explain(written.error());
  return summary;
}

}  // namespace onebit
