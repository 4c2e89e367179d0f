// Shares of work: every item belongs to exactly one, and one whose process is gone is done by another.
#include "base/share.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <vector>

namespace onebit {
namespace {

TEST(Share, EveryItemBelongsToOne) {
  for (uint32_t count = 1; count < 6; ++count) {
    for (uint64_t items = 0; items < 20; ++items) {
      uint64_t sum = 0;
      for (uint32_t index = 0; index < count; ++index) {
        uint64_t own = 0;
        for (uint64_t i = index; i < items; i += count) ++own;
        EXPECT_EQ((Share{index, count}.of(items)), own) << index << "/" << count << " of " << items;
        sum += own;
      }
      EXPECT_EQ(sum, items);
    }
  }
}

TEST(Share, IsReadWhereItIsOne) {
  const auto share = parse_share("2/3");
  ASSERT_TRUE(share);
  EXPECT_EQ(share->index, 2u);
  EXPECT_EQ(share->count, 3u);
  EXPECT_EQ(share->path("folder/file"), "folder/file.2-of-3");
  for (const char* wrong : {"", "1", "/", "3/3", "0/0", "-1/2", "1/2x", " 1/2", "1/99999999999"})
    EXPECT_FALSE(parse_share(wrong)) << wrong;
}

TEST(Share, ComesFromMpirun) {
  ::unsetenv("OMPI_COMM_WORLD_RANK");
  ::unsetenv("OMPI_COMM_WORLD_SIZE");
  EXPECT_TRUE(share_of_environment()->whole());
  ::setenv("OMPI_COMM_WORLD_RANK", "1", 1);
  ::setenv("OMPI_COMM_WORLD_SIZE", "4", 1);
  EXPECT_EQ(share_of_environment()->index, 1u);
  EXPECT_EQ(share_of_environment()->count, 4u);
  ::setenv("OMPI_COMM_WORLD_RANK", "4", 1);
  EXPECT_FALSE(share_of_environment());
  ::unsetenv("OMPI_COMM_WORLD_RANK");
  ::unsetenv("OMPI_COMM_WORLD_SIZE");
}

TEST(Share, OfAProcessThatIsGoneIsDone) {
  std::vector<uint32_t> asked;
  bool held = true;  // share 0, by a process that dies after two looks at it
  const auto work = [&](Share share) -> Result<bool> {
    asked.push_back(share.index);
    if (share.index == 0 && asked.size() > 4) held = false;
    return share.index != 0 || !held;
  };
  ASSERT_TRUE(do_shares({1, 3}, work, 1));
  EXPECT_EQ(asked, (std::vector<uint32_t>{1, 2, 0, 0, 0}));
  const auto failing = [](Share) -> Result<bool> { return fail("the disk is full"); };
  EXPECT_EQ(do_shares({1, 3}, failing, 1).error().message, "the disk is full");
}

}  // namespace
}  // namespace onebit
