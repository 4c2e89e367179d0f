// The best logits of a row in place of the row: what sorting it would give, from every backend and in any batch.
#include "backend/best_of_row.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <random>

#include "backend/cpu_backend.h"
#include "backend/reference_backend.h"
#include "format/synth.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tiny_model.h"

namespace onebit {
namespace {

using Candidates = std::vector<Logits::Candidate>;

uint32_t below(std::mt19937& random, uint32_t n) {
  return static_cast<uint32_t>(random() % n);
}

Candidates best_by_sorting(std::span<const float> logits, size_t k) {
  Candidates all;
  for (size_t id = 0; id < logits.size(); ++id) all.push_back({static_cast<TokenId>(id), logits[id]});
  std::sort(all.begin(), all.end(),
            [](const auto& a, const auto& b) { return a.logit != b.logit ? a.logit > b.logit : a.id < b.id; });
  all.resize(std::min(k, all.size()));
  return all;
}

bool same(std::span<const Logits::Candidate> a, std::span<const Logits::Candidate> b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.id == y.id && std::bit_cast<uint32_t>(x.logit) == std::bit_cast<uint32_t>(y.logit);
  });
}

TEST(BestOfRow, SelectsWhatSortingGives) {
  std::mt19937 random(1);
  for (int i = 0; i < 2000; ++i) {
    std::vector<float> logits(1 + below(random, i % 2 == 0 ? 40 : 2000));
    const uint32_t values = 1 + below(random, 50);  // few: many ties, and both zeros
    for (auto& l : logits) {
      l = static_cast<float>(below(random, values)) - static_cast<float>(values / 2);
      if (l == 0.0f && below(random, 2) == 0) l = -0.0f;
    }
    if (i % 5 == 0) std::sort(logits.begin(), logits.end());
    const uint32_t k = 1 + below(random, kMostBest);
    Candidates found{{-1, 1e30f}};  // what stands there is left alone
    select_best(logits, k, found);
    ASSERT_TRUE(same(std::span(found).subspan(1), best_by_sorting(logits, k))) << logits.size() << ", " << k;
    EXPECT_EQ(found[0].id, -1);
  }
}

TEST(BestOfRow, TheLargestIsThatOfFloats) {
  EXPECT_EQ(largest(std::vector<float>{-3.0f, -1.0f, -2.0f}), -1.0f);
  EXPECT_EQ(largest(std::vector<float>{-1.0f, 1e-45f, -0.0f}), 1e-45f);
  EXPECT_EQ(largest(std::vector<float>{-1e38f}), -1e38f);
}

class BestLogitsTest : public ::testing::TestWithParam<bool> {
 protected:
  BestLogitsTest() {
    auto config = test::tiny_config();
    config.context = 1100;
    const auto path = folder_.path("model.h1b");
    EXPECT_TRUE(write_synthetic_model(path, test::tiny_parts(config), {}, 1));
    file_ = std::make_unique<H1bFile>(*H1bFile::open(path));
    backend_ = make(*bind_weights(*file_, HeadChoice::kStored));
  }

  static std::unique_ptr<Backend> make(ModelWeights weights) {
    if (GetParam()) return make_reference_backend(std::move(weights), KvType::kF16);
    return make_cpu_backend(std::move(weights), {.threads = 2});
  }

  std::vector<TokenId> random_tokens(size_t n) {
    std::vector<TokenId> ids(n);
    for (auto& id : ids) id = static_cast<TokenId>(below(random_, 300));
    return ids;
  }

  std::string error_of(const BatchItem& item) {
    Logits logits;
    const auto status = backend_->forward({&item, 1}, logits);
    return status ? std::string() : status.error().message;
  }

  test::TempFolder folder_;
  std::mt19937 random_{2};
  std::unique_ptr<H1bFile> file_;
  std::unique_ptr<Backend> backend_;
};

TEST_P(BestLogitsTest, AnyBatchGivesTheBestOfItsRows) {
  Logits got;  // used again and again, as callers do
  for (int round = 0; round < 30; ++round) {
    std::vector<std::vector<TokenId>> texts(round == 7 ? 3 : 1 + below(random_, 6));
    std::vector<std::unique_ptr<KvCache>> caches, whole_caches;
    std::vector<BatchItem> batch, whole_batch;
    for (auto& text : texts) {
      // Once, a batch that takes several steps.
      text = random_tokens(round == 7 ? 300 : 1 + below(random_, 20));
      caches.push_back(backend_->new_kv_cache());
      whole_caches.push_back(backend_->new_kv_cache());
      BatchItem item{caches.back().get(), text, static_cast<LogitRows>(below(random_, 3))};
      if (item.rows == LogitRows::kLast && below(random_, 3) > 0) item.best = 1 + below(random_, kMostBest);
      batch.push_back(item);
      whole_batch.push_back({whole_caches.back().get(), text, item.rows});
    }
    Logits whole;
    ASSERT_TRUE(backend_->forward(batch, got));
    ASSERT_TRUE(backend_->forward(whole_batch, whole));
    ASSERT_EQ(got.first_row.size(), batch.size() + 1);
    ASSERT_EQ(got.first_best.size(), batch.size() + 1);
    EXPECT_EQ(got.values.size(), size_t{got.first_row.back()} * 300);
    for (size_t i = 0; i < batch.size(); ++i) {
      EXPECT_TRUE(whole.best_of(i).empty());
      const uint32_t rows = got.first_row[i + 1] - got.first_row[i];
      if (batch[i].best > 0) {
        EXPECT_EQ(rows, 0u);
        EXPECT_TRUE(same(got.best_of(i), best_by_sorting(whole.row(i), batch[i].best))) << round << ", item " << i;
        continue;
      }
      EXPECT_TRUE(got.best_of(i).empty());
      ASSERT_EQ(rows, whole.first_row[i + 1] - whole.first_row[i]);
      for (uint32_t row = 0; row < rows; ++row)
        EXPECT_TRUE(std::ranges::equal(got.row(i, row), whole.row(i, row))) << round << ", item " << i;
    }
  }
}

TEST_P(BestLogitsTest, OnlyTheLastRowHasABestAndNotTooMany) {
  const auto kv = backend_->new_kv_cache();
  const auto tokens = random_tokens(3);
  EXPECT_EQ(error_of({kv.get(), tokens, LogitRows::kLast, kMostBest}), "");
  EXPECT_EQ(error_of({kv.get(), tokens, LogitRows::kLast, kMostBest + 1}), "the 65 best logits are more than 64");
  EXPECT_EQ(error_of({kv.get(), tokens, LogitRows::kAll, 1}), "the best logits are those of the last row only");
  EXPECT_EQ(error_of({kv.get(), tokens, LogitRows::kNone, 1}), "the best logits are those of the last row only");
  EXPECT_EQ(kv->length(), 3u);
}

TEST_P(BestLogitsTest, ANonFiniteLogitIsAnErrorWhereverItStands) {
  for (const float scale : {std::nanf(""), -INFINITY}) {
    auto weights = *bind_weights(*file_, HeadChoice::kStored);
    auto& head = std::get<IntegerMatrix>(weights.head);
    std::vector<float> scales(head.scales.begin(), head.scales.end());
    scales[299] = scale;
    head.scales = scales;
    backend_ = make(std::move(weights));
    const auto kv = backend_->new_kv_cache();
    const auto tokens = random_tokens(3);
    EXPECT_NE(error_of({kv.get(), tokens, LogitRows::kLast, 1}).find("the logits is not a finite"), std::string::npos);
    EXPECT_EQ(kv->length(), 0u);
    backend_.reset();  // before what it borrows
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, BestLogitsTest, ::testing::Bool(),
                         [](const auto& reference) { return reference.param ? "reference" : "cpu"; });

}  // namespace
}  // namespace onebit
