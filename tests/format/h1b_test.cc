#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/half.h"
#include "format/h1b_file.h"
#include "format/h1b_layout.h"
#include "format/model_tensors.h"
#include "format/synth.h"
#include "tests/support/expect_error.h"
#include "tests/support/temp_folder.h"
#include "tests/support/test_model.h"
#include "tests/support/tiny_model.h"

namespace onebit {
namespace {

using test::tiny_config;
using test::tiny_parts;
using test::unpack_all;

class H1bTest : public ::testing::Test {
 protected:
  /// Writes a model and opens it; fails the test where either does not work.
  H1bFile make(const ModelParts& parts, const ModelPackings& packings = {}, uint64_t seed = 1,
               const char* name = "model.h1b") {
    const auto path = folder_.path(name);
    const auto written = write_synthetic_model(path, parts, packings, seed);
    EXPECT_TRUE(written.has_value()) << (written ? "" : written.error().message);
    auto file = H1bFile::open(path);
    if (!file) throw std::runtime_error(file.error().message);
    return *std::move(file);
  }

  test::TempFolder folder_;
};

TEST_F(H1bTest, ConfigProvenanceAndTokenizerComeBack) {
  for (const bool tied : {true, false}) {
    auto parts = tiny_parts(tiny_config());
    parts.config.tied_head = tied;
    const auto file = make(parts);
    const auto& c = file.config();
    EXPECT_EQ(c.norms, NormChoice{.sub = true});
    EXPECT_EQ(c.activation, Activation::kSquaredRelu);
    EXPECT_EQ(c.layers, 2u);
    EXPECT_EQ(c.hidden, 48u);
    EXPECT_EQ(c.heads, 2u);
    EXPECT_EQ(c.kv_heads, 1u);
    EXPECT_EQ(c.head_dim, 16u);
    EXPECT_EQ(c.ffn, 80u);
    EXPECT_EQ(c.vocabulary, 300u);
    EXPECT_EQ(c.context, 32u);
    EXPECT_EQ(c.rms_epsilon, 1e-5f);
    EXPECT_EQ(c.rope_theta, 10000.0);
    EXPECT_EQ(c.tied_head, tied);
    EXPECT_EQ(file.provenance(), parts.provenance);
    EXPECT_EQ(file.provenance("licence"), "CC0-1.0");
    EXPECT_EQ(file.provenance("absent"), "");
    const auto tokenizer = file.tokenizer();
    ASSERT_TRUE(tokenizer) << tokenizer.error().message;
    EXPECT_EQ(tokenizer->tokens, parts.tokenizer.tokens);
    EXPECT_EQ(tokenizer->special, parts.tokenizer.special);
    EXPECT_EQ(tokenizer->stop_tokens, parts.tokenizer.stop_tokens);
    EXPECT_EQ(tokenizer->bos, parts.tokenizer.bos);
    EXPECT_EQ(tokenizer->merges.size(), parts.tokenizer.merges.size());
  }
}

TEST_F(H1bTest, EveryTensorOfEveryPackingIsThereAlignedAndVerifies) {
  for (const auto ternary : {Packing::kT2, Packing::kT1_6})
    for (const auto head : {Packing::kQ8, Packing::kF16, Packing::kBf16}) {
      const auto file = make(tiny_parts(tiny_config()), {ternary, head});
      const auto expected = model_tensors(tiny_config(), {ternary}, head);
      ASSERT_EQ(file.tensors().size(), expected.size());
      for (size_t i = 0; i < expected.size(); ++i) {
        const auto& t = file.tensors()[i];
        EXPECT_EQ(t.name, expected[i].name);
        EXPECT_EQ(t.kind, expected[i].kind);
        EXPECT_EQ(t.packing, expected[i].packing);
        EXPECT_EQ(t.granularity, expected[i].granularity);
        EXPECT_EQ(t.rows, expected[i].rows);
        EXPECT_EQ(t.columns, expected[i].columns);
        EXPECT_EQ(t.scale_values.size(), expected[i].scales());
        EXPECT_EQ(t.offset % 4096, 0u) << t.name;
        EXPECT_EQ(reinterpret_cast<uintptr_t>(t.data.data()) % 4096, 0u) << t.name;
        EXPECT_EQ(file.find(t.name), &t);
      }
      EXPECT_EQ(file.find("blk.2.attn_q"), nullptr);
      const auto verified = file.verify();
      EXPECT_TRUE(verified) << verified.error().message;
    }
}

TEST_F(H1bTest, TheListOfTensorsIsTheOneOfTheArchitecture) {
  const auto specs = model_tensors(tiny_config(), {}, Packing::kQ8);
  const auto shape = [&](std::string_view name) {
    for (const auto& s : specs)
      if (s.name == name) return std::pair(s.rows, s.columns);
    return std::pair(uint64_t{0}, uint64_t{0});
  };
  using Shape = std::pair<uint64_t, uint64_t>;
  EXPECT_EQ(specs.size(), 1u + 2 * (4 + 7) + 2);
  EXPECT_EQ(shape("token_embd"), Shape(300, 48));
  EXPECT_EQ(shape("blk.1.attn_q"), Shape(32, 48));
  EXPECT_EQ(shape("blk.1.attn_k"), Shape(16, 48));
  EXPECT_EQ(shape("blk.1.attn_v"), Shape(16, 48));
  EXPECT_EQ(shape("blk.1.attn_output"), Shape(48, 32));
  EXPECT_EQ(shape("blk.0.ffn_gate"), Shape(80, 48));
  EXPECT_EQ(shape("blk.0.ffn_up"), Shape(80, 48));
  EXPECT_EQ(shape("blk.0.ffn_down"), Shape(48, 80));
  EXPECT_EQ(shape("blk.0.attn_norm"), Shape(1, 48));
  EXPECT_EQ(shape("blk.0.attn_sub_norm"), Shape(1, 32));
  EXPECT_EQ(shape("blk.0.ffn_norm"), Shape(1, 48));
  EXPECT_EQ(shape("blk.0.ffn_sub_norm"), Shape(1, 80));
  EXPECT_EQ(shape("output_norm"), Shape(1, 48));
  EXPECT_EQ(shape("head"), Shape(300, 48));
}

TEST_F(H1bTest, TheSeedDecidesEveryByte) {
  const auto parts = tiny_parts(tiny_config());
  make(parts, {}, 7, "a");
  make(parts, {}, 7, "b");
  make(parts, {}, 8, "c");
  const auto a = test::read_file(folder_.path("a"));
  EXPECT_FALSE(a.empty());
  EXPECT_EQ(a, test::read_file(folder_.path("b")));
  EXPECT_NE(a, test::read_file(folder_.path("c")));
}

TEST_F(H1bTest, BothTernaryPackingsHoldTheSameWeights) {
  const auto parts = tiny_parts(tiny_config());
  const auto t2 = make(parts, {Packing::kT2, Packing::kQ8}, 3, "t2");
  const auto t1_6 = make(parts, {Packing::kT1_6, Packing::kQ8}, 3, "t1_6");
  size_t compared = 0;
  for (const auto& t : t2.tensors()) {
    const auto* other = t1_6.find(t.name);
    ASSERT_NE(other, nullptr) << t.name;
    if (t.kind != TensorKind::kLinear) {
      EXPECT_TRUE(std::equal(t.data.begin(), t.data.end(), other->data.begin(), other->data.end())) << t.name;
      continue;
    }
    EXPECT_EQ(unpack_all(t), unpack_all(*other)) << t.name;
    EXPECT_EQ(t.scale_values[0], other->scale_values[0]);
    EXPECT_GT(t.scale_values[0], 0.0f);
    ++compared;
  }
  EXPECT_EQ(compared, 14u);
}

TEST_F(H1bTest, SyntheticWeightsAreAboutAThirdOfEach) {
  auto parts = tiny_parts(tiny_config());
  parts.config.hidden = 256;
  parts.config.ffn = 512;
  const auto file = make(parts);
  const auto weights = unpack_all(*file.find("blk.0.ffn_up"));
  for (const int value : {-1, 0, 1}) {
    const auto share =
        static_cast<double>(std::count(weights.begin(), weights.end(), value)) / static_cast<double>(weights.size());
    EXPECT_NEAR(share, 1.0 / 3, 0.05) << value;
  }
}

TEST_F(H1bTest, HeadsOfEveryPackingApproximateTheSameNumbers) {
  const auto parts = tiny_parts(tiny_config());
  const auto bf16 = make(parts, {Packing::kT2, Packing::kBf16}, 5, "bf16");
  const auto f16 = make(parts, {Packing::kT2, Packing::kF16}, 5, "f16");
  const auto q8 = make(parts, {Packing::kT2, Packing::kQ8}, 5, "q8");
  const auto* head = q8.find("head");
  const auto integers = unpack_all(*head);
  const auto half = [](const Tensor* t, size_t i) {
    uint16_t bits = 0;
    std::memcpy(&bits, t->matrix.data() + 2 * i, sizeof bits);
    return bits;
  };
  // Tied: the bf16 head is the embedding.
  const auto* embedding = bf16.find("token_embd");
  EXPECT_TRUE(std::equal(embedding->data.begin(), embedding->data.end(), bf16.find("head")->data.begin()));
  for (uint64_t row = 0; row < head->rows; ++row) {
    const float scale = head->scale_values[row];
    float most = 0;
    for (uint64_t c = 0; c < head->columns; ++c) {
      const size_t i = row * head->columns + c;
      const float exact = bf16_to_float(half(bf16.find("head"), i));
      most = std::max(most, std::fabs(exact));
      EXPECT_NEAR(half_to_float(half(f16.find("head"), i)), exact, 1e-4f);
      EXPECT_LE(std::fabs(static_cast<float>(integers[i]) * scale - exact), 0.501f * scale) << row << ", " << c;
    }
    EXPECT_EQ(scale, most / 127.0f) << row;
  }
}

TEST_F(H1bTest, RopeTablesAreCosAndSinInDouble) {
  auto config = tiny_config();
  config.context = 300;
  const auto file = make(tiny_parts(config));
  ASSERT_EQ(file.rope_cos().size(), 300u * 8);
  ASSERT_EQ(file.rope_sin().size(), 300u * 8);
  for (uint32_t position = 0; position < 300; ++position)
    for (uint32_t i = 0; i < 8; ++i) {
      const double angle = position * std::exp(-2.0 * i / 16 * std::log(10000.0));
      EXPECT_NEAR(file.rope_cos()[position * 8 + i], std::cos(angle), 6e-8) << position << ", " << i;
      EXPECT_NEAR(file.rope_sin()[position * 8 + i], std::sin(angle), 6e-8) << position << ", " << i;
    }
}

TEST_F(H1bTest, ProgressEndsAtTheTotal) {
  uint64_t last = 0, total = 0;
  const auto watch = [&](uint64_t done, uint64_t all, auto...) {
    EXPECT_GE(done, last);
    EXPECT_LE(done, all);
    last = done;
    total = all;
  };
  ASSERT_TRUE(write_synthetic_model(folder_.path("m"), tiny_parts(tiny_config()), {}, 1, watch));
  EXPECT_EQ(last, total);
  EXPECT_GT(total, 0u);
  last = total = 0;
  const auto file = H1bFile::open(folder_.path("m"));
  ASSERT_TRUE(file);
  EXPECT_TRUE(file->verify(watch));
  EXPECT_EQ(total, file->file_bytes());
  EXPECT_EQ(last, total);
}

TEST_F(H1bTest, AWriterRefusesPartsThatNoFileMayHave) {
  auto parts = tiny_parts(tiny_config());
  parts.config.kv_heads = 3;
  EXPECT_FALSE(write_synthetic_model(folder_.path("m"), parts, {}, 1));
  parts = tiny_parts(tiny_config());
  parts.tokenizer.tokens[65].clear();
  EXPECT_FALSE(write_synthetic_model(folder_.path("m"), parts, {}, 1));
  parts = tiny_parts(tiny_config());
  parts.tokenizer = test::tiny_tokenizer(299);  // not the config's vocabulary
  test::expect_error(write_synthetic_model(folder_.path("m"), parts, {}, 1), {"tokenizer", "299", "300"});
  parts = tiny_parts(tiny_config());
  parts.provenance.emplace_back("name", "\xff");
  test::expect_error(write_synthetic_model(folder_.path("m"), parts, {}, 1), {"provenance", "UTF-8"});
  EXPECT_TRUE(folder_.names().empty());
}

TEST(QuantizeHeadRow, ScaleIsTheLargestOver127AndTiniestRowsAreZeros) {
  std::vector<int8_t> q(4);
  EXPECT_EQ(quantize_head_row(std::vector<float>{-127 * 0x1p-6f, 63.5f * 0x1p-6f, 0.5f * 0x1p-6f, 1.5f * 0x1p-6f}, q),
            0x1p-6f);
  EXPECT_EQ(q, (std::vector<int8_t>{-127, 64, 0, 2}));  // 63.5, 0.5 and 1.5 go to even
  EXPECT_EQ(quantize_head_row(std::vector<float>{0.0f, -0.0f, 0.0f, 0.0f}, q), 1.0f);
  EXPECT_EQ(q, (std::vector<int8_t>{0, 0, 0, 0}));
  // A 127th of the smallest denormals is 0: nothing may be divided by it.
  EXPECT_EQ(quantize_head_row(std::vector<float>{0x1p-149f, 0.0f, -0x1p-149f, 0.0f}, q), 1.0f);
  EXPECT_EQ(q, (std::vector<int8_t>{0, 0, 0, 0}));
  const float scale = quantize_head_row(std::vector<float>{3e38f, -3e38f, 0.0f, 1.0f}, q);
  EXPECT_TRUE(std::isfinite(scale));
  EXPECT_EQ(q, (std::vector<int8_t>{127, -127, 0, 0}));
}

/// The bundled model's tokenizer, or a small one where there is no such file.
TokenizerData base_tokenizer() {
  if (auto file = H1bFile::open(test::bundled_model()))
    if (auto data = file->tokenizer()) return *std::move(data);
  return test::tiny_tokenizer(300);
}

void expect_resized(const TokenizerData& base, uint32_t vocabulary) {
  const auto data = resize_tokenizer(base, vocabulary);
  ASSERT_TRUE(data) << vocabulary << ": " << data.error().message;
  EXPECT_EQ(data->tokens.size(), vocabulary);
  const auto valid = validate(*data);
  EXPECT_TRUE(valid) << valid.error().message;
  EXPECT_EQ(std::count(data->special.begin(), data->special.end(), true),
            std::count(base.special.begin(), base.special.end(), true));
  ASSERT_GE(data->bos, 0);
  EXPECT_EQ(data->tokens[data->bos], base.tokens[base.bos]);
  EXPECT_EQ(data->stop_tokens.size(), base.stop_tokens.size());
  EXPECT_EQ(data->chat.layout, base.chat.layout);
}

TEST(ResizeTokenizer, IsValidAtAnyVocabularyThatHoldsTheBytes) {
  for (const uint32_t vocabulary : {300u, 1000u, 8191u, 8192u, 8193u, 20000u})
    expect_resized(base_tokenizer(), vocabulary);
}

TEST(ResizeTokenizer, ABaseWithFewWordsGrowsPastTheirPairs) {
  // 26 letters and 6 pairs make about a thousand pairs; the tokens made of them have to join in turn.
  for (const uint32_t vocabulary : {258u, 259u, 2000u, 10000u}) expect_resized(test::tiny_tokenizer(300), vocabulary);
}

TEST(ResizeTokenizer, TooSmallAVocabularyIsAnError) {
  for (const uint32_t vocabulary : {0u, 1u, 2u, 200u, 257u})
    test::expect_error(resize_tokenizer(test::tiny_tokenizer(300), vocabulary), {"vocabulary"});
}

}  // namespace
}  // namespace onebit
