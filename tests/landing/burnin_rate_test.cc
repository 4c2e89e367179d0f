#include "landing/burnin_rate.h"

#include <gtest/gtest.h>

#include "tests/landing/temporary_folder.h"

namespace onebit::landing {
namespace {

std::string line(int round, const std::string& verdict, const std::string& more = "") {
  return "{\"round\":" + std::to_string(round) + ",\"time\":1.5,\"prompt\":\"p\",\"verdict\":\"" + verdict +
         "\",\"a_ms\":1,\"b_ms\":2,\"bytes\":3,\"prefix\":3" + more + "}\n";
}

TEST(BurninRate, AbsentUntilThereIsARound) {
  EXPECT_FALSE(BurninLog("").read());
  EXPECT_FALSE(BurninLog("/no/such/file").read());
  EXPECT_FALSE(BurninLog("/").read());
  const TemporaryFolder folder;
  folder.write("log", "");
  BurninLog log(folder.path("log"));
  EXPECT_FALSE(log.read());
  folder.write("log", line(0, "a_unreachable"), true);
  EXPECT_FALSE(log.read()) << "nobody compared anything yet";
  folder.write("log", line(1, "exact"), true);
  EXPECT_EQ(log.read()->rounds, 1u);
}

TEST(BurninRate, CountsWhatBothAnsweredAsItGrows) {
  const TemporaryFolder folder;
  folder.write("log",
               line(0, "exact") + line(1, "no_match", R"(,"a":"x\",\"verdict\":\"exact\"")") + line(2, "prefix_only"));
  BurninLog log(folder.path("log"));
  EXPECT_EQ(log.read()->rounds, 3u);
  EXPECT_EQ(log.read()->exact, 1u);
  const auto next = line(3, "exact");
  folder.write("log", next.substr(0, 30), true);
  EXPECT_EQ(log.read()->rounds, 3u) << "half a line is none yet";
  folder.write("log", next.substr(30) + line(4, "b_unreachable") + "noise\n", true);
  EXPECT_EQ(log.read()->rounds, 4u);
  EXPECT_EQ(log.read()->exact, 2u);
}

TEST(BurninRate, AReplacedLogIsReadAnew) {
  const TemporaryFolder folder;
  folder.write("log", line(0, "exact") + line(1, "exact") + line(2, "exact"));
  BurninLog log(folder.path("log"));
  EXPECT_EQ(log.read()->rounds, 3u);
  folder.write("log", line(0, "no_match"));
  EXPECT_EQ(log.read()->rounds, 1u);
  EXPECT_EQ(log.read()->exact, 0u);
}

TEST(BurninRate, LongLinesAreLeftOut) {
  const TemporaryFolder folder;
  folder.write("log", line(0, "exact", ",\"a\":\"" + std::string(3 << 20, 'x') + "\"") + line(1, "exact"));
  BurninLog log(folder.path("log"));
  EXPECT_EQ(log.read()->rounds, 1u);
}

}  // namespace
}  // namespace onebit::landing
