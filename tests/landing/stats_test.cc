#include "landing/stats.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace onebit::landing {
namespace {

using nlohmann::json;

TEST(Stats, AbsentSourcesAreNull) {
  const auto s = json::parse(stats_json({}));
  EXPECT_EQ(s["state"], "down");
  for (const char* name : {"last_seen", "last_seen_age", "error", "tokps_recent", "queue", "power_profile", "model",
                           "version", "isa", "burnin"})
    EXPECT_TRUE(s.at(name).is_null()) << name;
  for (const char* name : {"running", "total", "failed"}) EXPECT_TRUE(s["requests"].at(name).is_null()) << name;
  for (const char* name : {"pages", "limit", "use"}) EXPECT_TRUE(s["kv"].at(name).is_null()) << name;
  for (const char* name : {"p50", "p90", "p99", "count"}) EXPECT_TRUE(s["ttft"].at(name).is_null()) << name;
  for (const char* name : {"cpu", "gpu"}) EXPECT_TRUE(s["temperature"].at(name).is_null()) << name;
}

TEST(Stats, OfAServerThatAnswers) {
  Stats stats;
  stats.scrape.time = 1700000000.1234;
  stats.scrape.up = true;
  stats.scrape.last_seen = stats.scrape.time;
  stats.scrape.last_seen_age = 1.5;
  stats.scrape.facts = facts_of("tokps_recent 12.3\nonebit_kv_pages 1\nonebit_kv_pages_limit 4\n");
  stats.scrape.facts.model = "a\n\xff";
  stats.machine.cpu_celsius = 41.5;
  stats.burnin = BurninRate{.rounds = 4, .exact = 3};
  const auto text = stats_json(stats);
  EXPECT_EQ(text.find('\n'), std::string::npos);
  const auto s = json::parse(text);
  EXPECT_EQ(s["scraped_at"], 1700000000.123);
  EXPECT_EQ(s["last_seen_age"], 1.5);
  EXPECT_EQ(s["tokps_recent"], 12.3);
  EXPECT_EQ(s["kv"]["use"], 0.25);
  EXPECT_EQ(s["temperature"]["cpu"], 41.5);
  EXPECT_EQ(s["burnin"]["exact_rate"], 0.75);
  EXPECT_EQ(s["model"], "a\n\xef\xbf\xbd");
}

TEST(History, KeepsTenMinutes) {
  History history;
  Scrape scrape;
  scrape.up = true;
  for (int i = 0; i < 1000; ++i) {
    scrape.time = 1000 + i * 1.5;
    scrape.facts.tokens_a_second = i;
    history.add(scrape);
    history.add(scrape);  // the same one, seen twice
  }
  auto points = json::parse(history.json());
  EXPECT_EQ(points.size(), 401u);
  EXPECT_EQ(points.back()[1], 999);
  scrape.up = false;
  scrape.time += 1.5;
  history.add(scrape);
  EXPECT_TRUE(json::parse(history.json()).back()[1].is_null()) << "an absence is shown";
  scrape.time = 500;
  history.add(scrape);
  EXPECT_EQ(json::parse(history.json()).size(), 1u) << "the clock was set back";
}

}  // namespace
}  // namespace onebit::landing
