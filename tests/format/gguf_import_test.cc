// .h1b -> GGUF -> .h1b.
#include <cmath>
#include <cstring>

#include "format/gguf_architecture.h"
#include "format/gguf_metadata.h"
#include "tests/format/gguf_models.h"
#include "tests/support/expect_error.h"
#include "tests/support/gguf_edit.h"
#include "tests/support/test_model.h"

namespace onebit {
namespace {

using namespace test;  // NOLINT(google-build-using-namespace): the helpers' many names
using gguf::Type;

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
    const auto granularity = any_of(random, {ScaleGranularity::kTensor, ScaleGranularity::kRow,
                                             plain ? ScaleGranularity::kGroup : ScaleGranularity::kRow});
    RandomWeights source(config, seed, scale, density, granularity,
                         granularity == ScaleGranularity::kGroup ? any_of(random, {32u, 64u, 128u}) : 0);
    const ModelPackings packings{any_of(random, {Packing::kT2, Packing::kT1_6}),
                                 any_of(random, {Packing::kQ8, Packing::kBf16, Packing::kF16})};
    const auto model = write(parts, source, packings);
    options.embedding = config.tied_head ? any_of(random, {Type::kBf16, Type::kF32}) : Type::kF32;
    const auto summary = export_model(model, options);
    expect_same_model(model, back(packings));
    EXPECT_EQ(summary.caution.empty(), config.activation == find_gguf_architecture(family.architecture)->activation);
    // f16 rounds a scale that was not chosen, and zeros do not show theirs.
    const bool tensor = granularity == ScaleGranularity::kTensor,
               beside = family.architecture == std::string("bitnet") && tensor;
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

/// RoPE over neighbours, as readers of "llama" compute it, on the file's rows: the same angles between the same
/// weights.
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
      const uint64_t in_head = row % 128, file_row = name[6] == 'a' && name[11] == 'v'
                                                         ? row
                                                         : row - in_head + in_head % 64 * 2 + in_head / 64;
      for (uint64_t c = 0; c < tensor->columns; ++c) {
        uint16_t bits = 0;
        std::memcpy(&bits, entry->data.data() + 2 * (file_row * tensor->columns + c), 2);
        ASSERT_EQ((half_to_float(bits) > 0) - (half_to_float(bits) < 0), weights[row * tensor->columns + c])
            << name << " " << row;
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
    Status ternary_rows(uint32_t l, Linear p, uint64_t f, uint64_t n, std::span<int8_t> out) override {
      return base_.ternary_rows(l, p, f, n, out);
    }
    Status ternary_scales(uint32_t l, Linear p, std::span<float> out) override {
      return base_.ternary_scales(l, p, out);
    }
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

TEST_F(GgufImport, OtherPreTokenizersAndAddedTokensComeBack) {
  for (const auto kind : {PreTokenizer::kQwen2, PreTokenizer::kGpt2})
    for (const bool nfc : {false, true}) {
      auto parts = tiny_parts(wide_config());
      auto& t = parts.tokenizer;
      t.pre_tokenizer = kind;
      t.nfc = nfc;
      t.tokens[280] = "<think> it's";
      t.tokens[281] = "  ";
      t.added = {280};
      (nfc ? t.added_after_nfc : t.added).push_back(281);
      RandomWeights source(parts.config, 1, 0.5f, 0.5);
      const auto model = write(parts, source);
      export_model(model, {});
      expect_same_model(model, back());
    }
}

TEST_F(GgufImport, DescribedChatLayoutsComeBack) {
  auto parts = tiny_parts(wide_config());
  parts.tokenizer.chat = {ChatLayout::kDescribed,
                          {.system = {},
                           .user = {"[Q] 'it\\'s\n", "<|eot_id|>"},
                           .assistant = {"[A] ", "<|eot_id|>"},
                           .has_system = false,
                           .begin_with_bos = false,
                           .trim = false}};
  RandomWeights source(parts.config, 1, 0.5f, 0.5);
  const auto model = write(parts, source);
  export_model(model, {});
  expect_same_model(model, back());
}

TEST_F(GgufImport, TheTemplateSaysWhatTheLayoutDoes) {
  EXPECT_EQ(
      jinja_of(chat_format_of(ChatLayout::kChatml)),
      "{% for message in messages %}{% if message['role'] == 'user' %}{{ '<|im_start|>user\\n' }}{{ message['content'] "
      "}}"
      "{{ '<|im_end|>\\n' }}{% elif message['role'] == 'assistant' %}{{ '<|im_start|>assistant\\n' }}{{ "
      "message['content'] }}"
      "{{ '<|im_end|>\\n' }}{% elif message['role'] == 'system' %}{{ '<|im_start|>system\\n' }}{{ message['content'] }}"
      "{{ '<|im_end|>\\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% "
      "endif %}");
  EXPECT_TRUE(jinja_of(chat_format_of(ChatLayout::kLlama3)).starts_with("{{ bos_token }}"));
}

}  // namespace
}  // namespace onebit
