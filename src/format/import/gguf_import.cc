#include "format/import/gguf_import.h"

#include <algorithm>
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
    if (!type || *type == "none") return scaling;
    if (*type != "linear")
      return fail(
          "{}: metadata {}: found '{}', this version knows none and linear; convert the model's Hugging Face folder "
          "instead",
          file_.path(), key("rope.scaling.type"), printable(*type));
    scaling.kind = RopeScaling::Kind::kLinear;
    ASSIGN_OR_RETURN(scaling.factor, number("rope.scaling.factor"));
    if (!(scaling.factor >= 1 && scaling.factor <= 1e6))
      return fail("{}: metadata {}: found {}, expected 1 to 1000000", file_.path(), key("rope.scaling.factor"),
                  scaling.factor);
    return scaling;
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

Result<Pooling> pooling_of(const GgufFile& file) {
  ASSIGN_OR_RETURN(const auto told, file.whole("onebit.pooling"));
  return static_cast<Pooling>(std::min<uint64_t>(told.value_or(0), UINT32_MAX));  // validate() knows those there are
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
  p.emplace_back("source", path.filename().string());
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
  ASSIGN_OR_RETURN(c.pooling, pooling_of(file));
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
  ASSIGN_OR_RETURN(config.rope, keys.rope_scaling());
  const auto* embedding = file.find("token_embd.weight");
  if (embedding == nullptr || embedding->shape.size() != 2)
    return fail("{}: tensor token_embd.weight is missing, or no matrix", file.path());
  c.vocabulary = static_cast<uint32_t>(std::min<uint64_t>(embedding->shape[1], UINT32_MAX));
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
