// What every backend promises, on gen-1: how tokens are split over steps and shared with other
// sequences changes no bit, and an error changes nothing at all.
#include "backend/reference_backend.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "format/synth.h"
#include "tests/support/temp_folder.h"
#include "tests/support/test_model.h"
#include "tests/support/tiny_model.h"

namespace onebit {
namespace {

class ReferenceBackendTest : public ::testing::TestWithParam<const char*> {
 protected:
  static constexpr uint32_t kVocabulary = 300, kContext = 1100;

  void SetUp() override {
    // Two KV heads, two query heads each, sizes that are no multiples of a block, and room for several KV blocks.
    auto config = test::tiny_config();
    config.layers = 3;
    config.heads = 4;
    config.kv_heads = 2;
    config.context = kContext;
    ASSERT_EQ(config.vocabulary, kVocabulary);
    const auto path = folder_.path("model.h1b");
    const auto written = write_synthetic_model(path, test::tiny_parts(config), {}, 1);
    ASSERT_TRUE(written) << written.error().message;
    auto file = H1bFile::open(path);
    ASSERT_TRUE(file) << file.error().message;
    file_ = std::make_unique<H1bFile>(*std::move(file));
    backend_ = make(HeadChoice::kStored);
  }

  std::unique_ptr<Backend> make(HeadChoice head) {
    auto weights = bind_weights(*file_, head);
    EXPECT_TRUE(weights) << weights.error().message;
    return make_reference_backend(*std::move(weights), *kv_type_by_name(GetParam()));
  }

  std::vector<TokenId> random_tokens(size_t n) {
    std::vector<TokenId> ids(n);
    for (auto& id : ids) id = static_cast<TokenId>(random_() % kVocabulary);
    return ids;
  }

  /// Logits of every token, fed in chunks of these sizes (the last one repeats).
  std::vector<float> run(std::span<const TokenId> tokens, const std::vector<size_t>& chunks) {
    const auto kv = backend_->new_kv_cache();
    std::vector<float> all;
    Logits logits;
    for (size_t at = 0, i = 0; at < tokens.size(); ++i) {
      const size_t n = std::min(chunks[std::min(i, chunks.size() - 1)], tokens.size() - at);
      const BatchItem item{kv.get(), tokens.subspan(at, n), LogitRows::kAll};
      const auto status = backend_->forward({&item, 1}, logits);
      EXPECT_TRUE(status) << status.error().message;
      all.insert(all.end(), logits.values.begin(), logits.values.end());
      at += n;
    }
    return all;
  }

  static bool same_bits(std::span<const float> a, std::span<const float> b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
  }

  test::TempFolder folder_;
  std::mt19937 random_{3};
  std::unique_ptr<H1bFile> file_;
  std::unique_ptr<Backend> backend_;
};

TEST_P(ReferenceBackendTest, ChunkingOfThePromptChangesNoBit) {
  const auto tokens = random_tokens(1090);  // past a super-block of 16 KV blocks
  const auto whole = run(tokens, {tokens.size()});
  EXPECT_TRUE(same_bits(whole, run(tokens, {64})));
  EXPECT_TRUE(same_bits(whole, run(tokens, {1, 62, 2, 900, 3})));
  EXPECT_TRUE(same_bits(whole, run(tokens, {1020, 1})));
}

TEST_P(ReferenceBackendTest, OtherSequencesInTheBatchChangeNoBit) {
  std::vector<std::vector<TokenId>> prompts;
  for (const size_t n : {3u, 65u, 1u, 20u}) prompts.push_back(random_tokens(n));
  std::vector<std::unique_ptr<KvCache>> caches;
  std::vector<BatchItem> batch;
  for (const auto& prompt : prompts) {
    caches.push_back(backend_->new_kv_cache());
    batch.push_back({caches.back().get(), prompt, LogitRows::kAll});
  }
  batch[3].rows = LogitRows::kLast;
  Logits together;
  ASSERT_TRUE(backend_->forward(batch, together));
  for (size_t i = 0; i < prompts.size(); ++i) {
    const auto alone = run(prompts[i], {prompts[i].size()});
    const size_t rows = i == 3 ? 1 : prompts[i].size();
    EXPECT_TRUE(same_bits(std::span(together.values).subspan(together.first_row[i] * kVocabulary, rows * kVocabulary),
                          std::span(alone).last(rows * kVocabulary)))
        << i;
  }
}

TEST_P(ReferenceBackendTest, ATruncatedCacheGoesOnLikeAFreshOne) {
  const auto tokens = random_tokens(90);
  const auto kv = backend_->new_kv_cache();
  Logits logits;
  const auto forward = [&](std::span<const TokenId> part) {
    const BatchItem item{kv.get(), part, LogitRows::kLast};
    ASSERT_TRUE(backend_->forward({&item, 1}, logits));
  };
  forward(tokens);
  EXPECT_EQ(kv->length(), 90u);
  kv->truncate(70);
  EXPECT_EQ(kv->length(), 70u);
  forward(std::span(tokens).subspan(70));
  const auto fresh = run(tokens, {90});
  EXPECT_TRUE(same_bits(logits.values, std::span(fresh).last(kVocabulary)));
}

TEST_P(ReferenceBackendTest, ErrorsSayWhatIsWrongAndChangeNothing) {
  const auto tokens = random_tokens(5);
  const auto kv = backend_->new_kv_cache();
  Logits logits;
  BatchItem item{kv.get(), tokens, LogitRows::kLast};
  ASSERT_TRUE(backend_->forward({&item, 1}, logits));
  const auto expect_error = [&](std::span<const BatchItem> batch, const char* part) {
    const auto status = backend_->forward(batch, logits);
    ASSERT_FALSE(status);
    EXPECT_NE(status.error().message.find(part), std::string::npos) << status.error().message;
    EXPECT_EQ(kv->length(), 5u);
  };
  const std::vector<TokenId> negative{1, -1}, large{300}, none, many(kContext - 4, 1);
  for (const auto& [bad, part] :
       {std::pair{&negative, "-1"}, {&large, "300"}, {&none, "no new token"}, {&many, "1100"}}) {
    item.tokens = *bad;
    expect_error({&item, 1}, part);
  }
  item.tokens = tokens;
  const BatchItem twice[] = {item, item};
  expect_error(twice, "twice");
}

INSTANTIATE_TEST_SUITE_P(KvTypes, ReferenceBackendTest, ::testing::Values("f32", "f16", "q8"),
                         [](const auto& kv) { return std::string(kv.param); });

TEST(ReferenceBackend, ANonFiniteWeightEndsTheStepAndLeavesTheCache) {
  auto file = H1bFile::open(test::bundled_model());
  ASSERT_TRUE(file);
  auto weights = bind_weights(*file, HeadChoice::kStored);
  ASSERT_TRUE(weights);
  std::vector<float> bad_norm(weights->layers[5].ffn_norm.begin(), weights->layers[5].ffn_norm.end());
  bad_norm[100] = std::nanf("");
  weights->layers[5].ffn_norm = bad_norm;
  const auto backend = make_reference_backend(*std::move(weights), KvType::kF16);
  const auto kv = backend->new_kv_cache();
  const std::vector<TokenId> tokens{8176, 39, 505};
  const BatchItem item{kv.get(), tokens, LogitRows::kLast};
  Logits logits;
  const auto status = backend->forward({&item, 1}, logits);
  ASSERT_FALSE(status);
  EXPECT_NE(status.error().message.find("residual stream"), std::string::npos);
  EXPECT_EQ(kv->length(), 0u);
}

}  // namespace
}  // namespace onebit
