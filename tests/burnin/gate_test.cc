#include "burnin/gate.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/temp_folder.h"

namespace onebit::burnin {
namespace {

class Gate : public testing::Test {
 protected:
  std::string write(const std::string& name, const std::string& text) {
    std::ofstream(folder_.path(name)) << text;
    return folder_.path(name);
  }
  test::TempFolder folder_;
};

TEST_F(Gate, ThresholdsAreReadBySection) {
  const auto t = read_thresholds(write("t.toml",
                                       "# ours\n[perplexity]\nmax_delta = 0.05\n[burnin]\nmin_exact_rate = 1\n"
                                       "min_rounds=50000\n[latency]\nmax_gap_p95_ms = 12.5\n"));
  ASSERT_TRUE(t) << t.error().message;
  EXPECT_EQ(t->max_perplexity_delta, 0.05);
  EXPECT_EQ(t->min_rounds, 50000);
  EXPECT_EQ(t->max_gap_p95_ms, 12.5);
  EXPECT_FALSE(t->max_nll_delta);
}

TEST_F(Gate, AFileThatAsksForNothingKnownIsRefused) {
  for (const char* text :
       {"", "[burnin]\n", "[burnin]\nmin_round = 1\n", "min_rounds = 1\n", "[burnin]\nmin_rounds = many\n",
        "[burnin]\nmin_rounds = -1\n", "[burnin]\nmin_rounds = nan\n", "[latency]\nmin_rounds = 1\n",
        "[burnin]\nmin_rounds = 1\nmin_rounds = 2\n"})
    EXPECT_FALSE(read_thresholds(write("t.toml", text))) << text;
  EXPECT_FALSE(read_thresholds(folder_.path("absent")));
}

TEST_F(Gate, FailsOnAFigureBeyondAThresholdAndOnOneThatIsMissing) {
  Thresholds t;
  t.min_exact_rate = 1;
  t.min_rounds = 3;
  Stats stats;
  stats.rounds = 4;
  stats.by_verdict = {3, 0, 0, 1, 0};
  for (const auto& c : check(t, {}, stats)) EXPECT_TRUE(c.passed) << c.reason;
  stats.by_verdict = {2, 1, 0, 1, 0};
  const auto checks = check(t, {}, stats);
  ASSERT_EQ(checks.size(), 2u);
  EXPECT_FALSE(checks[0].passed);
  EXPECT_EQ(checks[0].reason, "exact rate is 0.666666666667, not at least 1");
  EXPECT_TRUE(checks[1].passed);
  for (const auto& c : check(t, {}, {})) EXPECT_FALSE(c.passed) << "no burn-in was given";
  t = {};
  t.max_unreachable_rate = 0.2;
  EXPECT_FALSE(check(t, {}, stats)[0].passed);
  stats.by_verdict = {0, 0, 0, 0, 4};
  t = {};
  t.max_gap_p50_ms = 5;
  EXPECT_FALSE(check(t, {}, stats)[0].passed) << "nobody answered";
  stats.by_verdict = {4, 0, 0, 0, 0};
  stats.damaged_lines = 1;
  EXPECT_FALSE(check(t, {}, stats).back().passed) << "what the line said is not known";
  t = {};
  t.max_nll_delta = 0;
  EXPECT_TRUE(check(t, PerplexityPair{0, 0, 8}, {})[0].passed);
  EXPECT_FALSE(check(t, PerplexityPair{0, 1e-300, 8}, {})[0].passed);
  EXPECT_FALSE(check(t, PerplexityPair{0, 0, 0}, {})[0].passed) << "no window was scored by both";
}

TEST_F(Gate, PerplexitiesAreComparedOverTheWindowsOfBoth) {
  const auto result = [&](const char* name, const char* windows, const char* text = "aa") {
    return write(
        name, fmt::format(R"({{"text":"{}","window":4,"stride":0,"bos":true,"kv":"f16","head":"stored","windows":{}}})",
                          text, windows));
  };
  const auto a = result("a", R"([{"tokens":4,"nll":8.0},{"tokens":4,"nll":9.0},{"tokens":4,"nll":1.0}])");
  const auto same = compare_perplexity(a, result("b", R"([{"tokens":4,"nll":8.0},{"tokens":4,"nll":9.0}])"));
  ASSERT_TRUE(same) << same.error().message;
  EXPECT_EQ(same->windows, 2u);
  EXPECT_EQ(same->delta, 0);
  EXPECT_EQ(same->nll_delta, 0);
  const auto other = compare_perplexity(a, result("c", R"([{"tokens":4,"nll":8.5}])"));
  EXPECT_EQ(other->nll_delta, 0.5);
  EXPECT_GT(other->delta, 0.9);
  EXPECT_FALSE(compare_perplexity(a, result("d", "[]", "bb"))) << "another text";
  EXPECT_FALSE(compare_perplexity(a, write("e", "[]")));
  EXPECT_FALSE(compare_perplexity(a, write("f", R"({"windows":[{"nll":"x"}]})")));
}

}  // namespace
}  // namespace onebit::burnin
