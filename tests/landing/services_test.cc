#include "landing/services.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace onebit::landing {
namespace {

using nlohmann::json;

Unit unit(std::string name, std::string active) {
  return {.name = std::move(name), .description = "d", .load = "loaded", .active = std::move(active), .sub = "running"};
}

json data_of(const std::string& event) {
  return json::parse(event.substr(event.find("data: ") + 6));
}

TEST(ServiceFeed, SaysFromTheFirstMomentThatNothingIsKnown) {
  const ServiceFeed feed;
  const auto event = feed.events_since(0);
  EXPECT_TRUE(event->starts_with("event: snapshot\n"));
  EXPECT_TRUE(event->ends_with("\n\n"));
  EXPECT_EQ(data_of(*event)["available"], false);
  EXPECT_TRUE(data_of(*event)["reason"].is_string());
  EXPECT_EQ(feed.events_since(feed.number()), nullptr);
}

TEST(ServiceFeed, ASnapshotThenChanges) {
  ServiceFeed feed;
  feed.set(
      {.available = true, .reason = {}, .units = {unit("1bit-b.service", "active"), unit("1bit-a.service", "active")}});
  const auto before = feed.number();
  const auto all = data_of(*feed.events_since(0));
  ASSERT_EQ(all["units"].size(), 2u);
  EXPECT_EQ(all["units"][0]["name"], "1bit-a.service");
  feed.set(
      {.available = true, .reason = {}, .units = {unit("1bit-b.service", "failed"), unit("1bit-c.service", "active")}});
  const auto event = feed.events_since(before);
  EXPECT_TRUE(event->starts_with("event: delta\n"));
  const auto delta = data_of(*event);
  ASSERT_EQ(delta["changed"].size(), 2u);
  EXPECT_EQ(delta["changed"][0]["active"], "failed");
  EXPECT_EQ(delta["removed"], json::array({"1bit-a.service"}));
  EXPECT_TRUE(feed.events_since(before - 1)->starts_with("event: snapshot\n")) << "whoever missed one gets all";
}

TEST(ServiceFeed, TheSameStateIsNoChange) {
  ServiceFeed feed;
  const ServiceState state{.available = true, .reason = {}, .units = {unit("1bit-a.service", "active")}};
  EXPECT_TRUE(feed.set(state));
  const auto before = feed.number();
  EXPECT_FALSE(feed.set(state));
  EXPECT_EQ(feed.number(), before);
}

TEST(ServiceFeed, ABusThatGoesIsASnapshot) {
  ServiceFeed feed;
  feed.set({.available = true, .reason = {}, .units = {unit("1bit-a.service", "active")}});
  const auto before = feed.number();
  feed.set({.available = false, .reason = "gone"});
  const auto lost = data_of(*feed.events_since(before));
  EXPECT_EQ(lost["reason"], "gone");
  EXPECT_EQ(lost["units"].size(), 0u);
  feed.set({.available = true, .reason = {}, .units = {unit("1bit-a.service", "active")}});
  EXPECT_TRUE(feed.events_since(before + 1)->starts_with("event: snapshot\n"));
}

TEST(ServiceFeed, NamesOfAnyBytesAreJson) {
  ServiceFeed feed;
  feed.set({.available = true, .reason = {}, .units = {unit("1bit-\xff\"\n.service", "active")}});
  const auto event = *feed.events_since(0);
  EXPECT_EQ(std::count(event.begin(), event.end(), '\n'), 3) << "two lines and an empty one";
  EXPECT_EQ(data_of(event)["units"].size(), 1u);
}

}  // namespace
}  // namespace onebit::landing
