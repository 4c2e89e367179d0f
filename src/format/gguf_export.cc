#include "format/gguf_export.h"

#include <cmath>
#include <cstring>
#include <memory>

#include "base/half.h"
#include "format/gguf_architecture.h"
#include "format/gguf_metadata.h"
#include "format/gguf_writer.h"
#include "format/rope.h"

namespace onebit {
namespace {

using gguf::Type;

constexpr uint32_t kBlockWeights = 256, kQ8Block = 32;

template <class T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

std::string floats_text(std::span<const float> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size_bytes()};
}

/// What a number becomes in the file.
float rounded(Type type, float x) {
  return type == Type::kF32    ? x
         : type == Type::kBf16 ? bf16_to_float(float_to_bf16(x))
                               : half_to_float(float_to_half(x));
}

void put_rounded(std::string& out, Type type, float x) {
  if (type == Type::kF32)
    put(out, x);
  else
    put(out, type == Type::kBf16 ? float_to_bf16(x) : float_to_half(x));
}

bool is_plain(Type type) {
  return type == Type::kF16 || type == Type::kBf16 || type == Type::kF32;
}

// ---- Ternary products

/// The scales of a product, by row and group of columns.
class Scales {
 public:
  explicit Scales(const Tensor& t)
      : t_(t),
        width_(t.granularity == ScaleGranularity::kGroup ? t.group : t.columns),
        groups_((t.columns + width_ - 1) / width_) {}
  uint64_t width() const { return width_; }    // columns of a group
  uint64_t groups() const { return groups_; }  // of a row
  float at(uint64_t row, uint64_t group) const {
    if (t_.granularity == ScaleGranularity::kTensor) return t_.scale_values[0];
    return t_.scale_values[(row / kTileRows * groups_ + group) * kTileRows + row % kTileRows];
  }
  /// Row by row: as the metadata has them.
  std::vector<float> in_order() const {
    if (t_.granularity == ScaleGranularity::kTensor) return {t_.scale_values[0]};
    std::vector<float> out;
    for (uint64_t row = 0; row < t_.rows; ++row)
      for (uint64_t g = 0; g < groups_; ++g) out.push_back(at(row, g));
    return out;
  }

 private:
  const Tensor& t_;
  uint64_t width_, groups_;
};

/// How a product's scales fare in blocks.
struct ScaleLoss {
  bool exact = true;
  double largest = 0;  // relative error
};

/// Scales that blocks of this type give back to import_gguf as they were, or not.
Result<ScaleLoss> scale_loss(const Tensor& t, Type type) {
  const Scales scales(t);
  if (!is_plain(type) && scales.width() < kBlockWeights && scales.width() < t.columns)
    return fail("has a scale for {} columns, and a block of {} holds one for {}; use f16 or bf16", scales.width(),
                gguf::info_of(type).name, kBlockWeights);
  const Type stored_as = type == Type::kBf16 ? Type::kBf16 : Type::kF16;
  ScaleLoss loss;
  bool any = false;  // a weight other than 0 that the last scale belongs to
  std::vector<int8_t> weights(t.columns);
  for (uint64_t row = 0; row < t.rows; ++row) {
    if (is_plain(type)) unpack_row(t.packing, t.matrix, t.columns, row, weights);
    for (uint64_t g = 0; g < scales.groups(); ++g) {
      const float scale = scales.at(row, g), stored = rounded(stored_as, scale);
      if (stored != scale) {
        loss.exact = false;
        loss.largest = std::max(loss.largest, std::fabs(double{stored} / scale - 1));
      }
      if (!is_plain(type)) continue;
      const auto group =
          std::span(weights).subspan(g * scales.width(), std::min(scales.width(), t.columns - g * scales.width()));
      const bool zeros = std::all_of(group.begin(), group.end(), [](int8_t w) { return w == 0; });
      if (!zeros && stored == 0)
        return fail("has the scale {}, which is 0 in {}; use tq2_0", scale, gguf::info_of(type).name);
      // Values of 0 do not tell their scale.
      if (t.granularity != ScaleGranularity::kTensor && zeros && scale != 0) loss.exact = false;
      any = any || !zeros;
    }
  }
  if (is_plain(type) && t.granularity == ScaleGranularity::kTensor && !any && scales.at(0, 0) != 0) loss.exact = false;
  return loss;
}

/// `unit`: blocks have the scale 1, since a tensor beside them has it.
GgufEntry linear_entry(const Tensor& t, Type type, bool unit, std::function<uint64_t(uint64_t)> source_row) {
  return {t.name + ".weight", type, t.columns, t.rows, [&t, type, unit, source_row](uint64_t file_row) {
            const Scales scales(t);
            const uint64_t row = source_row(file_row);
            std::vector<int8_t> weights(t.columns);
            unpack_row(t.packing, t.matrix, t.columns, row, weights);
            const auto scale_of = [&](uint64_t column) {
              return unit ? 1.0f : scales.at(row, column / scales.width());
            };
            std::string out;
            if (is_plain(type)) {
              for (uint64_t c = 0; c < weights.size(); ++c)
                put_rounded(out, type, weights[c] == 0 ? 0.0f : static_cast<float>(weights[c]) * scale_of(c));
              return out;
            }
            for (size_t at = 0; at < weights.size(); at += kBlockWeights)
              out += gguf_block(type, std::span(weights).subspan(at).first<kBlockWeights>(), scale_of(at));
            return out;
          }};
}

// ---- The embedding, and an untied head

/// Blocks of 32 with a half-precision scale of max|x| / 127. `x` becomes what a reader makes of them.
std::string q8_0_row(std::span<float> x) {
  std::string out;
  for (size_t at = 0; at < x.size(); at += kQ8Block) {
    float largest = 0;
    for (size_t i = at; i < at + kQ8Block; ++i) largest = std::max(largest, std::fabs(x[i]));
    const float d = largest / 127.0f;
    put(out, float_to_half(d));
    for (size_t i = at; i < at + kQ8Block; ++i) {
      const auto q = static_cast<int8_t>(d == 0.0f ? 0.0f : std::nearbyint(x[i] / d));
      put(out, q);
      x[i] = rounded(Type::kF16, d) * static_cast<float>(q);
    }
  }
  return out;
}

/// The same of a plain type.
std::string plain_row(Type type, std::span<float> x) {
  std::string out;
  for (float& v : x) {
    put_rounded(out, type, v);
    v = rounded(type, v);
  }
  return out;
}

/// A row of q8 as floats that quantize_head_row makes the same row of: its largest value divided by 127 has to be
/// the scale exactly, so it may be a neighbour of 127 · scale.
std::vector<float> q8_row_values(std::span<const int8_t> q, float scale) {
  std::vector<float> x(q.size());
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(q[i]) * scale;
  const float product = 127.0f * scale;
  for (const float largest : {product, std::nextafter(product, INFINITY), std::nextafter(product, 0.0f)}) {
    if (largest / 127.0f != scale) continue;
    for (size_t i = 0; i < x.size(); ++i)
      if (std::abs(q[i]) == 127) x[i] = q[i] > 0 ? largest : -largest;
    break;
  }
  return x;
}

/// The embedding table, or a head, row by row as floats.
std::vector<float> wide_row(const Tensor& t, uint64_t row) {
  std::vector<float> x(t.columns);
  if (t.packing == Packing::kQ8) {
    std::vector<int8_t> q(t.columns);
    unpack_row(t.packing, t.matrix, t.columns, row, q);
    return q8_row_values(q, t.scale_values[row]);
  }
  const auto widen = t.packing == Packing::kF16 ? half_to_float : bf16_to_float;
  for (size_t i = 0; i < x.size(); ++i) {
    uint16_t bits = 0;
    std::memcpy(&bits, t.matrix.data() + (row * t.columns + i) * sizeof bits, sizeof bits);
    x[i] = widen(bits);
  }
  return x;
}

/// Whether the head's row is what a conversion makes of these values.
bool head_row_comes_back(const Tensor& head, uint64_t row, std::span<const float> x) {
  if (head.packing == Packing::kQ8) {
    std::vector<int8_t> stored(x.size()), again(x.size());
    unpack_row(head.packing, head.matrix, head.columns, row, stored);
    return quantize_head_row(x, again) == head.scale_values[row] && stored == again;
  }
  const Type type = head.packing == Packing::kF16 ? Type::kF16 : Type::kBf16;
  const auto stored = wide_row(head, row);
  return std::equal(x.begin(), x.end(), stored.begin(), [&](float a, float b) { return rounded(type, a) == b; });
}

/// Rows that a reader sees otherwise, counted while they are written.
struct TableLoss {
  uint64_t table_rows = 0;  // of this table
  uint64_t head_rows = 0;   // of the head that a conversion makes of it
};

/// `head`: null where this table's values make none.
GgufEntry table_entry(const Tensor& t, const std::string& name, Type type, const Tensor* head,
                      std::shared_ptr<TableLoss> loss) {
  return {name, type, t.columns, t.rows, [&t, type, head, loss](uint64_t row) {
            auto x = wide_row(t, row);
            const auto exact = x;
            auto out = type == Type::kQ8_0 ? q8_0_row(x) : plain_row(type, x);
            loss->table_rows += x != exact;
            if (head != nullptr) loss->head_rows += !head_row_comes_back(*head, row, x);
            return out;
          }};
}

// ---- The whole

class Exporter {
 public:
  Exporter(const H1bFile& model, const GgufOptions& options, const GgufArchitecture& architecture,
           GgufMetadata& metadata)
      : model_(model), options_(options), architecture_(architecture), metadata_(metadata) {}

  Result<std::vector<GgufEntry>> entries() {
    for (const auto& t : model_.tensors()) {
      Status added;
      if (t.kind == TensorKind::kNorm) {
        const auto* values = reinterpret_cast<const float*>(t.matrix.data());
        entries_.push_back({t.name + ".weight", Type::kF32, t.columns, 1,
                            [values, &t](uint64_t) { return floats_text({values, t.columns}); }});
      } else if (t.kind == TensorKind::kLinear) {
        added = add_linear(t);
      } else {
        added = add_table(t);
      }
      if (!added) return fail("{}: tensor {}: {}", model_.path(), t.name, added.error().message);
    }
    return std::move(entries_);
  }

  /// What other programs make of the file; empty where it is what this model computes.
  std::string caution() const {
    if (architecture_.activation == model_.config().activation) return {};
    return fmt::format(
        "other programs gate the architecture {} with {}, where this model has {}: they compute another function, and "
        "answer otherwise",
        architecture_.name, name_of(architecture_.activation), name_of(model_.config().activation));
  }

  /// Once everything is written.
  std::vector<std::string> notes() const {
    std::vector<std::string> out;
    if (inexact_ > 0)
      out.push_back(fmt::format(
          "{} of {} products have scales that {} blocks do not hold exactly (by up to {:.2g} of their size): other "
          "programs compute with rounded ones; the exact ones stand in the metadata, where 'halo convert' finds "
          "them",
          inexact_, linears_, gguf::info_of(options_.ternary).name, largest_));
    const auto type = gguf::info_of(options_.embedding).name;
    if (embedding_->table_rows > 0)
      out.push_back(
          fmt::format("{} rows of the embedding are rounded to {}; bf16 keeps them", embedding_->table_rows, type));
    if (embedding_->head_rows > 0 && embedding_->table_rows == 0)
      out.push_back(
          fmt::format("{} rows of the head are not what its embedding is rounded to: converted again they will be",
                      embedding_->head_rows));
    if (head_->head_rows > 0)
      out.push_back(
          fmt::format("{} rows of the head do not come back from {}; f32 keeps them", head_->head_rows, type));
    return out;
  }

 private:
  Status add_linear(const Tensor& t) {
    const Type type = options_.ternary;
    if (!is_plain(type) && t.columns % kBlockWeights != 0)
      return fail("has {} columns, GGUF's {} needs a multiple of {}", t.columns, gguf::info_of(type).name,
                  kBlockWeights);
    ++linears_;
    const bool beside = architecture_.scale_tensors && t.granularity == ScaleGranularity::kTensor;
    entries_.push_back(linear_entry(t, type, beside, source_rows(t)));
    add_granularity(t);
    if (beside) {
      entries_.push_back({t.name + ".scale", Type::kF32, 1, 1, [&t](uint64_t) { return floats_text(t.scale_values); }});
      return {};
    }
    ASSIGN_OR_RETURN(const auto loss, scale_loss(t, type));
    if (loss.exact) return {};
    ++inexact_;
    largest_ = std::max(largest_, loss.largest);
    metadata_.add(fmt::format("onebit.scale.{}", t.name), std::span<const float>(Scales(t).in_order()));
    return {};
  }

  /// Once: it is the same for all products of a model.
  void add_granularity(const Tensor& t) {
    if (linears_ > 1) return;
    metadata_.add("onebit.granularity", t.granularity == ScaleGranularity::kTensor ? "tensor"
                                        : t.granularity == ScaleGranularity::kRow  ? "row"
                                                                                   : "group");
    if (t.granularity == ScaleGranularity::kGroup) metadata_.add("onebit.group", t.group);
  }

  /// The model's row that stands at a row of the file.
  std::function<uint64_t(uint64_t)> source_rows(const Tensor& t) const {
    const auto linear = t.name.ends_with(".attn_q")   ? Linear::kQuery
                        : t.name.ends_with(".attn_k") ? Linear::kKey
                                                      : Linear::kDown;
    std::vector<uint64_t> from(t.rows);
    for (uint64_t row = 0; row < t.rows; ++row) from[gguf_row(architecture_, model_.config(), linear, row)] = row;
    return [from = std::move(from)](uint64_t file_row) { return from[file_row]; };
  }

  Status add_table(const Tensor& t) {
    const bool embedding = t.kind == TensorKind::kEmbedding, tied = model_.config().tied_head;
    if (!embedding && tied) return {};
    if (options_.embedding == Type::kQ8_0 && t.columns % kQ8Block != 0)
      return fail("has {} columns, GGUF's q8_0 needs a multiple of {}", t.columns, kQ8Block);
    const Tensor* head = embedding && tied ? model_.find(kHeadName) : embedding ? nullptr : &t;
    entries_.push_back(table_entry(t, embedding ? "token_embd.weight" : "output.weight", options_.embedding, head,
                                   embedding ? embedding_ : head_));
    return {};
  }

  const H1bFile& model_;
  const GgufOptions& options_;
  const GgufArchitecture& architecture_;
  GgufMetadata& metadata_;
  std::vector<GgufEntry> entries_;
  uint64_t linears_ = 0, inexact_ = 0;
  double largest_ = 0;
  std::shared_ptr<TableLoss> embedding_ = std::make_shared<TableLoss>(), head_ = std::make_shared<TableLoss>();
};

Result<const GgufArchitecture*> choose_architecture(const H1bFile& model, const std::string& name) {
  const auto* architecture = name.empty() ? gguf_architecture_of(model.config()) : find_gguf_architecture(name);
  if (architecture == nullptr && !name.empty())
    return fail("architecture '{}': this version knows {}", name, gguf_architecture_names());
  if (architecture == nullptr || architecture->norms != model.config().norms)
    return fail("{}: GGUF's {} has not the norms of this model", model.path(),
                architecture == nullptr ? "architectures" : architecture->name);
  return architecture;
}

/// A file holds tables, a GGUF file what they follow from.
Status check_rope(const H1bFile& model) {
  const auto tables = rope_tables(model.config());
  const auto cos = model.rope_cos(), sin = model.rope_sin();
  if (std::equal(cos.begin(), cos.end(), tables.begin()) &&
      std::equal(sin.begin(), sin.end(), tables.begin() + static_cast<std::ptrdiff_t>(cos.size())))
    return {};
  return fail("{}: its RoPE has scaled frequencies, and this version writes GGUF files of others only", model.path());
}

}  // namespace

std::string gguf_block(Type type, std::span<const int8_t, 256> weights, float scale) {
  std::string out;
  const auto trit = [&](size_t i) { return static_cast<unsigned>(weights[i] + 1); };
  if (type == Type::kTq2_0) {
    for (size_t half = 0; half < 256; half += 128)
      for (size_t m = half; m < half + 32; ++m)
        out += static_cast<char>(trit(m) | trit(m + 32) << 2 | trit(m + 64) << 4 | trit(m + 96) << 6);
  } else {
    // `digits` elements from `first` on, `step` apart, as the leading digits of five in base 3: byte = ceil(q · 256 /
    // 243).
    const auto byte = [&](size_t first, size_t step, size_t digits) {
      unsigned q = 0;
      for (size_t n = 0; n < 5; ++n) q = q * 3 + (n < digits ? trit(first + n * step) : 0);
      out += static_cast<char>((q * 256 + 242) / 243);
    };
    for (size_t m = 0; m < 32; ++m) byte(m, 32, 5);
    for (size_t m = 0; m < 16; ++m) byte(160 + m, 16, 5);
    for (size_t m = 0; m < 4; ++m) byte(240 + m, 4, 4);
  }
  put(out, float_to_half(scale));
  return out;
}

Result<GgufSummary> export_gguf(const H1bFile& model, const std::string& path, const GgufOptions& options,
                                const WriteProgress& progress) {
  ASSIGN_OR_RETURN(const auto* architecture, choose_architecture(model, options.architecture));
  RETURN_IF_ERROR(check_rope(model));
  ASSIGN_OR_RETURN(const auto tokenizer, model.tokenizer());
  if (tokenizer.pre_tokenizer == PreTokenizer::kSentencePiece)
    return fail("{}: its tokenizer is SentencePiece's, and this version writes GGUF files of byte-level ones only",
                model.path());
  auto metadata = gguf_metadata_of(model, tokenizer, *architecture);
  Exporter exporter(model, options, *architecture, metadata);
  ASSIGN_OR_RETURN(const auto entries, exporter.entries());
  RETURN_IF_ERROR(write_gguf(path, metadata, entries, [&] { return model.check_readable(); }, progress));
  return GgufSummary{exporter.notes(), exporter.caution()};
}

}  // namespace onebit
