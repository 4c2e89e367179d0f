// .h1b -> GGUF -> .h1b, and GGUF files of others.
#include "format/import/gguf_import.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "base/half.h"
#include "format/gguf_export.h"
#include "format/gguf_metadata.h"
#include "format/synth.h"
#include "tests/support/expect_error.h"
#include "tests/support/gguf_edit.h"
#include "tests/support/hostile_cases.h"
#include "tests/support/temp_folder.h"
#include "tests/support/test_model.h"
#include "tests/support/tiny_model.h"

namespace onebit {
namespace {

using namespace test;  // NOLINT(google-build-using-namespace): the builder's many names
using gguf::Type;

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

ModelConfig wide_config() {
  auto config = tiny_config();
  config.hidden = 256;
  config.ffn = 512;
  config.heads = 2;
  config.head_dim = 128;
  return config;
}

std::string tensors_of(const H1bFile& file) {
  std::string out;
  for (const auto& t : file.tensors())
    out += fmt::format("{} {} {} {} {}x{} {:x}\n", t.name, name_of(t.packing), static_cast<int>(t.granularity), t.group, t.rows,
                       t.columns, t.xxh3);
  return out;
}

void expect_same_model(const H1bFile& a, const H1bFile& b) {
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
    if (const auto status = write_model(path, parts, packings, source, {}); !status) throw std::runtime_error(status.error().message);
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

struct Family {
  const char* architecture;  // as it is exported
  NormChoice norms;
  Activation activation;
};
const Family kFamilies[] = {{"bitnet", {.sub = true}, Activation::kSilu},
                            {"bitnet", {.sub = true}, Activation::kSquaredRelu},
                            {"bitnet-b1.58", {.sub = true}, Activation::kSquaredRelu},
                            {"bitnet-25", {.sub = true}, Activation::kSilu},
                            {"llama", {}, Activation::kSilu},
                            {"qwen3", {.heads = true}, Activation::kSilu}};

TEST_F(GgufImport, AModelOfAnyShapeAndScaleComesBackBitForBit) {
  for (uint32_t seed = 0; seed < 48; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const auto up_to = [&](uint32_t n) { return static_cast<uint32_t>(1 + random() % n); };
    const auto& family = kFamilies[seed % std::size(kFamilies)];
    GgufOptions options;
    options.architecture = family.architecture;
    options.ternary = std::array{Type::kTq1_0, Type::kTq2_0, Type::kF16, Type::kBf16}[seed / 6 % 4];
    const bool plain = options.ternary == Type::kF16 || options.ternary == Type::kBf16;
    auto config = tiny_config();
    config.norms = family.norms;
    config.activation = family.activation;
    config.layers = up_to(2);
    config.hidden = 32 * (plain ? up_to(9) : 8);
    config.ffn = plain ? up_to(200) : 256 * up_to(2);
    config.kv_heads = up_to(2);
    config.heads = config.kv_heads * 2;
    config.head_dim = plain ? 2 * up_to(40) : 128;
    config.vocabulary = 260 + up_to(50);
    config.tied_head = random() % 2 == 0;
    config.rope_theta = any_of(random, {10000.0, 1000042.0, 500000.1});
    auto parts = tiny_parts(config);
    parts.tokenizer.ignore_merges = random() % 2 == 0;
    const bool exact = random() % 2 == 0;
    // Times 1 to 8: in bf16's 8 bits or in none of the types.
    const float scale = exact ? std::ldexp(static_cast<float>(up_to(31)), -10) : 0.123456789f;
    const double density = any_of(random, {0.0, 0.001, 0.6});
    const auto granularity =
        any_of(random, {ScaleGranularity::kTensor, ScaleGranularity::kRow, plain ? ScaleGranularity::kGroup : ScaleGranularity::kRow});
    RandomWeights source(config, seed, scale, density, granularity,
                         granularity == ScaleGranularity::kGroup ? any_of(random, {32u, 64u, 128u}) : 0);
    const ModelPackings packings{any_of(random, {Packing::kT2, Packing::kT1_6}),
                                 any_of(random, {Packing::kQ8, Packing::kBf16, Packing::kF16})};
    const auto model = write(parts, source, packings);
    options.embedding = config.tied_head ? any_of(random, {Type::kBf16, Type::kF32}) : Type::kF32;
    const auto summary = export_model(model, options);
    expect_same_model(model, back(packings));
    // f16 rounds a scale that was not chosen, and zeros do not show theirs.
    const bool tensor = granularity == ScaleGranularity::kTensor, beside = family.architecture == std::string("bitnet") && tensor;
    const bool lost = !beside && (!exact || (density == 0 && plain));
    const bool kept = beside || (exact && (!plain || (density == 0.6 && tensor)));
    if (lost || kept) {
      EXPECT_EQ(summary.notes.size(), lost ? 1u : 0u);
    }
  }
}

TEST_F(GgufImport, ScalesOfSmallGroupsNeedPlainNumbers) {
  auto config = wide_config();
  RandomWeights source(config, 1, 0.25f, 0.5, ScaleGranularity::kGroup, 128);
  const auto model = write(tiny_parts(config), source);
  expect_error(export_gguf(model, gguf_path(), {}), {"blk.0.attn_q", "a scale for 128 columns", "f16 or bf16"});
}

TEST_F(GgufImport, AnArchitectureOfOtherNormsIsRefused) {
  auto config = wide_config();
  RandomWeights source(config, 1, 0.25f, 0.5);
  const auto model = write(tiny_parts(config), source);
  GgufOptions options;
  for (const auto* name : {"llama", "qwen3"}) {
    options.architecture = name;
    expect_error(export_gguf(model, gguf_path(), options), {"model.h1b", name, "norms"});
  }
  options.architecture = "mamba";
  expect_error(export_gguf(model, gguf_path(), options), {"mamba", "llama"});
  auto parts = tiny_parts(config);
  parts.rope = {.kind = RopeScaling::Kind::kLinear, .factor = 2};
  const auto scaled = write(parts, source);
  expect_error(export_gguf(scaled, gguf_path(), {}), {"model.h1b", "scaled frequencies"});
}

/// RoPE over neighbours, as readers of "llama" compute it, on the file's rows: the same angles between the same weights.
TEST_F(GgufImport, LlamasQueryRowsStandInTheOrderOfItsRope) {
  auto config = wide_config();
  config.norms = {};
  config.activation = Activation::kSilu;
  RandomWeights source(config, 3, 0.25f, 0.5);
  const auto model = write(tiny_parts(config), source);
  GgufOptions options;
  options.ternary = Type::kF16;
  export_model(model, options);
  const auto parts = gguf_parts(read_file(gguf_path()));
  for (const auto* name : {"blk.0.attn_q", "blk.1.attn_k", "blk.0.attn_v"}) {
    const auto weights = unpack_all(*model.find(name));
    const auto entry = std::find_if(parts.tensors.begin(), parts.tensors.end(),
                                    [&](const auto& t) { return t.name == name + std::string(".weight"); });
    const auto* tensor = model.find(name);
    for (uint64_t row = 0; row < tensor->rows; ++row) {
      // Pair j of a head is our rows j and j + 64, and the file's rows 2 j and 2 j + 1.
      const uint64_t in_head = row % 128, file_row = name[6] == 'a' && name[11] == 'v' ? row : row - in_head + in_head % 64 * 2 + in_head / 64;
      for (uint64_t c = 0; c < tensor->columns; ++c) {
        uint16_t bits = 0;
        std::memcpy(&bits, entry->data.data() + 2 * (file_row * tensor->columns + c), 2);
        ASSERT_EQ((half_to_float(bits) > 0) - (half_to_float(bits) < 0), weights[row * tensor->columns + c]) << name << " " << row;
      }
    }
  }
}

TEST_F(GgufImport, TheBundledModelComesBackBitForBit) {
  const auto model = open(bundled_model());
  for (const auto& [architecture, type] : {std::pair{"", Type::kTq2_0}, {"bitnet-b1.58", Type::kTq1_0}}) {
    GgufOptions options;
    options.architecture = architecture;
    options.ternary = type;
    EXPECT_TRUE(export_model(model, options).notes.empty());
    expect_same_model(model, back());
  }
}

TEST_F(GgufImport, WhatIsLostIsTold) {
  auto config = wide_config();
  RandomWeights source(config, 1, 0.25f, 0.5);
  const auto model = write(tiny_parts(config), source);
  GgufOptions options;
  options.embedding = Type::kQ8_0;
  auto notes = export_model(model, options).notes;
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_NE(notes[0].find("300 rows of the embedding are rounded to q8_0"), std::string::npos) << notes[0];
  const auto rounded = back();  // it is a model all the same
  EXPECT_EQ(rounded.config().hidden, 256u);

  config.tied_head = false;
  RandomWeights untied(config, 1, 0.25f, 0.5);
  const auto other = write(tiny_parts(config), untied);
  options.embedding = Type::kBf16;
  notes = export_model(other, options).notes;
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_NE(notes[0].find("rows of the head do not come back from bf16"), std::string::npos) << notes[0];

  // The embedding's own rounding differs from what the head was made of.
  config.tied_head = true;
  class FinerHead final : public WeightSource {
   public:
    explicit FinerHead(RandomWeights& base) : base_(base) {}
    Status ternary_rows(uint32_t l, Linear p, uint64_t f, uint64_t n, std::span<int8_t> out) override { return base_.ternary_rows(l, p, f, n, out); }
    Status ternary_scales(uint32_t l, Linear p, std::span<float> out) override { return base_.ternary_scales(l, p, out); }
    Status norm(uint32_t l, Norm n, std::span<float> out) override { return base_.norm(l, n, out); }
    Status output_norm(std::span<float> out) override { return base_.output_norm(out); }
    Status embedding_row(uint64_t row, std::span<uint16_t> out) override { return base_.embedding_row(row, out); }
    Status head_row(uint64_t row, std::span<float> out) override {
      RETURN_IF_ERROR(base_.head_row(row, out));
      if (row == 7)
        for (float& x : out) x *= 1.001f;
      return {};
    }

   private:
    RandomWeights& base_;
  } finer(source);
  const auto third = write(tiny_parts(config), finer);
  notes = export_model(third, options).notes;
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_NE(notes[0].find("1 rows of the head are not what"), std::string::npos) << notes[0];
}

TEST_F(GgufImport, ScalesThatVanishAreRefusedByF16AndKeptByTernaryBlocks) {
  const auto config = wide_config();
  RandomWeights source(config, 1, 1e-12f, 0.5);
  const auto model = write(tiny_parts(config), source);
  GgufOptions options;
  options.architecture = "bitnet-b1.58";
  options.ternary = Type::kF16;
  expect_error(export_gguf(model, gguf_path(), options), {"blk.0.attn_q", "is 0 in f16", "tq2_0"});
  EXPECT_FALSE(std::filesystem::exists(gguf_path()));
  options.ternary = Type::kTq2_0;
  EXPECT_EQ(export_model(model, options).notes.size(), 1u);
  expect_same_model(model, back());
}

TEST_F(GgufImport, DescribedChatLayoutsComeBack) {
  auto parts = tiny_parts(wide_config());
  parts.tokenizer.chat = {ChatLayout::kDescribed, {.system = {}, .user = {"[Q] 'it\\'s\n", "<|eot_id|>"}, .assistant = {"[A] ", "<|eot_id|>"}, .has_system = false, .begin_with_bos = false, .trim = false}};
  RandomWeights source(parts.config, 1, 0.5f, 0.5);
  const auto model = write(parts, source);
  export_model(model, {});
  expect_same_model(model, back());
}

TEST_F(GgufImport, TheTemplateSaysWhatTheLayoutDoes) {
  EXPECT_EQ(jinja_of(chat_format_of(ChatLayout::kChatml)),
            "{% for message in messages %}{% if message['role'] == 'user' %}{{ '<|im_start|>user\\n' }}{{ message['content'] }}"
            "{{ '<|im_end|>\\n' }}{% elif message['role'] == 'assistant' %}{{ '<|im_start|>assistant\\n' }}{{ message['content'] }}"
            "{{ '<|im_end|>\\n' }}{% elif message['role'] == 'system' %}{{ '<|im_start|>system\\n' }}{{ message['content'] }}"
            "{{ '<|im_end|>\\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}");
  EXPECT_TRUE(jinja_of(chat_format_of(ChatLayout::kLlama3)).starts_with("{{ bos_token }}"));
}

// ---- Files of others: made of one of ours by taking things away or changing them

class GgufOfOthers : public GgufImport {
 protected:
  GgufOfOthers() {
    const auto config = tiny_config();
    RandomWeights source(config, 5, 0.25f, 0.6);
    model_.emplace(write(tiny_parts(config), source));
    GgufOptions options;
    options.architecture = "bitnet-b1.58";
    options.ternary = Type::kF16;
    export_model(*model_, options);
    parts_ = gguf_parts(read_file(gguf_path()));
    for (const auto& pair : std::vector(parts_.metadata))
      if (pair.key.starts_with("onebit.")) parts_.remove(pair.key);
  }

  void put(const GgufParts& parts) {
    const auto bytes = gguf_bytes(parts);
    count_case(bytes);
    write_file(gguf_path(), bytes);
  }
  /// The error names the file; the target is as it was.
  void expect_refused(const GgufParts& parts, std::initializer_list<std::string_view> words) {
    put(parts);
    const auto target = folder_.path("back.h1b");
    write_file(target, "old");
    const auto result = convert();
    expect_error(result, {gguf_path()});
    expect_error(result, words);
    EXPECT_TRUE(read_file(target) == "old");
    EXPECT_EQ(folder_.names(), (std::vector<std::string>{"back.h1b", "model.gguf", "model.h1b"}));
  }
  template <class Change>
  void expect_change_refused(Change change, std::initializer_list<std::string_view> words) {
    auto parts = parts_;
    change(parts);
    expect_refused(parts, words);
  }
  /// All products in another type, by what packs [rows][columns] and adds a tail.
  template <class Pack>
  void retype(GgufParts& parts, uint32_t type, Pack pack) {
    for (const auto& t : model_->tensors())
      if (t.kind == TensorKind::kLinear) {
        auto& entry = parts.tensor(t.name + ".weight");
        entry.type = type;
        entry.data = pack(unpack_all(t), t);
      }
  }

  std::optional<H1bFile> model_;
  GgufParts parts_;
};

TEST_F(GgufOfOthers, AFileWithoutOurKeysIsTheSameModel) {
  put(parts_);
  const auto file = back();
  EXPECT_EQ(tensors_of(file), tensors_of(*model_));
  const auto tokenizer = *file.tokenizer();
  EXPECT_EQ(tokenizer.chat.layout, ChatLayout::kNone) << "the template's markers are no tokens here";
  EXPECT_TRUE(tokenizer.ignore_merges) << "as programs that read llama-bpe do";
  EXPECT_EQ(tokenizer.stop_tokens, std::vector<TokenId>{299});
  EXPECT_EQ(tokenizer.bos, 298);
  EXPECT_TRUE(notes_.empty());
}

TEST_F(GgufOfOthers, KeysThatMayBeAbsentHaveTheFormatsDefaults) {
  for (const auto* key : {"bitnet-b1.58.attention.value_length", "bitnet-b1.58.rope.dimension_count", "general.name",
                          "bitnet-b1.58.vocab_size", "general.alignment", "tokenizer.ggml.bos_token_id", "tokenizer.chat_template",
                          "bitnet-b1.58.rope.freq_base", "tokenizer.ggml.eos_token_id"})
    parts_.remove(key);
  put(parts_);
  const auto file = back();
  EXPECT_EQ(tensors_of(file), tensors_of(*model_));
  EXPECT_EQ(file.config().rope_theta, 10000.0);
  EXPECT_EQ(file.tokenizer()->bos, -1);
  EXPECT_TRUE(file.tokenizer()->stop_tokens.empty());
  EXPECT_EQ(file.provenance("name"), "model");
}

TEST_F(GgufOfOthers, AMissingPreTokenizerIsLlama3sWhereItsTokensAre) {
  parts_.remove("tokenizer.ggml.pre");
  put(parts_);
  back();
  ASSERT_EQ(notes_.size(), 1u);
  EXPECT_NE(notes_[0].find("LLaMA-3"), std::string::npos);
}

TEST_F(GgufOfOthers, ABosThatIsNotAddedIsNone) {
  parts_.set("tokenizer.ggml.add_bos_token", gguf_value(kGBool, uint8_t{0}));
  put(parts_);
  EXPECT_EQ(back().tokenizer()->bos, -1);
}

TEST_F(GgufOfOthers, I2sIsReadAndItsLayoutNamed) {
  const auto config = wide_config();
  RandomWeights source(config, 5, 0.1f, 0.6);
  model_.emplace(write(tiny_parts(config), source));
  GgufOptions options;
  options.architecture = "bitnet-b1.58";
  export_model(*model_, options);
  parts_ = gguf_parts(read_file(gguf_path()));
  retype(parts_, 36, [](const std::vector<int8_t>& w, const Tensor& t) {
    std::string out(w.size() / 4, '\0');
    for (size_t e = 0; e < w.size(); ++e) out[e / 128 * 32 + e % 32] |= static_cast<char>((w[e] + 1) << (6 - 2 * (e % 128 / 32)));
    return out + raw(t.scale_values[0]) + std::string(28, '\0');
  });
  put(parts_);
  for (const auto& pair : std::vector(parts_.metadata))
    if (pair.key.starts_with("onebit.")) parts_.remove(pair.key);
  put(parts_);
  EXPECT_EQ(tensors_of(back()), tensors_of(*model_));
  ASSERT_EQ(notes_.size(), 1u);
  EXPECT_NE(notes_[0].find("i2_s: read as bitnet.cpp"), std::string::npos);
  EXPECT_EQ(open(folder_.path("back.h1b")).provenance("source_format"), "GGUF, i2_s");
}

TEST_F(GgufOfOthers, ScalesAreAsCoarseAsAllBlocksAllow) {
  // Twice as big where `turned` says so of a row and a column.
  const auto granularity = [&](auto turned) {
    auto parts = parts_;
    auto& data = parts.tensor("blk.1.ffn_down.weight").data;  // 48 x 80
    for (uint64_t row = 0; row < 48; ++row)
      for (uint64_t column = 0; column < 80; ++column) {
        char& high = data[2 * (row * 80 + column) + 1];
        if (turned(row, column) && (high & 0x7f) != 0) high = static_cast<char>(high + 4);
      }
    put(parts);
    const auto file = back();
    const auto* tensor = file.find("blk.1.ffn_down");
    EXPECT_EQ(unpack_all(*tensor), unpack_all(*model_->find("blk.1.ffn_down")));
    EXPECT_EQ(file.find("blk.0.attn_q")->granularity, tensor->granularity);
    const float first = tensor->scale_values[0];
    EXPECT_TRUE(std::all_of(tensor->scale_values.begin(), tensor->scale_values.end(),
                            [&](float s) { return s == first || s == 2 * first || s == first / 2 || s == 0; }));
    return std::pair(tensor->granularity, tensor->group);
  };
  EXPECT_EQ(granularity([](auto, auto) { return true; }), std::pair(ScaleGranularity::kTensor, 0u));
  EXPECT_EQ(granularity([](auto row, auto) { return row % 2 == 1; }), std::pair(ScaleGranularity::kRow, 0u));
  EXPECT_EQ(granularity([](auto, auto column) { return column >= 64; }), std::pair(ScaleGranularity::kGroup, 64u));
  EXPECT_EQ(granularity([](auto row, auto column) { return column / 32 == row % 2; }), std::pair(ScaleGranularity::kGroup, 32u));
  hostile("gguf", "values");
  auto parts = parts_;
  auto& data = parts.tensor("blk.1.ffn_down.weight").data;
  for (size_t i = 1; i < data.size(); i += 2)
    if ((data[i] & 0x7f) != 0) {
      data[i] = static_cast<char>(data[i] + 4);  // one weight
      break;
    }
  expect_refused(parts, {"blk.1.ffn_down.weight", "row 0", "not ternary"});
  parts = parts_;
  parts.set("onebit.granularity", gguf_value("tensor"));
  for (size_t i = 1; i < 160; i += 2) {
    char& high = parts.tensor("blk.1.ffn_down.weight").data[i];
    if ((high & 0x7f) != 0) high = static_cast<char>(high + 4);  // a row
  }
  expect_refused(parts, {"blk.1.ffn_down.weight", "row 1", "which share one"});
}

TEST_F(GgufOfOthers, RopeMayBeScaledLinearly) {
  parts_.set("bitnet-b1.58.rope.scaling.type", gguf_value("linear"));
  parts_.set("bitnet-b1.58.rope.scaling.factor", gguf_value(kGF32, 4.0f));
  put(parts_);
  const auto file = back();
  const auto& cos = model_->rope_cos();
  for (size_t i = 0; i < 8; ++i) EXPECT_EQ(file.rope_cos()[8 * 8 + i], cos[2 * 8 + i]) << "position 8 as 2";
  hostile("gguf", "numbers");
  for (const float bad : {0.0f, -1.0f, NAN, INFINITY, 0.5f}) {
    parts_.set("bitnet-b1.58.rope.scaling.factor", gguf_value(kGF32, bad));
    expect_refused(parts_, {"rope.scaling.factor"});
  }
}

TEST_F(GgufOfOthers, RopeFactorsOfOneChangeNothing) {
  parts_.tensors.push_back({"rope_freqs.weight", {8}, 0, std::string(32, '\0')});
  for (size_t i = 0; i < 8; ++i) std::memcpy(parts_.tensors.back().data.data() + 4 * i, "\0\0\x80\x3f", 4);
  put(parts_);
  back();
  hostile("gguf", "values");
  std::memcpy(parts_.tensors.back().data.data(), "\0\0\0\x40", 4);
  expect_refused(parts_, {"rope_freqs.weight", "a factor is 2"});
}

TEST_F(GgufOfOthers, AnyMissingKeyOrTensorThatIsNeededIsNamed) {
  hostile("gguf", "other");
  for (const auto* key :
       {"general.architecture", "bitnet-b1.58.context_length", "bitnet-b1.58.embedding_length", "bitnet-b1.58.block_count",
        "bitnet-b1.58.feed_forward_length", "bitnet-b1.58.attention.head_count",
        "bitnet-b1.58.attention.layer_norm_rms_epsilon", "tokenizer.ggml.model"})
    expect_change_refused([&](GgufParts& p) { p.remove(key); }, {key, "missing"});
  for (const auto* key : {"tokenizer.ggml.tokens", "tokenizer.ggml.token_type"})
    expect_change_refused([&](GgufParts& p) { p.remove(key); }, {"tokenizer.ggml.token"});
  for (const auto& t : parts_.tensors)
    if (t.name != "token_embd.weight")
      expect_change_refused([&](GgufParts& p) { p.remove(t.name); }, {t.name, "is missing"});
  expect_change_refused([](GgufParts& p) { p.remove("token_embd.weight"); }, {"token_embd.weight"});
  expect_change_refused([](GgufParts& p) { p.tensors.push_back({"blk.0.attn_q.bias", {32}, 0, std::string(128, '\0')}); },
                        {"blk.0.attn_q.bias", "does not know"});
}

TEST_F(GgufOfOthers, WhatThisProgramDoesNotComputeIsRefused) {
  hostile("gguf", "other");
  const auto set = [&](const char* key, std::string value, std::initializer_list<std::string_view> words) {
    expect_change_refused([&](GgufParts& p) { p.set(key, value); }, words);
  };
  set("general.architecture", gguf_value("mamba"), {"general.architecture", "mamba", "bitnet-b1.58"});
  set("split.count", gguf_value(kGU16, uint16_t{3}), {"3 parts", "merge"});
  set("bitnet-b1.58.rope.scaling.type", gguf_value("yarn"), {"rope.scaling.type", "yarn"});
  set("bitnet-b1.58.expert_count", gguf_value(kGU32, 8u), {"expert_count", "8"});
  set("bitnet-b1.58.attention.value_length", gguf_value(kGU32, 8u), {"value_length", "8"});
  set("bitnet-b1.58.rope.dimension_count", gguf_value(kGU32, 8u), {"rope.dimension_count", "8"});
  set("onebit.activation", gguf_value("gelu"), {"onebit.activation", "gelu"});
  set("onebit.pooling", gguf_value(kGU32, 3u), {"pooling is 3"});
  set("tokenizer.ggml.model", gguf_value("llama"), {"tokenizer.ggml.model", "llama"});
  set("tokenizer.ggml.pre", gguf_value("starcoder"), {"tokenizer.ggml.pre", "starcoder"});
  set("onebit.chat_layout", gguf_value("mine"), {"onebit.chat_layout", "mine"});
  set("onebit.chat_layout", gguf_value("described"), {"onebit.chat_format"});
  set("onebit.granularity", gguf_value("block"), {"onebit.granularity", "block"});
  set("onebit.granularity", gguf_value("group"), {"onebit.granularity", "group"});
}

TEST_F(GgufOfOthers, AnyKeyOfAnyOtherTypeIsAnErrorOrIgnored) {
  hostile("gguf", "types");
  const std::vector<std::string> values{gguf_value(kGU8, uint8_t{1}), gguf_value(kGI32, int32_t{-1}), gguf_value(kGF32, NAN),
                                        gguf_value(kGBool, uint8_t{1}), gguf_value("text"), gguf_value(kGU64, ~uint64_t{0}),
                                        gguf_array(kGF32, 2, raw(1.0f) + raw(2.0f)), gguf_array({"a", "b"}),
                                        gguf_array(kGU8, 0, "")};
  for (const auto& pair : parts_.metadata)
    for (const auto& value : values) {
      SCOPED_TRACE(pair.key);
      auto parts = parts_;
      parts.set(pair.key, value);
      put(parts);
      if (const auto result = convert(); !result) expect_error(result, {gguf_path()});
    }
}

TEST_F(GgufOfOthers, AnyNumberInAnyKeyIsAnErrorOrAModel) {
  hostile("gguf", "numbers");
  for (const auto& pair : parts_.metadata) {
    if (pair.value.size() != 8) continue;  // a u32, i32 or f32
    for (const uint32_t number : {0u, 1u, 3u, 255u, 65536u, 0x7fffffffu, 0x80000000u, 0xffffffffu, 0x7f800000u}) {
      auto parts = parts_;
      std::memcpy(parts.value(pair.key).data() + 4, &number, 4);
      put(parts);
      if (const auto result = convert(); !result) expect_error(result, {gguf_path()});
    }
  }
}

TEST_F(GgufOfOthers, AnyWrongShapeOrTypeIsNamed) {
  hostile("gguf", "structure");
  for (const auto& t : parts_.tensors) {
    const bool embedding = t.name == "token_embd.weight";
    for (const size_t dimension : {size_t{0}, t.shape.size() - 1})
      if (!embedding || dimension == 0)  // more rows of it are a larger vocabulary
        expect_change_refused(
            [&](GgufParts& p) {
              auto& entry = p.tensor(t.name);
              entry.shape[dimension] += 1;
              entry.data += std::string(1000, '\0');
            },
            {t.name, "shape is ["});
    if (t.shape.size() == 1) continue;
    expect_change_refused([&](GgufParts& p) { p.tensor(t.name).type = 14; }, {t.name, "q6_k"});
    expect_change_refused([&](GgufParts& p) { p.tensor(t.name).type = 20; }, {t.name, "type 20"});
  }
}

TEST_F(GgufOfOthers, BadScalesAndValuesAreNamed) {
  hostile("gguf", "values");
  const auto floats = [](std::initializer_list<float> values) {
    std::string elements;
    for (const float x : values) elements += raw(x);
    return gguf_array(kGF32, values.size(), elements);
  };
  for (const float bad : {NAN, INFINITY, -0.25f})
    expect_change_refused([&](GgufParts& p) { p.set("onebit.scale.blk.0.attn_q", floats({bad})); }, {"onebit.scale.blk.0.attn_q"});
  expect_change_refused([&](GgufParts& p) { p.set("onebit.scale.blk.0.attn_q", floats({0.3f})); },
                        {"onebit.scale.blk.0.attn_q", "found 0.3", "0.25"});
  expect_change_refused([&](GgufParts& p) { p.set("onebit.scale.blk.0.attn_q", floats({0.25f, 0.25f})); }, {"2 numbers, expected 1"});
  for (const float bad : {NAN, INFINITY, -1.0f})
    expect_change_refused([&](GgufParts& p) { p.tensors.push_back({"blk.0.attn_k.scale", {1}, 0, raw(bad)}); }, {"blk.0.attn_k.scale"});
  for (const auto* name : {"token_embd.weight", "output_norm.weight"})
    for (const auto* bits : {"\xc0\x7f", "\x80\x7f", "\x80\xff"})
      expect_change_refused(
          [&](GgufParts& p) {
            auto& t = p.tensor(name);
            t.data.replace((t.type == 0 ? 46u : 94u), 2, bits, 2);
          },
          {name, "holds", "numbers"});
  expect_change_refused([](GgufParts& p) { p.tensor("blk.0.ffn_up.weight").data[1] = '\x55'; }, {"blk.0.ffn_up.weight", "not ternary"});
}

TEST_F(GgufOfOthers, TokensAndMergesThatMakeNoSenseAreNamed) {
  hostile("gguf", "text");
  const auto tokens = [&] {
    std::vector<std::string> out;
    for (int i = 0; i < 300; ++i) out.push_back(fmt::format("t{}", i));
    return out;
  };
  const auto set = [&](const char* key, std::string value, std::initializer_list<std::string_view> words) {
    expect_change_refused([&](GgufParts& p) { p.set(key, value); }, words);
  };
  auto bad = tokens();
  bad[5] = "\xff\xfe";
  set("tokenizer.ggml.tokens", gguf_array(bad), {"tokenizer.ggml.tokens[5]", "stands for no byte"});
  bad[5] = "";
  set("tokenizer.ggml.tokens", gguf_array(bad), {"tokenizer.ggml.tokens[5]", "is empty"});
  bad[5] = "t4";
  set("tokenizer.ggml.tokens", gguf_array(bad), {"tokenizer.ggml.tokens[5]", "is token 4 already"});
  set("tokenizer.ggml.tokens", gguf_array(tokens()), {"tokenizer.ggml.merges[0]"});
  bad = tokens();
  bad.push_back("more");
  set("tokenizer.ggml.tokens", gguf_array(bad), {"301 tokens", "rows for 300"});
  for (const auto& [merge, words] : {std::pair{"t", "expected two"}, {"t h x", "expected two"}, {"", "expected two"}, {"t q!", "not in the vocabulary"},
                                     {"zz z", "first part"}, {"q z", "result"}, {"\n\x1b \x7f", "vocabulary"}})
    set("tokenizer.ggml.merges", gguf_array({merge}), {"tokenizer.ggml.merges[0]", words});
  set("tokenizer.ggml.merges", gguf_array({"t h", "t h"}), {"merge"});
  for (const auto* key : {"tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"})
    for (const uint32_t id : {0u, 280u, 300u, 0xffffffffu}) set(key, gguf_value(kGU32, id), {key, "not a special token"});
  set("onebit.stop_tokens", gguf_array(kGI64, 1, raw(int64_t{1} << 40)), {"stop"});
  std::string types;
  for (int i = 0; i < 300; ++i) types += raw(int32_t{i == 9 ? 4 : 1});
  set("tokenizer.ggml.token_type", gguf_array(kGI32, 300, types), {"tokenizer.ggml.token_type[9]", "has type 4"});
  set("tokenizer.ggml.token_type", gguf_array(kGI32, 299, types.substr(4)), {"299 numbers"});
}

TEST_F(GgufOfOthers, RandomChangesAreErrorsOrModels) {
  hostile("gguf", "bytes");
  const auto whole = gguf_bytes(parts_);
  std::mt19937 random(1);
  for (int i = 0; i < 400; ++i) {
    auto changed = whole;
    for (int n = 0; n < 1 + i % 3; ++n) changed[random() % changed.size()] = static_cast<char>(random());
    count_case(changed);
    write_file(gguf_path(), changed);
    if (const auto result = convert(); !result) expect_error(result, {gguf_path()});
  }
}

}  // namespace
}  // namespace onebit
