#include "landing/metrics_text.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace onebit::landing {
namespace {

TEST(MetricsText, SamplesOfEveryForm) {
  EXPECT_EQ(parse_sample("tokps_recent 12.5")->value, 12.5);
  EXPECT_EQ(parse_sample("  a_b:c9\t-3e2  ")->value, -300);
  EXPECT_EQ(parse_sample("a +7 1700000000000")->value, 7);
  EXPECT_TRUE(std::isinf(parse_sample("a +Inf")->value));
  EXPECT_TRUE(std::isnan(parse_sample("a NaN")->value));
  EXPECT_EQ(parse_sample("a{} 1")->labels.size(), 0u);
  const auto sample = parse_sample(R"(a{le="0.5", b = "x\\y\"z\n}" ,} 4)");
  ASSERT_TRUE(sample);
  EXPECT_EQ(sample->label("le"), "0.5");
  EXPECT_EQ(sample->label("b"), "x\\y\"z\n}");
  EXPECT_EQ(sample->label("absent"), "");
}

TEST(MetricsText, WhatIsNoSample) {
  for (const char* line : {"",       "1a 2",      "a",           "a b",        "a 1 2 3",        "a 1x",
                           "a 0x10", "a inf",     "a nan",       "a infinity", "a --1",          "a{ 1",
                           "a{b} 1", "a{b=1} 1",  "a{b=\"} 1",   "a{b=\"\\",   "a{b=\"\\q\"} 1", "a{b=\"x\"c=\"y\"} 1",
                           "a{,} 1", "a{b=\"x\"", "{b=\"x\"} 1", "a 1e999",    "\xff 1",         "a\x01 1"})
    EXPECT_FALSE(parse_sample(line)) << line;
  EXPECT_FALSE(parse_sample("a" + std::string(kMostLineBytes, 'b') + " 1"));
  std::string many = "a{";
  for (size_t i = 0; i <= kMostLabels; ++i) many += "b=\"\",";
  EXPECT_FALSE(parse_sample(many + "} 1"));
}

TEST(MetricsText, DamagedLinesCostOnlyThemselves) {
  std::string names;
  const auto read = read_metrics("# HELP a b\r\na 1\r\n\n  # x\n}{\nb 2\nc", [&](const Sample& s) { names += s.name; });
  EXPECT_EQ(names, "ab");
  EXPECT_EQ(read.samples, 2u);
  EXPECT_EQ(read.damaged, 2u);
}

TEST(MetricsText, LinesHaveALimit) {
  std::string text;
  for (size_t i = 0; i < kMostLines + 100; ++i) text += "a 1\n";
  EXPECT_EQ(read_metrics(text, [](const Sample&) {}).samples, kMostLines);
}

TEST(MetricsText, AnyBytes) {
  std::mt19937 random(9);
  const std::string alphabet = "a1{}=\",\\ \n#.+-NI\xff";
  for (int i = 0; i < 20'000; ++i) {
    std::string text(random() % 60, ' ');
    for (char& c : text) c = alphabet[random() % alphabet.size()];
    read_metrics(text, [](const Sample& s) { EXPECT_FALSE(s.name.empty()); });
  }
}

}  // namespace
}  // namespace onebit::landing
