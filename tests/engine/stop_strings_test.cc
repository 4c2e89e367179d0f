#include "engine/stop_strings.h"

#include <gtest/gtest.h>

#include <random>

namespace onebit {
namespace {

/// What comes out when `text` goes in cut at random places.
std::string feed(StopStrings& stops, const std::string& text, std::mt19937& random) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t n = std::min<size_t>(1 + random() % 4, text.size() - at);
    out += stops.push(text.substr(at, n));
    at += n;
  }
  return out + stops.finish();
}

TEST(StopStrings, TextEndsBeforeTheStopHoweverItIsCut) {
  std::mt19937 random(1);
  for (int i = 0; i < 200; ++i) {
    StopStrings stops({"END", "\n\n", ""});
    EXPECT_EQ(feed(stops, "The E, the EN, the END of it.\n\n", random), "The E, the EN, the ");
    EXPECT_TRUE(stops.matched());
  }
}

TEST(StopStrings, WithoutAMatchNothingIsLost) {
  std::mt19937 random(1);
  for (int i = 0; i < 200; ++i) {
    StopStrings stops({"aab", "abc"});
    EXPECT_EQ(feed(stops, "xaaxabaxaaab", random), "xaaxabaxa");  // "aab" at the very end
    StopStrings others({"never", "end!"});
    EXPECT_EQ(feed(others, "this is the end", random), "this is the end");
    EXPECT_FALSE(others.matched());
  }
}

TEST(StopStrings, FromTheLastTextOnNoneEndsAnything) {
  std::mt19937 random(1);
  for (int i = 0; i < 200; ++i) {
    StopStrings after({"}", "name"}, "<call>");
    EXPECT_EQ(feed(after, "So: <ca <call>{name}", random), "So: <ca <call>{name}");
    EXPECT_FALSE(after.matched());
    StopStrings before({"}", "name", "<"}, "<call>");
    EXPECT_EQ(feed(before, "my name <call>{}", random), "my ");
    EXPECT_TRUE(before.matched());
    StopStrings neither({"}"}, "<call>");
    EXPECT_EQ(feed(neither, "ends in <cal", random), "ends in <cal");
  }
}

TEST(StopStrings, AgreesWithASearchOfTheWholeText) {
  std::mt19937 random(7);
  for (int i = 0; i < 5000; ++i) {
    const auto word = [&](size_t n) {
      std::string s;
      for (size_t j = 0; j < n; ++j) s += static_cast<char>('a' + random() % 2);
      return s;
    };
    const std::vector<std::string> list{word(1 + random() % 5), word(1 + random() % 5)};
    const auto text = word(random() % 20);
    // The stop that is complete first ends the text; of several complete at once, the one that began first.
    std::string expected = text;
    for (size_t end = 1; end <= text.size() && expected == text; ++end) {
      size_t first = std::string::npos;
      for (const auto& stop : list)
        if (end >= stop.size() && text.compare(end - stop.size(), stop.size(), stop) == 0)
          first = std::min(first, end - stop.size());
      if (first != std::string::npos) expected = text.substr(0, first) + '\0';
    }
    if (!expected.empty() && expected.back() == '\0') expected.pop_back();
    StopStrings stops(list);
    std::string out;
    for (const char c : text) out += stops.push(std::string_view(&c, 1));
    out += stops.finish();
    ASSERT_EQ(out, expected) << text << " with " << list[0] << ", " << list[1];
  }
}

TEST(StopStrings, OnlyWhatMayBecomeAStopIsHeldBack) {
  StopStrings stops({"<|end|>"});
  EXPECT_EQ(stops.push("hello <"), "hello ");
  EXPECT_EQ(stops.push("b"), "<b");
  EXPECT_EQ(stops.push(" <|en"), " ");
  EXPECT_EQ(stops.push("d|> more"), "");
  EXPECT_TRUE(stops.matched());
  EXPECT_EQ(stops.match(), "<|end|>");
  EXPECT_EQ(stops.push("ignored"), "");
  EXPECT_EQ(stops.finish(), "");
}

}  // namespace
}  // namespace onebit
