#include "landing/words.h"

#include <gtest/gtest.h>

#include "base/utf8.h"

namespace onebit::landing {
namespace {

const std::string kMark = "\xEF\xBF\xBD";

TEST(FitToShow, WordsStayAsTheyAre) {
  for (const char* word : {"", "tiny-bitnet 1.58", "модель", "模型", "e\xCC\x81", "\xF0\x9F\x98\x80", "<b>&amp;\"'\\"})
    EXPECT_EQ(fit_to_show(word), word);
}

TEST(FitToShow, WhatIsNotToBeSeenIsMarked) {
  EXPECT_EQ(fit_to_show("a\n\r\x1b[31mb"), "a" + kMark + "[31mb");
  EXPECT_EQ(fit_to_show(std::string("a\0b", 3)), "a" + kMark + "b");
  EXPECT_EQ(fit_to_show("a\x7f"
                        "b\xC2\x85"
                        "c"),
            "a" + kMark + "b" + kMark + "c");
  for (const char32_t c : {0x202Eu, 0x202Au, 0x2066u, 0x2069u, 0x200Eu, 0x061Cu, 0x200Bu, 0x2028u, 0xFEFFu, 0xE0041u}) {
    std::string text = "x";
    utf8_append(text, c);
    EXPECT_EQ(fit_to_show(text + "gpj.exe"), "x" + kMark + "gpj.exe") << static_cast<uint32_t>(c);
  }
}

TEST(FitToShow, BytesThatAreNoCharacterAreMarked) {
  EXPECT_EQ(fit_to_show("a\xff\xfe\xc3"), "a" + kMark);
  EXPECT_EQ(fit_to_show("\xed\xa0\x80z"), kMark + "z") << "a surrogate";
}

TEST(FitToShow, IsCutBetweenCharacters) {
  EXPECT_EQ(fit_to_show("abc", 2), "ab");
  EXPECT_EQ(fit_to_show("a\xC3\xA9", 2), "a");
  EXPECT_EQ(fit_to_show("\xff", 2), "");
}

}  // namespace
}  // namespace onebit::landing
