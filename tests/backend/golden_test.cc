// gen-1 against an independent float32 implementation's numbers (tests/golden). Two correct engines
// differ a little: one activation that rounds the other way to int8 moves everything after it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "backend/reference_backend.h"
#include "base/utf8.h"
#include "engine/generate.h"
#include "engine/model.h"
#include "eval/perplexity.h"
#include "tests/backend/independent_model.h"
#include "tests/support/test_model.h"
#include "tokenizer/chat_layout.h"

namespace onebit {
namespace {

using nlohmann::json;

json read_json(const std::string& relative) {
  std::ifstream in(test::source_path(relative));
  return json::parse(in);
}

Model open_model(const ModelOptions& options) {
  auto model = Model::open(test::bundled_model(), options);
  EXPECT_TRUE(model) << model.error().message;
  return *std::move(model);
}

TEST(Golden, PromptsTokeniseToTheSameIds) {
  const auto model = open_model({});
  const auto golden = read_json("tests/golden/golden.json");
  for (const auto& c : golden["cases"]) {
    auto ids = model.tokenizer().encode(c["prompt"].get<std::string>(), SpecialTokens::kParse);
    if (c["kind"] == "plain") ids.insert(ids.begin(), *model.tokenizer().bos());
    EXPECT_EQ(ids, c["prompt_ids"].get<std::vector<TokenId>>()) << c["prompt"];
  }
}

TEST(Golden, FirstLayerFollowsTheTraceWithin1e5) {
  const auto trace = read_json("tests/golden/trace.json");
  std::map<std::string, std::vector<float>> seen;
  auto file = H1bFile::open(test::bundled_model());
  ASSERT_TRUE(file);
  const auto backend = make_reference_backend(
      *bind_weights(*file, HeadChoice::kEmbedding), KvType::kF32,
      [&](std::string_view place, std::span<const float> x) { seen[std::string(place)] = {x.begin(), x.end()}; });
  const auto ids = trace["prompt_ids"].get<std::vector<TokenId>>();
  const auto kv = backend->new_kv_cache();
  const BatchItem item{kv.get(), ids, LogitRows::kLast};
  Logits logits;
  ASSERT_TRUE(backend->forward({&item, 1}, logits));
  const std::map<std::string, std::string> places{{"embedding", "embedding"},
                                                  {"model.layers.0.after_attention", "blk.0.attention"},
                                                  {"model.layers.0.after_mlp", "blk.0.ffn"}};
  size_t compared = 0;
  for (const auto& step : trace["steps"]) {
    const auto place = places.find(step["name"]);
    if (place == places.end()) continue;
    const auto& x = seen.at(place->second);
    const size_t last = x.size() - 512;
    for (size_t i = 0; i < 8; ++i) {
      EXPECT_NEAR(x[i], step["first_position"][i].get<double>(), 1e-5) << step["name"];
      EXPECT_NEAR(x[last + i], step["last_position"][i].get<double>(), 1e-5) << step["name"];
    }
    double sum = 0;
    for (const float v : x) sum += static_cast<double>(v) * v;
    EXPECT_NEAR(std::sqrt(sum), step["l2"].get<double>(), 1e-4 * step["l2"].get<double>());
    ++compared;
  }
  EXPECT_EQ(compared, 3u);
}

/// How far two correct engines may lie apart, by KV type.
struct Tolerance {
  const char* name;
  KvType kv;
  double median, maximum, agreement;
};

void PrintTo(const Tolerance& tolerance, std::ostream* out) {
  *out << tolerance.name << " KV";
}

class GoldenLogits : public ::testing::TestWithParam<Tolerance> {
 protected:
  GoldenLogits() : model_(open_model({GetParam().kv, HeadChoice::kEmbedding})) {}

  /// Logits after every token.
  Logits run(const std::vector<TokenId>& ids) {
    const auto kv = model_.backend().new_kv_cache();
    const BatchItem item{kv.get(), ids, LogitRows::kAll};
    Logits logits;
    const auto status = model_.backend().forward({&item, 1}, logits);
    EXPECT_TRUE(status) << status.error().message;
    return logits;
  }

  Model model_;
  json golden_ = read_json("tests/golden/golden.json");
};

TEST_P(GoldenLogits, TopTenAreNear) {
  std::vector<double> differences;
  for (const auto& c : golden_["cases"]) {
    if (!c.contains("top10")) continue;
    const auto logits = run(c["prompt_ids"].get<std::vector<TokenId>>());
    for (const auto& row : c["top10"])
      for (const auto& entry : row["logits"])
        differences.push_back(
            std::fabs(logits.row(0, row["position"].get<size_t>())[entry[0].get<size_t>()] - entry[1].get<double>()));
  }
  ASSERT_EQ(differences.size(), 390u);  // ten at each of the last 8 positions of five prompts, one of which has 7
  std::sort(differences.begin(), differences.end());
  const double median = differences[differences.size() / 2], maximum = differences.back();
  std::printf("%s KV: top-10 logits differ by %.6f in the median, %.4f at most\n", GetParam().name, median, maximum);
  EXPECT_LE(median, GetParam().median);
  EXPECT_LE(maximum, GetParam().maximum);
}

TEST_P(GoldenLogits, ArgmaxAgreesAlongTheGreedyAnswers) {
  size_t steps = 0, agreed = 0;
  for (const auto& c : golden_["cases"]) {
    const auto prompt = c["prompt_ids"].get<std::vector<TokenId>>();
    const auto greedy = c["greedy_ids"].get<std::vector<TokenId>>();
    auto ids = prompt;
    ids.insert(ids.end(), greedy.begin(), greedy.end() - 1);
    const auto logits = run(ids);
    for (size_t i = 0; i < greedy.size(); ++i, ++steps) {
      const TokenId best = argmax(logits.row(0, prompt.size() - 1 + i));
      const double margin = c["margins"][i].get<double>();
      if (best == greedy[i]) {
        ++agreed;
        continue;
      }
      std::printf("%s KV: prompt %s step %zu: %d instead of %d, golden margin %.4f\n", GetParam().name,
                  c["prompt"].dump().c_str(), i, best, greedy[i], margin);
      EXPECT_LT(margin, 0.5);
    }
  }
  ASSERT_EQ(steps, 42u * 64u);
  const double agreement = static_cast<double>(agreed) / static_cast<double>(steps);
  std::printf("%s KV: argmax agrees on %zu of %zu steps (%.2f %%)\n", GetParam().name, agreed, steps, 100 * agreement);
  EXPECT_GE(agreement, GetParam().agreement);
}

INSTANTIATE_TEST_SUITE_P(KvTypes, GoldenLogits,
                         ::testing::Values(Tolerance{"f32", KvType::kF32, 0.01, 0.35, 0.99},
                                           Tolerance{"f16", KvType::kF16, 0.05, 0.6, 0.985}),
                         [](const auto& tolerance) { return std::string(tolerance.param.name); });

TEST(Golden, PerplexityOfEightWindowsIsTheIndependentFigure) {
  constexpr size_t kWindows = 8, kWindow = 1023;
  auto model = open_model({KvType::kF32, HeadChoice::kEmbedding});
  const auto text = read_text_file(test::source_path("data/wikitext-2/test.txt"), size_t{1} << 24);
  ASSERT_TRUE(text) << text.error().message;
  const auto tokens = model.tokenizer().encode(*text, SpecialTokens::kAsText);
  EXPECT_EQ(tokens.size(), 395628u);
  const auto bos = *model.tokenizer().bos();
  const auto ours = perplexity(model.backend(), tokens, {kWindow, 0, bos, kWindows});
  ASSERT_TRUE(ours) << ours.error().message;

  const test::IndependentModel independent(model.file());
  double nll = 0;
  for (size_t w = 0; w < kWindows; ++w) {
    std::vector<TokenId> ids{bos};
    ids.insert(ids.end(), tokens.begin() + static_cast<ptrdiff_t>(w * kWindow),
               tokens.begin() + static_cast<ptrdiff_t>((w + 1) * kWindow));
    for (const double p : independent.log_probabilities(ids)) nll -= p;
  }
  const double expected = std::exp(nll / (kWindows * kWindow));
  std::printf("perplexity of 8 windows: gen-1 %.4f, independent float64 pass %.4f (%+.4f %%)\n", ours->perplexity(),
              expected, 100 * (ours->perplexity() / expected - 1));
  EXPECT_NEAR(ours->perplexity() / expected, 1.0, 0.003);
}

/// Greedy answers to all prompts at once, `batch` sequences a step.
std::vector<std::string> answers(Model& model, const std::vector<std::string>& questions, size_t batch) {
  struct Open {
    size_t index;
    std::unique_ptr<KvCache> kv;
    std::vector<TokenId> next;  // tokens of the coming step
    std::vector<TokenId> answer;
  };
  std::vector<std::string> result(questions.size());
  std::vector<Open> open;
  size_t started = 0;
  while (started < questions.size() || !open.empty()) {
    for (; open.size() < batch && started < questions.size(); ++started) {
      const ChatMessage message{"user", questions[started]};
      open.push_back(
          {started, model.backend().new_kv_cache(), *encode_chat(model.tokenizer(), {&message, 1}, true), {}});
    }
    std::vector<BatchItem> items;
    for (const auto& o : open) items.push_back({o.kv.get(), o.next, LogitRows::kLast});
    Logits logits;
    const auto status = model.backend().forward(items, logits);
    EXPECT_TRUE(status) << status.error().message;
    for (size_t i = 0; i < open.size(); ++i) open[i].next = {argmax(logits.row(i))};
    std::erase_if(open, [&](Open& o) {
      const bool done = model.tokenizer().is_stop(o.next[0]) || o.answer.size() == 48;
      if (done) result[o.index] = model.tokenizer().decode(o.answer, false);
      o.answer.push_back(o.next[0]);
      return done;
    });
  }
  return result;
}

TEST(Golden, HeldOutQuestionsAreAnsweredAsTheCardSays) {
  auto model = open_model({});  // as it serves: f16 KV, q8 head
  std::ifstream in(test::source_path("tests/golden/heldout_qa.jsonl"));
  std::vector<std::string> questions, expected;
  for (std::string line; std::getline(in, line);) {
    const auto row = json::parse(line);
    questions.push_back(row["prompt"]);
    expected.push_back(row["expected"]);
  }
  ASSERT_EQ(questions.size(), 254u);
  const auto given = answers(model, questions, 32);
  size_t right = 0;
  for (size_t i = 0; i < given.size(); ++i) right += trim_white_space(given[i]) == expected[i];
  const double percent = 100.0 * static_cast<double>(right) / static_cast<double>(given.size());
  std::printf("held-out questions: %zu of %zu right (%.1f %%; the card says 91.3 %%)\n", right, given.size(), percent);
  EXPECT_NEAR(percent, 91.3, 2.0);
}

}  // namespace
}  // namespace onebit
