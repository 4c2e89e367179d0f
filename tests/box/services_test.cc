#include "box/services.h"

#include <gtest/gtest.h>

#include "tests/box/box_folder.h"

namespace onebit::box {
namespace {

using namespace std::chrono_literals;

TEST(Services, UnitsAsSystemctlShowsThem) {
  const auto units = parse_units(
      "Id=1bit-server.service\nLoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\n"
      "ActiveEnterTimestamp=Fri 2026-11-27 14:00:00 UTC\nResult=success\nOther=a=b\n\n"
      "Result=success\nId=1bit-server.socket\nLoadState=not-found\nActiveState=inactive\nSubState=dead\n");
  ASSERT_EQ(units.size(), 2u);
  EXPECT_TRUE(units[0].is_loaded() && units[0].is_active());
  EXPECT_EQ(units[0].since, "Fri 2026-11-27 14:00:00 UTC");
  EXPECT_EQ(units[1].name, "1bit-server.socket");
  EXPECT_FALSE(units[1].is_loaded());
  EXPECT_EQ(unit_named(units, kLandingUnit).load, "not-found");
  EXPECT_TRUE(parse_units("").empty());
}

TEST(Services, AServerThatARequestWouldStart) {
  const auto units = [](const char* server, const char* socket) {
    return std::vector<UnitState>{{kServerUnit, "loaded", server, "", "", "", ""},
                                  {kSocketUnit, "loaded", socket, "", "", "", ""}};
  };
  EXPECT_TRUE(waits_for_a_request(units("inactive", "active")));
  EXPECT_FALSE(waits_for_a_request(units("active", "active")));
  EXPECT_FALSE(waits_for_a_request(units("inactive", "inactive")));
  EXPECT_FALSE(waits_for_a_request({}));
}

TEST(Services, WithoutSystemctlOrSystemdThereIsASentence) {
  {
    const test::BoxFolder box("");
    const auto units = unit_states();
    ASSERT_FALSE(units);
    EXPECT_NE(units.error().message.find("no systemctl on $PATH"), std::string::npos);
  }
  const test::BoxFolder box;
  box.program("systemctl", "echo 'System has not been booted with systemd as init system' >&2; exit 1");
  const auto units = unit_states();
  ASSERT_FALSE(units);
  EXPECT_NE(units.error().message.find("has not been booted"), std::string::npos) << units.error().message;
}

TEST(Services, AServerThatIsNotThere) {
  const auto facts = ask_server("http://127.0.0.1:1", "", 500ms);
  EXPECT_FALSE(facts.reached || facts.healthy || facts.ours);
  EXPECT_NE(facts.health.find("refused"), std::string::npos) << facts.health;
  const auto waited = wait_for_health("http://127.0.0.1:1", 1s);
  ASSERT_FALSE(waited);
  EXPECT_NE(waited.error().message.find("http://127.0.0.1:1 is not healthy after 1 s"), std::string::npos);
}

}  // namespace
}  // namespace onebit::box
