#include "landing/facts.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace onebit::landing {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST(Facts, OfAServer) {
  const auto facts = facts_of(R"(# TYPE tokps_recent gauge
tokps_recent 117.4
onebit_queue_length 3
onebit_running_requests 8
onebit_kv_pages 50
onebit_kv_pages_limit 200
onebit_requests_total{outcome="stop"} 10
onebit_requests_total{outcome="error"} 2
onebit_time_to_first_token_seconds_bucket{le="+Inf"} 12
onebit_time_to_first_token_seconds_bucket{le="0.1"} 6
onebit_time_to_first_token_seconds_bucket{le="0.2"} 12
onebit_build_info{isa="avx2",model="tiny",version="0.1.0"} 1
)");
  EXPECT_EQ(facts.tokens_a_second, 117.4);
  EXPECT_EQ(facts.queued, 3);
  EXPECT_EQ(facts.running, 8);
  EXPECT_EQ(facts.requests, 12);
  EXPECT_EQ(facts.failed, 2);
  EXPECT_EQ(facts.kv_pages, 50);
  EXPECT_EQ(facts.kv_pages_limit, 200);
  EXPECT_EQ(facts.model, "tiny");
  EXPECT_EQ(facts.isa, "avx2");
  ASSERT_EQ(facts.first_token.size(), 3u);
  EXPECT_EQ(facts.first_token[0].most, 0.1);  // in their order
  EXPECT_DOUBLE_EQ(*quantile_of(facts.first_token, 0.5), 0.1);
}

TEST(Facts, NothingIsAbsentNotZero) {
  const auto facts = facts_of("");
  EXPECT_FALSE(facts.tokens_a_second);
  EXPECT_FALSE(facts.requests);
  EXPECT_EQ(facts_of("tokps_recent 0\n").requests, 0) << "a server that has answered nobody yet";
}

TEST(Facts, WhatCannotBeIsAbsent) {
  EXPECT_FALSE(facts_of("tokps_recent NaN\n").tokens_a_second);
  EXPECT_FALSE(facts_of("tokps_recent -1\n").tokens_a_second);
  EXPECT_FALSE(facts_of("tokps_recent +Inf\n").tokens_a_second);
  EXPECT_FALSE(facts_of("tokps_recent{of=\"another\"} 1\n").tokens_a_second);
  EXPECT_EQ(facts_of("tokps_recent 1\ntokps_recent NaN\n").tokens_a_second, 1);
  std::string many;
  for (int i = 0; i < 5000; ++i)
    many += "onebit_time_to_first_token_seconds_bucket{le=\"" + std::to_string(i) + "\"} 1\n";
  EXPECT_LE(facts_of(many).first_token.size(), 256u);
  EXPECT_LE(facts_of("onebit_build_info{model=\"" + std::string(3000, 'x') + "\"} 1\n").model.size(), 200u);
}

TEST(Facts, NamesAreFitToShow) {
  const auto facts = facts_of("onebit_build_info{isa=\"a\\nb\",model=\"tiny\xE2\x80\xAE\xff\x1b[31m\"} 1\n");
  EXPECT_EQ(facts.model, "tiny\xEF\xBF\xBD[31m");
  EXPECT_EQ(facts.isa,
            "a\xEF\xBF\xBD"
            "b");
}

TEST(Quantile, IsLinearWithinABucket) {
  const std::vector<Bucket> buckets{{0.1, 10}, {0.2, 30}, {0.4, 40}, {kInfinity, 40}};
  EXPECT_DOUBLE_EQ(*quantile_of(buckets, 0.125), 0.05);
  EXPECT_DOUBLE_EQ(*quantile_of(buckets, 0.25), 0.1);
  EXPECT_DOUBLE_EQ(*quantile_of(buckets, 0.5), 0.15);
  EXPECT_DOUBLE_EQ(*quantile_of(buckets, 0.75), 0.2);
  EXPECT_DOUBLE_EQ(*quantile_of(buckets, 1), 0.4);
  EXPECT_DOUBLE_EQ(*quantile_of(buckets, 7), 0.4);
  EXPECT_GE(*quantile_of(buckets, 0), 0);
}

TEST(Quantile, NeverPassesItsBucket) {
  EXPECT_LE(*quantile_of({{0.1, 6}, {kInfinity, 12}}, 0.5), 0.1) << "0.1 * 6 / 6 is more";
}

TEST(Quantile, BeyondTheLastBoundIsThatBound) {
  EXPECT_DOUBLE_EQ(*quantile_of({{0.1, 1}, {kInfinity, 100}}, 0.5), 0.1);
}

TEST(Quantile, NothingWhereThereIsNone) {
  EXPECT_FALSE(quantile_of({}, 0.5));
  EXPECT_FALSE(quantile_of({{kInfinity, 5}}, 0.5));
  EXPECT_FALSE(quantile_of({{0.1, 0}, {kInfinity, 0}}, 0.5));
  EXPECT_FALSE(quantile_of({{0.1, 5}, {0.2, 6}}, 0.5)) << "the last bound is finite";
  EXPECT_FALSE(quantile_of({{0.1, 5}, {0.2, 4}, {kInfinity, 6}}, 0.5)) << "counts fall";
  EXPECT_FALSE(quantile_of({{0.1, 5}, {0.1, 5}, {kInfinity, 6}}, 0.5)) << "a bound twice";
}

}  // namespace
}  // namespace onebit::landing
