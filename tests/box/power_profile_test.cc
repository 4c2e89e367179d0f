#include "box/power_profile.h"

#include <gtest/gtest.h>

#include "tests/support/temp_folder.h"

namespace onebit::box {
namespace {

TEST(PowerProfiles, TheFourBuiltIn) {
  const auto profiles = load_profiles("");
  ASSERT_TRUE(profiles) << profiles.error().message;
  ASSERT_EQ(profiles->size(), kProfileNames.size());
  for (size_t i = 0; i < profiles->size(); ++i) {
    const auto& p = (*profiles)[i];
    EXPECT_EQ(p.name, kProfileNames[i]);
    EXPECT_FALSE(p.about.empty());
    EXPECT_FALSE(p.undervolt) << "each chip bears another: nobody's default";
    EXPECT_GE(p.limits.tctl_c, 90u);
    EXPECT_LE(p.limits.tctl_c, 100u);
    if (i > 0) {
      EXPECT_LT(p.limits.stapm_mw, (*profiles)[i - 1].limits.stapm_mw);
    }
  }
  EXPECT_EQ(profiles->front().limits, (PowerLimits{120000, 140000, 120000, 98}));
}

TEST(PowerProfiles, WattsOrMilliwattsAndARecipe) {
  const auto profiles = parse_profiles(R"(
[chat]
about = "mine"
stapm_mw = 54500
fast_w = 70
slow_w = 60.25
tctl_c = 88
[chat.undervolt]
curve_all = -12
a = "http://127.0.0.1:8081"
b = "http://127.0.0.1:8080"
)",
                                       "own.toml");
  ASSERT_TRUE(profiles) << profiles.error().message;
  ASSERT_EQ(profiles->size(), 1u);
  const auto& p = profiles->front();
  EXPECT_EQ(p.limits, (PowerLimits{54500, 70000, 60250, 88}));
  ASSERT_TRUE(p.undervolt);
  EXPECT_EQ(p.undervolt->curve_all, -12);
  EXPECT_EQ(p.undervolt->rounds, 500u);
  EXPECT_EQ(text_of(p.limits), "STAPM 54.5 W, fast 70 W, slow 60.25 W, Tctl 88 °C");
}

TEST(PowerProfiles, AFileTakesThePlaceOfThoseItHas) {
  const test::TempFolder folder;
  const auto file = folder.path("power.toml");
  test::write_file(file, "[idle]\nstapm_w = 15\nfast_w = 20\nslow_w = 15\ntctl_c = 80\n");
  const auto profiles = load_profiles(file);
  ASSERT_TRUE(profiles) << profiles.error().message;
  ASSERT_EQ(profiles->size(), 4u);
  EXPECT_EQ(profiles->back().limits.stapm_mw, 15000u);
  EXPECT_EQ(profiles->front().limits.stapm_mw, 120000u);
  EXPECT_FALSE(load_profiles(folder.path("none.toml")));
}

TEST(PowerProfiles, ErrorsNameFileLineKeyAndRange) {
  const std::string sound = "[idle]\nstapm_w = 15\nfast_w = 20\nslow_w = 15\ntctl_c = 80\n";
  const auto with = [&](const std::string& line, const std::string& other) {
    auto text = sound;
    text.replace(text.find(line), line.size(), other);
    return text;
  };
  const std::string recipe = sound + "[idle.undervolt]\ncurve_all = -10\na = \"http://h:1\"\nb = \"http://h:2\"\n";
  const auto with_recipe = [&](const std::string& line, const std::string& other) {
    auto text = recipe;
    text.replace(text.find(line), line.size(), other);
    return text;
  };
  ASSERT_TRUE(parse_profiles(recipe, "p.toml"));
  const std::pair<std::string, std::string> cases[] = {
      {with("stapm_w = 15", "stapm_w = 500"), "p.toml:2: idle.stapm_w is 500: expected a number from 5 to 160 W"},
      {with("stapm_w = 15", "stapm_w = -1"), "p.toml:2: idle.stapm_w is -1: expected"},
      {with("stapm_w = 15", "stapm_w = nan"), "p.toml:2: idle.stapm_w is nan: expected"},
      {with("stapm_w = 15", "stapm_w = \"15\""), "p.toml:2: idle.stapm_w is no number: expected a number from 5"},
      {with("stapm_w = 15", "stapm_w = true"), "p.toml:2: idle.stapm_w is no number"},
      {with("fast_w = 20", "fast_mw = 20"),
       "p.toml:3: idle.fast_mw is 20: expected a whole number from 5000 to 160000 mW"},
      {with("fast_w = 20", "fast_mw = 20000.5"), "p.toml:3: idle.fast_mw is 20000.5: expected a whole number"},
      {with("tctl_c = 80", "tctl_c = 120"), "p.toml:5: idle.tctl_c is 120: expected a whole number from 60 to 105 °C"},
      {with("tctl_c = 80", "tctl_c = 80.5"), "p.toml:5: idle.tctl_c is 80.5: expected a whole number"},
      {with("tctl_c = 80", ""), "p.toml:1: idle.tctl_c is missing: expected a whole number from 60 to 105 °C"},
      {with("slow_w = 15", "slow_w = 15\nslow_mw = 15000"), "p.toml:5: idle.slow_mw stands beside slow_w"},
      {with("stapm_w = 15", "stapm_w = 18"), "p.toml:2: idle.stapm is 18 W, above slow's 15 W"},
      {with("slow_w = 15", "slow_w = 25"), "p.toml:4: idle.slow is 25 W, above fast's 20 W"},
      {with("stapm_w = 15", "stapm_w = 15\nspeed = 1"),
       "p.toml:3: idle.speed is no key here; there are about, stapm_w"},
      {"[turbo]\n" + sound, "p.toml:1: turbo is no profile; there are inference, chat, balanced, idle"},
      {"idle = 3\n", "p.toml:1: idle is no table"},
      {sound + "about = 1\n", "p.toml:6: idle.about expected a text"},
      {sound + "undervolt = -3\n", "p.toml:6: idle.undervolt expected a table"},
      {sound + "tctl_c = 81\n", "p.toml:6: "},
      {"[idle\n", "p.toml:1: "},
      {with_recipe("curve_all = -10", "curve_all = -99"),
       "p.toml:7: idle.undervolt.curve_all is -99: expected a whole number from -40 to -1 counts"},
      {with_recipe("curve_all = -10", "curve_all = 5"), "p.toml:7: idle.undervolt.curve_all is 5: expected"},
      {with_recipe("a = \"http://h:1\"\n", ""), "p.toml:6: idle.undervolt.a is missing: the URL"},
      {with_recipe("http://h:2", "h"), "p.toml:9: idle.undervolt.b is no URL of a server"},
      {recipe + "rounds = 1\n", "p.toml:10: idle.undervolt.rounds is 1: expected a whole number from 10 to 1000000"},
      {recipe + "curve_gpu = -1\n", "p.toml:10: idle.undervolt.curve_gpu is no key here"},
  };
  for (const auto& [text, expected] : cases) {
    const auto profiles = parse_profiles(text, "p.toml");
    ASSERT_FALSE(profiles) << text;
    EXPECT_NE(profiles.error().message.find(expected), std::string::npos)
        << "expected: " << expected << "\nis: " << profiles.error().message;
  }
}

}  // namespace
}  // namespace onebit::box
