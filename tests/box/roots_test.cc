#include "box/roots.h"

#include <gtest/gtest.h>

#include "tests/box/box_folder.h"

namespace onebit::box {
namespace {

using namespace std::chrono_literals;

TEST(Roots, ProgramsAreFoundOnThePathWhereTheyCanRun) {
  const test::BoxFolder box("");
  EXPECT_FALSE(find_program("tool"));
  box.write("bin/tool", "no program");
  EXPECT_FALSE(find_program("tool"));
  box.program("tool", "echo done");
  EXPECT_EQ(find_program("tool"), box.path("bin/tool"));
  std::filesystem::create_directory(box.path("bin/folder"));
  EXPECT_FALSE(find_program("folder"));
}

TEST(Roots, WhatAProgramSaysOnEitherOutputIsInItsError) {
  const test::BoxFolder box;
  box.program("tool", "echo one; echo two");
  EXPECT_EQ(output_of({"tool"}, 20s).value_or("error"), "one\ntwo\n");
  box.program("tool", "echo first; echo 'is refused'; exit 3");
  const auto refused = output_of({"tool"}, 20s);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("status 3: is refused"), std::string::npos) << refused.error().message;
  box.program("tool", "sleep 100");
  const auto late = output_of({"tool"}, 50ms);
  ASSERT_FALSE(late);
  EXPECT_NE(late.error().message.find("did not end"), std::string::npos) << late.error().message;
}

TEST(Roots, ACommandLineIsOneAShellReads) {
  const std::vector<std::string> words{"echo", "plain-1=/a.b", "two words", "it's", "", "$x"};
  const test::BoxFolder box;
  EXPECT_EQ(command_line(words), "echo plain-1=/a.b 'two words' 'it'\\''s' '' '$x'");
  EXPECT_EQ(output_of({"sh", "-c", command_line(words)}, 20s).value_or("error"), "plain-1=/a.b two words it's  $x\n");
}

}  // namespace
}  // namespace onebit::box
