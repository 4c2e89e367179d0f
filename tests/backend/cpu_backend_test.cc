// gen-2 against gen-1: the same logits, bit for bit, whatever the instruction set, the threads, the packing, and
// however tokens are split over steps or share one.
#include "backend/cpu_backend.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "format/h1b_writer.h"
#include "format/model_tensors.h"
#include "tests/backend/backend_models.h"

namespace onebit {
namespace {

using test::config_of;
using test::Models;
using test::random_tokens;
using test::run;
using test::same_bits;
using test::Shape;

std::unique_ptr<Backend> cpu_backend(const Models& models, const cpu::Kernels* kernels, unsigned threads) {
  return make_cpu_backend(models.weights(), {.kv_type = models.kv(), .threads = threads, .kernels = kernels});
}

std::vector<Shape> shapes() {
  const auto plain = config_of(48, 4, 2, 16, 80);
  auto untied = plain;
  untied.tied_head = false;
  const auto with = [](ModelConfig config, NormChoice norms, Activation activation = Activation::kSilu) {
    config.norms = norms;
    config.activation = activation;
    return config;
  };
  return {
      {"t2", plain, {}},
      {"t1_6", plain, {.ternary = Packing::kT1_6}},
      {"s1_25", plain, {.ternary = Packing::kS1_25}},
      {"kv_f32", plain, {}, KvType::kF32},
      {"kv_q8", plain, {.ternary = Packing::kT1_6}, KvType::kQ8},
      {"head_bf16", plain, {}, KvType::kF16, HeadChoice::kEmbedding},
      {"head_f16", untied, {.head = Packing::kF16}},
      {"narrow_heads", config_of(40, 6, 2, 6, 36), {.ternary = Packing::kT1_6}, KvType::kQ8},
      {"one_head_many_queries", config_of(64, 9, 1, 32, 100), {}},
      {"as_wide_as_real_ones", config_of(640, 8, 2, 128, 1000), {}},
      {"s1_25_wide", config_of(320, 4, 4, 80, 600), {.ternary = Packing::kS1_25}},
      {"llama", with(plain, {}), {.ternary = Packing::kT1_6}},
      {"llama_wide_heads", with(config_of(96, 2, 1, 256, 160), {}), {}},
      {"bitnet_3b", with(config_of(100, 2, 2, 50, 270), {.sub = true}), {.ternary = Packing::kT1_6}},
      {"qwen3_groups", with(config_of(320, 4, 2, 16, 200), {.heads = true}), {.synthetic_scale_group = 128}},
      {"qwen3_groups_t1_6",
       with(config_of(320, 4, 2, 16, 200), {.heads = true}),
       {.ternary = Packing::kT1_6, .synthetic_scale_group = 64},
       KvType::kQ8},
      {"projection_norms", with(plain, {.sub = true, .heads = true, .projections = true}), {.ternary = Packing::kT1_6}},
      {"s1_25_projection_norms",
       with(plain, {.sub = true, .projections = true}, Activation::kSquaredRelu),
       {.ternary = Packing::kS1_25, .synthetic_scale_group = 32}},
      {"wide_q8", config_of(320, 4, 4, 80, 600), {.ternary = Packing::kT1_6}, KvType::kQ8},
  };
}

class CpuBackendTest : public ::testing::TestWithParam<std::string> {
 protected:
  static Shape shape() {
    for (auto& s : shapes())
      if (s.name == GetParam()) return s;
    return {};
  }
  Models models_{shape()};
};

TEST_P(CpuBackendTest, EveryInstructionSetAndThreadCountGivesTheReferencesBits) {
  const auto tokens = random_tokens(150, 300, 1);
  const auto expected = run(*models_.reference(), tokens, tokens.size());
  for (const auto* kernels : cpu::usable_kernels())
    for (const unsigned threads : {1u, 2u, 3u, 7u})
      for (const size_t chunk : {1u, 7u, 64u, 512u}) {
        if (chunk == 1 && threads > 2) continue;
        const auto backend = cpu_backend(models_, kernels, threads);
        EXPECT_TRUE(same_bits(expected, run(*backend, tokens, chunk)))
            << kernels->name << ", " << threads << " threads, steps of " << chunk;
      }
}

TEST_P(CpuBackendTest, LongContextsGiveTheReferencesBits) {
#ifdef ONEBIT_SANITIZED
  if (GetParam() == "as_wide_as_real_ones")
    GTEST_SKIP()
        << "two minutes of products: sanitized, wide rows have the shorter tests, long contexts the other shapes";
#endif
  const auto tokens = random_tokens(1090, 300, 2);  // past a super-block of 16 KV blocks
  const auto reference = models_.reference();
  const auto kv = reference->new_kv_cache();
  const auto expected = run(*reference, *kv, tokens, tokens.size());
  for (const auto* kernels : cpu::usable_kernels()) {
    const auto backend = cpu_backend(models_, kernels, 2);
    const auto long_kv = backend->new_kv_cache();
    EXPECT_TRUE(same_bits(expected, run(*backend, *long_kv, tokens, 300))) << kernels->name;
    // The last ones again, one, two, four and five at a time: every way of sharing attention out.
    for (const size_t chunk : {1u, 2u, 4u, 5u}) {
      long_kv->truncate(1070);
      const auto last = run(*backend, *long_kv, std::span(tokens).subspan(1070), chunk);
      EXPECT_TRUE(same_bits(std::span(expected).last(last.size()), last)) << kernels->name << " in steps of " << chunk;
    }
  }
}

TEST_P(CpuBackendTest, SequencesThatShareAStepOrAPrefixGiveTheReferencesBits) {
  const auto backend = cpu_backend(models_, nullptr, 2);
  const auto reference = models_.reference();
  const auto prompt = random_tokens(100, 300, 3);
  const auto first = backend->new_kv_cache();
  run(*backend, *first, prompt, 100);
  // Three go on from the same prefix, a fourth is new; the prefix ends inside a page.
  std::vector<std::unique_ptr<KvCache>> caches;
  std::vector<std::vector<TokenId>> texts;
  std::vector<BatchItem> batch;
  for (const uint32_t kept : {70u, 100u, 64u, 0u}) {
    caches.push_back(first->prefix(kept));
    EXPECT_EQ(caches.back()->length(), kept);
    texts.push_back(random_tokens(1 + kept / 9, 300, kept));
  }
  for (size_t i = 0; i < texts.size(); ++i) batch.push_back({caches[i].get(), texts[i], LogitRows::kAll});
  batch[1].rows = LogitRows::kLast;
  Logits together;
  ASSERT_TRUE(backend->forward(batch, together));
  for (size_t i = 0; i < texts.size(); ++i) {
    const size_t kept = caches[i]->length() - texts[i].size();
    std::vector<TokenId> whole(prompt.begin(), prompt.begin() + static_cast<std::ptrdiff_t>(kept));
    whole.insert(whole.end(), texts[i].begin(), texts[i].end());
    const auto expected = run(*reference, whole, whole.size());
    const size_t rows = i == 1 ? 1 : texts[i].size();
    EXPECT_TRUE(same_bits(std::span(expected).last(rows * 300),
                          std::span(together.values).subspan(size_t{together.first_row[i]} * 300, rows * 300)))
        << i;
  }
  // Nobody wrote into the pages of the first.
  const auto more = random_tokens(5, 300, 9);
  auto whole = prompt;
  whole.insert(whole.end(), more.begin(), more.end());
  const auto expected = run(*reference, whole, whole.size());
  EXPECT_TRUE(same_bits(std::span(expected).last(5 * 300), run(*backend, *first, more, 5)));
}

INSTANTIATE_TEST_SUITE_P(Shapes, CpuBackendTest, ::testing::ValuesIn([] {
                           std::vector<std::string> names;
                           for (const auto& s : shapes()) names.push_back(s.name);
                           return names;
                         }()),
                         [](const auto& name) { return name.param; });

TEST(CpuBackend, ErrorsAreTheReferencesAndLeaveTheCache) {
  const Models models({"errors", config_of(48, 4, 2, 16, 80), {}});
  const auto reference = models.reference(), backend = cpu_backend(models, nullptr, 2);
  const auto tokens = random_tokens(5, 300, 1);
  const std::vector<TokenId> negative{1, -1}, large{300}, none, many(1096, 1);
  for (const auto* bad : {&negative, &large, &none, &many}) {
    std::vector<std::string> messages;
    for (auto* engine : {reference.get(), backend.get()}) {
      const auto kv = engine->new_kv_cache();
      run(*engine, *kv, tokens, 5);
      Logits logits;
      const BatchItem item{kv.get(), *bad, LogitRows::kLast};
      const auto status = engine->forward({&item, 1}, logits);
      ASSERT_FALSE(status);
      messages.push_back(status.error().message);
      EXPECT_EQ(kv->length(), 5u);
    }
    EXPECT_EQ(messages[0], messages[1]);
  }
}

TEST(SparseModel, AllOfItsMatricesAreSparseOrNoneIs) {
  const test::TempFolder folder;
  const auto path = folder.path("mixed.h1b");
  const auto parts = test::tiny_parts(config_of(48, 4, 2, 16, 80));
  auto specs = model_tensors(parts.config, {Packing::kS1_25}, Packing::kQ8);
  auto& other = *std::find_if(specs.begin(), specs.end(), [](const auto& s) { return s.name == "blk.1.ffn_up"; });
  other.packing = Packing::kT2;
  auto writer = H1bWriter::create(path, parts, specs);
  ASSERT_TRUE(writer) << writer.error().message;
  for (const auto& spec : specs)
    ASSERT_TRUE(writer->write_tensor(std::vector<std::byte>(spec.matrix_bytes()), std::vector<float>(spec.scales())));
  ASSERT_TRUE(writer->finish());
  const auto file = H1bFile::open(path);
  ASSERT_TRUE(file) << file.error().message;
  const auto bound = bind_weights(*file, HeadChoice::kStored);
  ASSERT_FALSE(bound);
  const auto& message = bound.error().message;
  EXPECT_NE(message.find("blk.1.ffn_up: packing is t2, expected s1_25, as blk.0.attn_q is"), std::string::npos)
      << message;
}

RC_GTEST_PROP(CpuBackendProperty, AnyShapeAndSplitGivesTheReferencesBits, ()) {
  const auto kv_heads = *rc::gen::inRange(1u, 4u), group = *rc::gen::inRange(1u, 5u);
  Shape shape{"any",
              config_of(4 * *rc::gen::inRange(1u, 60u), kv_heads * group, kv_heads, 2 * *rc::gen::inRange(1u, 40u),
                        4 * *rc::gen::inRange(1u, 75u)),
              {}};
  shape.config.layers = *rc::gen::inRange(1u, 3u);
  shape.packings.ternary = *rc::gen::element(Packing::kT2, Packing::kT1_6, Packing::kS1_25);
  if (shape.packings.ternary == Packing::kS1_25) shape.config.head_dim = (shape.config.head_dim + 3) / 4 * 4;
  shape.kv = *rc::gen::element(KvType::kF32, KvType::kF16, KvType::kQ8);
  const Models models(shape);
  const auto tokens = random_tokens(*rc::gen::inRange(1u, 140u), 300, *rc::gen::arbitrary<uint32_t>());
  const auto expected = run(*models.reference(), tokens, tokens.size());
  const auto* kernels =
      *rc::gen::elementOf(std::vector<const cpu::Kernels*>(cpu::usable_kernels().begin(), cpu::usable_kernels().end()));
  const auto backend = cpu_backend(models, kernels, *rc::gen::inRange(1u, 5u));
  RC_ASSERT(same_bits(expected, run(*backend, tokens, *rc::gen::inRange(1u, 80u))));
}

}  // namespace
}  // namespace onebit
