#include "server/access.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/expect_error.h"
#include "tests/support/temp_folder.h"

namespace onebit::server {
namespace {

TEST(AccessKeys, WithoutAnyEverybodyMayAsk) {
  const auto keys = *AccessKeys::load({""}, "");
  EXPECT_FALSE(keys.required());
  EXPECT_TRUE(keys.allow(""));
  EXPECT_TRUE(keys.allow("anything"));
}

TEST(AccessKeys, OnlyWholeKeysAreLetIn) {
  const auto keys = *AccessKeys::load({"one", "another"}, "");
  EXPECT_TRUE(keys.allow("one"));
  EXPECT_TRUE(keys.allow("another"));
  for (const char* wrong : {"", "on", "onee", "One", "oneone", "anothe", "one\n"})
    EXPECT_FALSE(keys.allow(wrong)) << wrong;
}

TEST(AccessKeys, AFileHasOneALineAndIsReadAgain) {
  const test::TempFolder folder;
  const auto path = folder.path("keys");
  const auto write = [&](const char* text) { std::ofstream(path) << text; };
  write("# comment\n\nfirst\r\nsecond");
  auto keys = *AccessKeys::load({"fixed"}, path);
  for (const char* key : {"first", "second", "fixed"}) EXPECT_TRUE(keys.allow(key)) << key;
  EXPECT_FALSE(keys.allow("# comment"));
  write("third\n");
  EXPECT_TRUE(keys.reload());
  EXPECT_TRUE(keys.allow("third"));
  EXPECT_FALSE(keys.allow("first"));
  write("# nothing\n");
  EXPECT_FALSE(keys.reload()) << "an empty file would let everybody in";
  EXPECT_TRUE(keys.allow("third"));
  EXPECT_FALSE(keys.allow(""));
  EXPECT_FALSE(AccessKeys::load({}, folder.path("absent")));
}

TEST(AccessKeys, AKeyKeepsItsNumberWhereverItStands) {
  const test::TempFolder folder;
  const auto path = folder.path("keys");
  const auto write = [&](const char* text) { std::ofstream(path) << text; };
  EXPECT_EQ(AccessKeys::load({}, "")->number_of("anything"), 0u) << "without keys all are one";
  write("first\nsecond\nfirst\n");
  auto keys = *AccessKeys::load({"fixed"}, path);
  const auto first = keys.number_of("first"), second = keys.number_of("second"), fixed = keys.number_of("fixed");
  EXPECT_TRUE(first != 0 && second != 0 && fixed != 0 && first != second && second != fixed && first != fixed);
  write("second\nthird\n");
  ASSERT_TRUE(keys.reload());
  EXPECT_EQ(keys.number_of("second"), second);
  const auto third = keys.number_of("third");
  EXPECT_TRUE(third != 0 && third != first && third != second && third != fixed) << "nobody inherits";
  write("third\nfirst\n");
  ASSERT_TRUE(keys.reload());
  EXPECT_EQ(keys.number_of("first"), first);
}

TEST(AccessKeys, TheKeyOfARequest) {
  EXPECT_EQ(key_of("Bearer abc", ""), "abc");
  EXPECT_EQ(key_of("bearer abc", "x"), "abc");
  EXPECT_EQ(key_of("", "x"), "x");
  EXPECT_EQ(key_of("Basic abc", "x"), "x");
  EXPECT_EQ(key_of("Bearer", ""), "");
}

TEST(Host, AddressesAndKnownNamesAreThisMachine) {
  for (const char* host : {"", "localhost", "localhost:8080", "127.0.0.1:1", "192.168.1.2", "[::1]:8080",
                           "a.localhost:1", "LOCALHOST:80", "localhost."})
    EXPECT_TRUE(names_this_machine(host, {})) << host;
  for (const char* host : {"evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example",
                           "xlocalhost", "[evil.example", "[evil.example]:80"})
    EXPECT_FALSE(names_this_machine(host, {})) << host;
  EXPECT_TRUE(names_this_machine("box.example:8080", {"Box.example"}));
}

}  // namespace
}  // namespace onebit::server
