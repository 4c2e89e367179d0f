#include "base/utf8.h"

#include <gtest/gtest.h>

namespace onebit {
namespace {

TEST(Utf8, EveryCodePointComesBackAndNothingElseIsValid) {
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    std::string text;
    utf8_append(text, c);
    const auto front = utf8_front(text + "x");
    ASSERT_TRUE(front.code_point == c);
    ASSERT_EQ(front.length, text.size());
    for (size_t n = 1; n < text.size(); ++n) {
      ASSERT_EQ(utf8_front(text.substr(0, n)).length, 0u) << static_cast<uint32_t>(c);
      ASSERT_EQ(utf8_incomplete_suffix("ab" + text.substr(0, n)), n) << static_cast<uint32_t>(c);
    }
    ASSERT_EQ(utf8_incomplete_suffix(text), 0u);
  }
}

TEST(Utf8, OverlongSurrogateAndTooLargeFormsAreInvalid) {
  for (const char* bad : {"\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF",
                          "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\x80", "\xFF", "\xC3("}) {
    EXPECT_EQ(utf8_front(bad).length, 0u);
    EXPECT_FALSE(utf8_valid(std::string("ok") + bad));
  }
  // No byte that follows could mend these.
  for (const char* bad : {"\xED\xA0", "\xE0\x9F", "\xF4\x90", "\xC1", "\xF5"})
    EXPECT_EQ(utf8_incomplete_suffix(bad), 0u);
}

TEST(Utf8, InvalidPartsBecomeOneReplacementEach) {
  EXPECT_EQ(utf8_replace_invalid("a\xFF"
                                 "b"),
            "a\xEF\xBF\xBD"
            "b");
  EXPECT_EQ(utf8_replace_invalid("\xE2\x82"), "\xEF\xBF\xBD");  // one cut-off character
  EXPECT_EQ(utf8_replace_invalid("\xE2\x82\x41"),
            "\xEF\xBF\xBD"
            "A");                                                           // resumes at the A
  EXPECT_EQ(utf8_replace_invalid("\xC0\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD");  // two bytes, neither begins one
  EXPECT_EQ(utf8_replace_invalid("gr\xC3\xBC\xC3\x9F"), "gr\xC3\xBC\xC3\x9F");
}

TEST(Utf8, TrimTakesUnicodeWhiteSpaceOnly) {
  EXPECT_EQ(trim_white_space(" \t\r\n\v\f a b \xC2\xA0\xE3\x80\x80\xE2\x80\xA8"), "a b");
  EXPECT_EQ(trim_white_space("\xE2\x80\x8B"
                             "a"),
            "\xE2\x80\x8B"
            "a");  // U+200B is no white space
  EXPECT_EQ(trim_white_space(" \xE3\x80\x80 "), "");
  EXPECT_EQ(trim_white_space("\xFF "), "\xFF");
  EXPECT_EQ(trim_white_space(""), "");
}

TEST(Printable, ALimitCountsWhatIsShown) {
  EXPECT_EQ(printable("plain", 5), "plain");
  EXPECT_EQ(printable("plainer", 5), "plain…");
  EXPECT_EQ(printable("\x1b[0m", 40), "\\x1b[0m");
  EXPECT_EQ(printable(std::string(100, '\x7f'), 10), "\\x7f\\x7f…") << "escapes are not cut apart";
}

}  // namespace
}  // namespace onebit
