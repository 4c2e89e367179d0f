// Profiles set through a stand-in for ryzenadj that keeps limits in files and notes every call.
#include "box/power.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <sstream>

#include "tests/box/box_folder.h"

namespace onebit::box {
namespace {

constexpr PowerLimits kLow{25000, 35000, 25000, 90}, kHigh{120000, 140000, 120000, 98};

void apply(PowerLimits& limits, const LimitStep& step) {
  (step.limit == Limit::kStapm  ? limits.stapm_mw
   : step.limit == Limit::kFast ? limits.fast_mw
   : step.limit == Limit::kSlow ? limits.slow_mw
                                : limits.tctl_c) = step.value;
}

PowerLimits some_limits() {
  auto watts = *rc::gen::container<std::vector<uint32_t>>(3, rc::gen::inRange(5000u, 20000u));
  std::sort(watts.begin(), watts.end());
  return {watts[0], watts[2], watts[1], *rc::gen::inRange(60u, 106u)};
}

TEST(PowerPlan, IsSafeAtEveryMoment) {
  EXPECT_TRUE(rc::check([] {
    const auto now = some_limits(), wanted = some_limits();
    auto limits = now;
    size_t ceiling_at = 0, at = 0;
    for (const auto& step : plan_limits(now, wanted)) {
      apply(limits, step);
      if (step.limit == Limit::kTctl) ceiling_at = at;
      ++at;
      RC_ASSERT(limits.stapm_mw <= limits.slow_mw);
      RC_ASSERT(limits.slow_mw <= limits.fast_mw);
    }
    RC_ASSERT(at == 4u);
    RC_ASSERT(limits == wanted);
    RC_ASSERT(ceiling_at == (wanted.tctl_c < now.tctl_c ? 3u : 0u));
  }));
  EXPECT_EQ(plan_limits(std::nullopt, kLow).front().limit, Limit::kTctl);
}

class Power : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_symlink(ONEBIT_SOURCE_DIR "/tests/support/ryzenadj_stand_in.sh", box_.path("bin/ryzenadj"));
    ::setenv("HALO_ROOT", box_.path("").c_str(), 1);  // so that messages are the same for root and others
    ::setenv("RYZENADJ_FOLDER", box_.path("smu").c_str(), 1);
    put(kLow);
    box_.write("smu/set-coall", "0");
  }
  void TearDown() override { ::unsetenv("HALO_ROOT"); }
  void put(const PowerLimits& limits) const {
    box_.write("smu/stapm-limit", std::to_string(limits.stapm_mw) + "\n");
    box_.write("smu/fast-limit", std::to_string(limits.fast_mw) + "\n");
    box_.write("smu/slow-limit", std::to_string(limits.slow_mw) + "\n");
    box_.write("smu/tctl-temp", std::to_string(limits.tctl_c) + "\n");
  }
  /// Those that set something, with spaces between.
  std::string calls() const {
    std::istringstream in(test::read_file(box_.path("smu/calls")));
    std::string all;
    for (std::string line; std::getline(in, line);)
      if (line != "--info") all += (all.empty() ? "" : " ") + line;
    return all;
  }
  void forget_calls() const { box_.write("smu/calls", ""); }
  std::string in_force(const std::string& option) const {
    auto text = test::read_file(box_.path("smu/" + option));
    return text.substr(0, text.find('\n'));
  }
  Status set(const PowerLimits& limits, std::optional<Undervolt> undervolt = {}) {
    const SetOptions options{box_.roots(), [](const std::string&) {},
                             [this](const Undervolt& recipe) -> Result<bool> {
                               ++checks_;
                               EXPECT_EQ(in_force("set-coall"), std::to_string(0x100000 + recipe.curve_all));
                               EXPECT_FALSE(read_power_state(box_.roots()).undervolt_checked);
                               return verdict_;
                             }};
    return set_profile({"inference", "", limits, std::move(undervolt)}, options);
  }
  std::string error_of(const Status& status) const { return status ? "no error" : status.error().message; }

  test::BoxFolder box_;
  Result<bool> verdict_ = true;
  int checks_ = 0;
};

const Undervolt kRecipe{-12, "http://127.0.0.1:1", "http://127.0.0.1:2", 10};

TEST_F(Power, UpTheCeilingGoesFirstAndDownItGoesLast) {
  ASSERT_TRUE(set(kHigh));
  EXPECT_EQ(calls(), "--tctl-temp=98 --fast-limit=140000 --slow-limit=120000 --stapm-limit=120000");
  EXPECT_EQ(read_limits(), kHigh);
  EXPECT_EQ(read_power_state(box_.roots()).profile, "inference");
  EXPECT_EQ(read_power_state(box_.roots()).limits, kHigh);
  forget_calls();
  ASSERT_TRUE(set(kLow));
  EXPECT_EQ(calls(), "--stapm-limit=25000 --slow-limit=25000 --fast-limit=35000 --tctl-temp=90");
  EXPECT_EQ(read_limits(), kLow);
}

TEST_F(Power, WhereNothingTellsTheCeilingGoesFirst) {
  box_.write("smu/blind", "");
  EXPECT_EQ(read_limits(), std::nullopt);
  ASSERT_TRUE(set(kLow));
  EXPECT_EQ(calls(), "--tctl-temp=90 --fast-limit=35000 --slow-limit=25000 --stapm-limit=25000");
}

TEST_F(Power, ThePlanIsWhatIsDone) {
  const PowerProfile profile{"inference", "", kHigh, kRecipe};
  std::string planned;
  for (const auto& call : planned_calls(profile, box_.roots())) planned += (planned.empty() ? "" : " ") + call.at(1);
  EXPECT_EQ(calls(), "") << "nothing is set by planning";
  ASSERT_TRUE(set(kHigh, kRecipe));
  EXPECT_EQ(calls(), planned);
}

TEST_F(Power, OneThatFailsHalfWayUndoesThoseBefore) {
  for (const char* option : {"tctl-temp", "fast-limit", "slow-limit", "stapm-limit"}) {
    forget_calls();
    box_.write("smu/fail", std::string(option) + "\n");
    const auto status = set(kHigh);
    ASSERT_FALSE(status) << option;
    EXPECT_EQ(read_limits(), kLow) << option;
    EXPECT_EQ(read_power_state(box_.roots()).profile, "") << option;
    // The refused one is refused when it is put back, too; its own value never changed.
    EXPECT_NE(error_of(status).find("is rejected by SMU; the limits were restored to STAPM 25 W"), std::string::npos)
        << error_of(status);
  }
}

TEST_F(Power, LimitsThatDoNotComeBackAreSaid) {
  ASSERT_TRUE(set(kLow));
  // The last of the way up fails, and so does every call on the way back.
  std::filesystem::remove(box_.path("bin/ryzenadj"));
  box_.program("ryzenadj", std::string("case $1 in --stapm-limit=120000) touch '") + box_.path("smu/broken") +
                               "' ;; esac\n[ \"$1\" = --info ] || [ ! -e '" + box_.path("smu/broken") +
                               "' ] || exit 255\nexec " ONEBIT_SOURCE_DIR "/tests/support/ryzenadj_stand_in.sh \"$@\"");
  const auto status = set(kHigh);
  EXPECT_NE(error_of(status).find("the limits of before could not be restored"), std::string::npos) << error_of(status);
  EXPECT_NE(error_of(status).find("Tctl, fast, slow, STAPM may be either"), std::string::npos) << error_of(status);
  EXPECT_EQ(read_power_state(box_.roots()).profile, "") << "no profile is in force";
}

TEST_F(Power, FirmwareThatDoesNotTakeALimitIsFoundOut) {
  box_.write("smu/ignore", "stapm-limit\n");
  const auto status = set(kHigh);
  EXPECT_NE(error_of(status).find("the firmware did not take the STAPM limit: 120 was set, 25 is in force; the limits "
                                  "were restored to STAPM 25 W, fast 35 W, slow 25 W, Tctl 90 °C"),
            std::string::npos)
      << error_of(status);
  EXPECT_EQ(read_limits(), kLow);
}

TEST_F(Power, WhereTheOldLimitsAreUnknownTheErrorSaysWhatMayBeEither) {
  box_.write("smu/blind", "");
  box_.write("smu/fail", "slow-limit\n");
  const auto status = set(kHigh);
  EXPECT_NE(error_of(status).find("could not be read, so they were not restored: Tctl, fast, slow may be either"),
            std::string::npos)
      << error_of(status);
}

TEST_F(Power, AnUndervoltThatPassesStays) {
  ASSERT_TRUE(set(kHigh, kRecipe));
  EXPECT_EQ(checks_, 1);
  EXPECT_EQ(in_force("set-coall"), "1048564");
  const auto state = read_power_state(box_.roots());
  EXPECT_EQ(state.curve_all, -12);
  EXPECT_TRUE(state.undervolt_checked);
  forget_calls();
  ASSERT_TRUE(set(kLow));  // another profile is not what it was checked with
  EXPECT_EQ(calls(), "--set-coall=0 --stapm-limit=25000 --slow-limit=25000 --fast-limit=35000 --tctl-temp=90");
  EXPECT_EQ(read_power_state(box_.roots()).curve_all, 0);
}

TEST_F(Power, AnUndervoltThatDoesNotPassIsTakenBackAndTheLimitsStay) {
  verdict_ = false;
  EXPECT_NE(error_of(set(kHigh, kRecipe))
                .find("not exact; the undervolt of -12 counts was taken back, the limits of inference are in force"),
            std::string::npos);
  EXPECT_EQ(in_force("set-coall"), "0");
  EXPECT_EQ(read_power_state(box_.roots()).curve_all, 0);
  EXPECT_EQ(read_limits(), kHigh);
  verdict_ = fail("nobody answered");
  EXPECT_NE(error_of(set(kHigh, kRecipe)).find("nobody answered; the undervolt of -12 counts was taken back"),
            std::string::npos);
  EXPECT_EQ(in_force("set-coall"), "0");
}

TEST_F(Power, AnUndervoltThatCannotBeTakenBackIsSaid) {
  ASSERT_TRUE(set(kHigh, kRecipe));
  box_.write("smu/fail", "set-coall\n");
  forget_calls();
  EXPECT_NE(error_of(set(kLow)).find("the undervolt of -12 counts is still in force: restart the machine"),
            std::string::npos);
  EXPECT_EQ(calls(), "--set-coall=0") << "no limit changes under it";
  EXPECT_EQ(read_power_state(box_.roots()).curve_all, -12);
}

TEST_F(Power, ADamagedStateIsNone) {
  for (const char* text : {"", "{", "[1]", R"({"profile": 3})", R"({"profile": "turbo"})"}) {
    box_.write("run/halo/power.json", text);
    EXPECT_EQ(read_power_state(box_.roots()).profile, "") << text;
  }
  box_.write("run/halo/power.json", R"({"profile": "chat", "curve_all": -9})");
  EXPECT_FALSE(read_power_state(box_.roots()).undervolt_checked);
}

}  // namespace
}  // namespace onebit::box
