#include "voice/sentences.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <fmt/ranges.h>

namespace onebit::voice {
namespace {

using Pieces = std::vector<std::string>;

std::string whole(const Pieces& pieces) {
  return fmt::format("{}", fmt::join(pieces, ""));
}

TEST(Sentences, AreCutWhereTheyEnd) {
  EXPECT_EQ(sentences("Paris is a city. It is in France! Is it old? Yes."),
            (Pieces{"Paris is a city. ", "It is in France! ", "Is it old? ", "Yes."}));
  EXPECT_EQ(sentences("He said \"Stop.\" Then he left."), (Pieces{"He said \"Stop.\" ", "Then he left."}));
  EXPECT_EQ(sentences("“Really?!” She laughed. (She did.) “So it was.”"),
            (Pieces{"“Really?!” ", "She laughed. ", "(She did.) ", "“So it was.”"}));
  EXPECT_EQ(sentences("東京は首都です。大きいです！はい。"), (Pieces{"東京は首都です。", "大きいです！", "はい。"}));
  EXPECT_EQ(sentences("Это город. Он большой."), (Pieces{"Это город. ", "Он большой."}));
  EXPECT_EQ(sentences("It was built in 1889. 300 people worked on it."),
            (Pieces{"It was built in 1889. ", "300 people worked on it."}));
}

TEST(Sentences, AreNotCutWithin) {
  for (const char* one :
       {"Dr. Smith met Mr. Jones at St. Mary's.", "J. R. R. Tolkien wrote it.", "It costs 3.14 dollars, i.e. more.",
        "See e.g. Paris, approx. 2.1 million people.", "The U.S. Army and the U.K. Navy.", "Version 1.2.3 is out.",
        "Visit https://example.org/a.b?c=d. for more.", "Well... maybe not.", "Wait… what?", "\"Stop!\" she said.",
        "Call `a.b(). C` now.", "The file main.cc is long.", "No. 7 is a number.", "At 5 p.m. Eastern time."})
    EXPECT_EQ(sentences(one).size(), 1u) << fmt::format("{}", fmt::join(sentences(one), "|"));
}

TEST(Sentences, ListsAreCutBetweenTheirEntries) {
  EXPECT_EQ(sentences("Three cities:\n1. Paris is first.\n2. Rome\n3. Oslo\n\nThat is all."),
            (Pieces{"Three cities:\n", "1. Paris is first.\n", "2. Rome\n", "3. Oslo\n\n", "That is all."}));
  EXPECT_EQ(sentences("- one\n- two\nand more"), (Pieces{"- one\n", "- two\n", "and more"}));
  EXPECT_EQ(sentences("# Title\nA text that\ngoes on here."), (Pieces{"# Title\n", "A text that\ngoes on here."}));
}

TEST(Sentences, CodeStaysTogether) {
  EXPECT_EQ(sentences("Do this:\n```\nint a. B! C.\n\nx = 1. Y\n```\nThen go."),
            (Pieces{"Do this:\n", "```\nint a. B! C.\n\nx = 1. Y\n```\n", "Then go."}));
}

TEST(Sentences, LongOnesAreCutAtCommasAndThenBetweenWords) {
  std::string commas, words, letters(5000, 'x');
  for (int i = 0; i < 100; ++i) commas += "some words, ", words += "word ";
  for (const auto& piece : sentences(commas)) EXPECT_LE(piece.size(), 260u);
  for (int i = 0; i < 5; ++i) words += words;
  for (const auto& piece : sentences(words)) {
    EXPECT_LE(piece.size(), 1010u);
    EXPECT_TRUE(piece.ends_with(' '));
  }
  EXPECT_EQ(whole(sentences(letters)), letters);
  for (const auto& piece : sentences(letters)) EXPECT_LE(piece.size(), 2001u);
}

TEST(Sentences, TheFirstComesWithTheNextOnesFirstLetter) {
  SentenceSplitter splitter;
  Pieces pieces;
  splitter.push("The capital of France is Paris. ", pieces);
  EXPECT_TRUE(pieces.empty());
  splitter.push("I", pieces);
  EXPECT_EQ(pieces, Pieces{"The capital of France is Paris. "});
}

TEST(Sentences, WhiteSpaceAndNothing) {
  EXPECT_TRUE(sentences("").empty());
  EXPECT_EQ(whole(sentences("   \n ")), "   \n ");
  const std::string flood(100000, ' ');
  SentenceSplitter splitter;
  Pieces pieces;
  size_t given = 0;
  for (size_t i = 0; i < flood.size(); i += 100) splitter.push(std::string_view(flood).substr(i, 100), pieces);
  for (const auto& piece : pieces) given += piece.size();
  EXPECT_GT(given, flood.size() - 1000) << "white space must not gather";
}

rc::Gen<std::string> texts() {
  static const std::vector<std::string> kParts{"word",
                                               "Paris",
                                               "Dr",
                                               "e.g",
                                               "U.S",
                                               "3.14",
                                               "1",
                                               "12",
                                               "a",
                                               "I",
                                               ".",
                                               ".",
                                               ".",
                                               "!",
                                               "?",
                                               "...",
                                               "…",
                                               "。",
                                               "”",
                                               "\"",
                                               "'",
                                               ")",
                                               "(",
                                               "“",
                                               ",",
                                               ";",
                                               ":",
                                               " ",
                                               " ",
                                               " ",
                                               " ",
                                               "\n",
                                               "\n\n",
                                               "- ",
                                               "* ",
                                               "1. ",
                                               "# ",
                                               "`",
                                               "```",
                                               "```\n",
                                               "https://a.b/c.",
                                               "é",
                                               "ß",
                                               "東京",
                                               "\t",
                                               "😀",
                                               "**",
                                               "_",
                                               std::string("\xff"),
                                               std::string("\xe6\x9d"),
                                               std::string(300, ' '),
                                               std::string(260, 'y'),
                                               "[x](y.z)"};
  return rc::gen::map(rc::gen::container<std::vector<size_t>>(rc::gen::inRange<size_t>(0, kParts.size())),
                      [](const auto& indices) {
                        std::string text;
                        for (const size_t i : indices) text += kParts[i];
                        return text;
                      });
}

RC_GTEST_PROP(SentencesProperty, NothingIsLostAndPartsDoNotMatter, ()) {
  const auto text = *texts();
  SplitOptions options;
  options.soft_bytes = *rc::gen::inRange<size_t>(1, 300);
  options.hard_bytes = options.soft_bytes + *rc::gen::inRange<size_t>(1, 300);
  const auto at_once = sentences(text, options);
  RC_ASSERT(whole(at_once) == text);
  SentenceSplitter splitter(options);
  Pieces pieces;
  for (size_t at = 0; at < text.size();) {
    const size_t n = *rc::gen::inRange<size_t>(1, 12);
    splitter.push(std::string_view(text).substr(at, n), pieces);
    at += n;
  }
  splitter.finish(pieces);
  RC_ASSERT(pieces == at_once);
  for (const auto& piece : pieces) RC_ASSERT(!piece.empty());
}

RC_GTEST_PROP(SentencesProperty, NoWordIsCut, ()) {
  const auto text = *texts();
  const auto pieces = sentences(text);
  for (size_t i = 0; i + 1 < pieces.size(); ++i) {
    const auto last = static_cast<unsigned char>(pieces[i].back()),
               first = static_cast<unsigned char>(pieces[i + 1].front());
    const auto of_word = [](unsigned char c) { return std::isalnum(c) != 0; };
    if (pieces[i].size() < 2000) RC_ASSERT(!(of_word(last) && of_word(first)));
  }
}

TEST(Speakable, LeavesOutSigns) {
  EXPECT_EQ(speakable("**Paris** is the `capital` of [France](https://fr.example/x).\n"),
            "Paris is the capital of France.");
  EXPECT_EQ(speakable("## A title\n"), "A title");
  EXPECT_EQ(speakable("- an entry\n"), "an entry");
  EXPECT_EQ(speakable("2. Rome\n"), "2. Rome");
  EXPECT_EQ(speakable("See https://www.example.org/a/b?c."), "See example.org.");
  EXPECT_EQ(speakable("```\ncode\n```\n"), "");
  EXPECT_EQ(speakable("---\n"), "");
  EXPECT_EQ(speakable("  \n"), "");
}

}  // namespace
}  // namespace onebit::voice
