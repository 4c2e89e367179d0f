// Models with weights as a test wants them, and their way through GGUF.
#pragma once

#include <gtest/gtest.h>

#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/half.h"
#include "format/gguf_export.h"
#include "format/h1b_file.h"
#include "format/import/gguf_import.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tiny_model.h"

namespace onebit::test {

/// Random weights with scales as the test wants them.
class RandomWeights final : public WeightSource {
 public:
  RandomWeights(const ModelConfig& config, uint32_t seed, float scale, double density,
                ScaleGranularity granularity = ScaleGranularity::kTensor, uint32_t group = 0)
      : config_(config), seed_(seed), scale_(scale), density_(density), granularity_(granularity), group_(group) {}

  Status ternary_rows(uint32_t layer, Linear linear, uint64_t first, uint64_t count, std::span<int8_t> out) override {
    std::mt19937 random(seed_ + 1000 * layer + static_cast<uint32_t>(linear) + 77 * static_cast<uint32_t>(first));
    std::bernoulli_distribution any(density_), positive(0.5);
    for (auto& w : out.first(count * shape_of(config_, linear).inputs))
      w = static_cast<int8_t>(any(random) ? (positive(random) ? 1 : -1) : 0);
    return {};
  }
  ScaleGranularity scale_granularity() const override { return granularity_; }
  uint32_t scale_group() const override { return group_; }
  Status ternary_scales(uint32_t layer, Linear linear, std::span<float> out) override {
    for (size_t i = 0; i < out.size(); ++i)
      out[i] = scale_ * static_cast<float>(1 + (layer + static_cast<uint32_t>(linear) + i) % 8);
    return {};
  }
  Status norm(uint32_t, Norm, std::span<float> out) override { return fill(1, out); }
  Status output_norm(std::span<float> out) override { return fill(2, out); }
  Status embedding_row(uint64_t row, std::span<uint16_t> out) override {
    std::vector<float> values(out.size());
    RETURN_IF_ERROR(fill(static_cast<uint32_t>(row) + 3, values));
    for (size_t i = 0; i < out.size(); ++i) out[i] = float_to_bf16(values[i]);
    return {};
  }
  Status head_row(uint64_t row, std::span<float> out) override {
    if (!config_.tied_head) return fill(static_cast<uint32_t>(row) + 100000, out);
    std::vector<uint16_t> bits(out.size());
    RETURN_IF_ERROR(embedding_row(row, bits));
    for (size_t i = 0; i < out.size(); ++i) out[i] = bf16_to_float(bits[i]);
    return {};
  }

 private:
  Status fill(uint32_t salt, std::span<float> out) {
    std::mt19937 random(seed_ * 31 + salt);
    std::normal_distribution<float> normal;
    for (auto& x : out) x = normal(random);
    return {};
  }
  const ModelConfig& config_;
  uint32_t seed_;
  float scale_;
  double density_;
  ScaleGranularity granularity_;
  uint32_t group_;
};

inline ModelConfig wide_config() {
  auto config = tiny_config();
  config.hidden = 256;
  config.ffn = 512;
  config.heads = 2;
  config.head_dim = 128;
  return config;
}

inline std::string tensors_of(const H1bFile& file) {
  std::string out;
  for (const auto& t : file.tensors())
    out += fmt::format("{} {} {} {} {}x{} {:x}\n", t.name, name_of(t.packing), static_cast<int>(t.granularity), t.group,
                       t.rows, t.columns, t.xxh3);
  return out;
}

inline void expect_same_model(const H1bFile& a, const H1bFile& b) {
  EXPECT_EQ(tensors_of(a), tensors_of(b));
  const auto& x = a.config();
  const auto& y = b.config();
  EXPECT_EQ(std::tie(x.layers, x.hidden, x.heads, x.kv_heads, x.head_dim, x.ffn, x.vocabulary, x.context),
            std::tie(y.layers, y.hidden, y.heads, y.kv_heads, y.head_dim, y.ffn, y.vocabulary, y.context));
  EXPECT_EQ(std::tie(x.activation, x.rms_epsilon, x.rope_theta, x.tied_head),
            std::tie(y.activation, y.rms_epsilon, y.rope_theta, y.tied_head));
  EXPECT_TRUE(std::equal(a.rope_cos().begin(), a.rope_cos().end(), b.rope_cos().begin(), b.rope_cos().end()));
  EXPECT_TRUE(std::equal(a.tokenizer_section().begin(), a.tokenizer_section().end(), b.tokenizer_section().begin(),
                         b.tokenizer_section().end()));
  EXPECT_EQ(a.provenance("name"), b.provenance("name"));
  EXPECT_EQ(a.provenance("licence"), b.provenance("licence"));
}

class GgufImport : public ::testing::Test {
 protected:
  H1bFile write(const ModelParts& parts, WeightSource& source, ModelPackings packings = {}) {
    const auto path = folder_.path("model.h1b");
    if (const auto status = write_model(path, parts, packings, source, {}); !status)
      throw std::runtime_error(status.error().message);
    return open(path);
  }
  static H1bFile open(const std::string& path) {
    auto file = H1bFile::open(path);
    if (!file) throw std::runtime_error(file.error().message);
    if (const auto verified = file->verify(); !verified) throw std::runtime_error(verified.error().message);
    return *std::move(file);
  }
  GgufSummary export_model(const H1bFile& model, const GgufOptions& options) {
    auto summary = export_gguf(model, gguf_path(), options);
    if (!summary) throw std::runtime_error(summary.error().message);
    return *std::move(summary);
  }
  std::string gguf_path() const { return folder_.path("model.gguf"); }
  Result<ConvertSummary> convert(ModelPackings packings = {}) {
    ConvertOptions options;
    options.folder = gguf_path();
    options.output = folder_.path("back.h1b");
    options.packings = packings;
    options.converter = "test";
    options.date = "2026-01-01";
    return convert_gguf(options);
  }
  /// Throws, and so fails, where it is not converted.
  H1bFile back(ModelPackings packings = {}) {
    const auto summary = convert(packings);
    if (!summary) throw std::runtime_error(summary.error().message);
    notes_ = summary->notes;
    return open(folder_.path("back.h1b"));
  }

  TempFolder folder_{true};
  std::vector<std::string> notes_;
};

/// One of the values, by chance.
template <class T>
T any_of(std::mt19937& random, std::initializer_list<T> values) {
  return values.begin()[random() % values.size()];
}

}  // namespace onebit::test
