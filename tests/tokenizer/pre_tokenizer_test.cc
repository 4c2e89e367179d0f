#include "tokenizer/pre_tokenizer.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "tests/support/hostile_cases.h"
#include "tests/tokenizer/test_data.h"

namespace onebit {
namespace {

using Pieces = std::vector<std::string>;

PieceSplitter make_splitter(bool jit = true, PreTokenizer kind = PreTokenizer::kLlama3) {
  auto splitter = PieceSplitter::create(kind);
  EXPECT_TRUE(splitter.has_value());
  if (!jit) splitter->disable_jit();
  return *std::move(splitter);
}

Pieces split(const PieceSplitter& splitter, std::string_view text) {
  test::count_case(text);
  Pieces pieces;
  PieceSplitter::Cursor cursor(splitter, text);
  for (auto piece = cursor.next(); !piece.empty(); piece = cursor.next()) pieces.emplace_back(piece);
  return pieces;
}

Pieces split(std::string_view text) {
  static const PieceSplitter splitter = make_splitter();
  return split(splitter, text);
}

Pieces split_gpt2(std::string_view text) {
  static const PieceSplitter splitter = make_splitter(true, PreTokenizer::kGpt2);
  return split(splitter, text);
}

Pieces split_qwen2(std::string_view text) {
  static const PieceSplitter splitter = make_splitter(true, PreTokenizer::kQwen2);
  return split(splitter, text);
}

std::string joined(const Pieces& pieces) {
  std::string text;
  for (const auto& piece : pieces) text += piece;
  return text;
}

// The pattern a second time, written by hand for ASCII: one function for each alternative, which returns how
// many bytes it takes at the front of a text.
bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}
bool is_newline(char c) {
  return c == '\r' || c == '\n';
}
bool is_other(char c) {
  return !is_space(c) && !is_letter(c) && !is_digit(c);
}

template <class Predicate>
size_t count(std::string_view text, size_t from, Predicate predicate) {
  size_t n = from;
  while (n < text.size() && predicate(text[n])) ++n;
  return n - from;
}

size_t contraction(std::string_view text) {
  for (const std::string_view suffix : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}) {
    bool same = text.size() >= suffix.size();
    for (size_t i = 0; same && i < suffix.size(); ++i)
      same = text[i] == suffix[i] || (is_letter(text[i]) && (text[i] | 0x20) == suffix[i]);
    if (same) return suffix.size();
  }
  return 0;
}

size_t word(std::string_view text) {
  const bool prefixed = !is_newline(text[0]) && !is_letter(text[0]) && !is_digit(text[0]);
  const size_t letters = count(text, prefixed ? 1 : 0, is_letter);
  return letters == 0 ? 0 : letters + (prefixed ? 1 : 0);
}

size_t punctuation(std::string_view text) {
  const size_t prefix = text[0] == ' ' ? 1 : 0;
  const size_t others = count(text, prefix, is_other);
  return others == 0 ? 0 : prefix + others + count(text, prefix + others, is_newline);
}

size_t white_space(std::string_view text) {
  const size_t spaces = count(text, 0, is_space);
  size_t to_newline = spaces;  // through the last line end of the run
  while (to_newline > 0 && !is_newline(text[to_newline - 1])) --to_newline;
  if (to_newline > 0) return to_newline;
  return spaces < text.size() && spaces > 1 ? spaces - 1 : spaces;
}

Pieces split_by_hand(std::string_view text, size_t digits = 3) {
  Pieces pieces;
  while (!text.empty()) {
    size_t n = contraction(text);
    if (n == 0) n = word(text);
    if (n == 0) n = std::min(digits, count(text, 0, is_digit));
    if (n == 0) n = punctuation(text);
    if (n == 0) n = white_space(text);
    pieces.emplace_back(text.substr(0, n));
    text.remove_prefix(n);
  }
  return pieces;
}

/// GPT-2's: a run of one class, a space before it taken along.
Pieces split_gpt2_by_hand(std::string_view text) {
  Pieces pieces;
  while (!text.empty()) {
    size_t n = 0;
    for (const std::string_view suffix : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"})
      if (n == 0 && text.starts_with(suffix)) n = suffix.size();
    const size_t prefix = text[0] == ' ' ? 1 : 0;
    for (const auto is_class : {is_letter, is_digit, is_other})
      if (n == 0) n = count(text, prefix, is_class) == 0 ? 0 : prefix + count(text, prefix, is_class);
    if (n == 0) {
      n = count(text, 0, is_space);
      if (n < text.size() && n > 1) --n;
    }
    pieces.emplace_back(text.substr(0, n));
    text.remove_prefix(n);
  }
  return pieces;
}

rc::Gen<std::string> ascii_text() {
  const auto character =
      rc::gen::weightedOneOf<char>({{3, rc::gen::element(' ', '\n', '\r', '\t')},
                                    {3, rc::gen::element('\'', 's', 'T', 'r', 'E', 'v', 'l', 'L', 'd', 'm')},
                                    {2, rc::gen::inRange('0', ':')},
                                    {2, rc::gen::cast<char>(rc::gen::inRange(0, 128))}});
  return rc::gen::container<std::string>(character);
}

RC_GTEST_PROP(PieceSplitter, SplitsAsciiAsThePatternReadByHandDoes, ()) {
  const auto text = *ascii_text();
  RC_ASSERT(split(text) == split_by_hand(text));
  RC_ASSERT(split_qwen2(text) == split_by_hand(text, 1));
  RC_ASSERT(split_gpt2(text) == split_gpt2_by_hand(text));
}

RC_GTEST_PROP(PieceSplitter, LosesNoByteOfAnyText, ()) {
  test::hostile("prompt", "bytes");
  const auto text = *rc::gen::oneOf(test::arbitrary_bytes(), test::arbitrary_text(), test::arbitrary_mixture());
  RC_ASSERT(joined(split(text)) == text);
  RC_ASSERT(joined(split_gpt2(text)) == text);
  RC_ASSERT(joined(split_qwen2(text)) == text);
}

RC_GTEST_PROP(PieceSplitter, SplitsTheSameWithAndWithoutMachineCode, ()) {
  static const PieceSplitter interpreted = make_splitter(false);
  static const PieceSplitter interpreted_gpt2 = make_splitter(false, PreTokenizer::kGpt2);
  const auto text = *test::arbitrary_mixture();
  RC_ASSERT(!interpreted.uses_jit());
  RC_ASSERT(split(interpreted, text) == split(text));
  RC_ASSERT(split(interpreted_gpt2, text) == split_gpt2(text));
}

TEST(PieceSplitter, KeepsContractionsInAnyCase) {
  EXPECT_EQ(split("don't I'LL we'Ve"), (Pieces{"don", "'t", " I", "'LL", " we", "'Ve"}));
  EXPECT_EQ(split("'sx"), (Pieces{"'s", "x"}));
  EXPECT_EQ(split("'\u017fx"), (Pieces{"'\u017f", "x"})) << "the long s is an s in another case";
}

TEST(PieceSplitter, TakesDigitsByThree) {
  EXPECT_EQ(split("1234567"), (Pieces{"123", "456", "7"}));
  EXPECT_EQ(split("\u0663\u0664\u00bd9"), (Pieces{"\u0663\u0664\u00bd", "9"}));
}

TEST(PieceSplitter, CutsAsQwen2AndGpt2Do) {
  EXPECT_EQ(split_qwen2("I'LL pay 1234\n\nnow"), (Pieces{"I", "'LL", " pay", " ", "1", "2", "3", "4", "\n\n", "now"}));
  EXPECT_EQ(split_gpt2("I'LL I'll pay 1234\n\nnow"),
            (Pieces{"I", "'", "LL", " I", "'ll", " pay", " 1234", "\n", "\n", "now"}));
  EXPECT_EQ(split_gpt2("a\u0085\u0085b \u0663\U00031350!"),
            (Pieces{"a", "\u0085", "\u0085", "b", " \u0663", "\U00031350", "!"}));
  EXPECT_EQ(split_gpt2("x\t y"), (Pieces{"x", "\t", " y"}));
}

TEST(PieceSplitter, DoesNotCutForSentencePiece) {
  const auto splitter = make_splitter(true, PreTokenizer::kSentencePiece);
  EXPECT_FALSE(splitter.uses_jit());
  EXPECT_EQ(split(splitter, "a  b\xff\n1"), (Pieces{"a  b\xff\n1"}));
  EXPECT_EQ(split(splitter, ""), Pieces{});
}

TEST(PieceSplitter, LeavesTheLastSpaceToTheWord) {
  EXPECT_EQ(split("   two"), (Pieces{"  ", " two"}));
  EXPECT_EQ(split("two   "), (Pieces{"two", "   "}));
  EXPECT_EQ(split("a \n\n b"), (Pieces{"a", " \n\n", " b"}));
}

TEST(PieceSplitter, CountsAsWhiteSpaceWhatUnicodeDoes) {
  EXPECT_EQ(split("a\u0085\u0085"), (Pieces{"a", "\u0085\u0085"}));
  EXPECT_EQ(split("\u3000\u3000!"), (Pieces{"\u3000", "\u3000", "!"}));
  EXPECT_EQ(split("!\u180e"), (Pieces{"!\u180e"})) << "U+180E is no white space since Unicode 6.3";
  EXPECT_EQ(split("!\ufeff"), (Pieces{"!\ufeff"})) << "nor is the byte order mark";
}

TEST(PieceSplitter, KnowsTheLettersAndNumbersOfUnicode16) {
  EXPECT_EQ(split("\U00031350\U000323af"), (Pieces{"\U00031350\U000323af"})) << "ideographs of Unicode 15";
  EXPECT_EQ(split("a\U0002ebf0"), (Pieces{"a\U0002ebf0"})) << "ideographs of Unicode 15.1";
  EXPECT_EQ(split("!\U00010d4a"), (Pieces{"!\U00010d4a"})) << "a letter of Unicode 16: Garay";
  EXPECT_EQ(split("!\U00010d40"), (Pieces{"!", "\U00010d40"})) << "a digit of Unicode 16";
}

TEST(PieceSplitter, MakesOnePieceOfEachStretchOfInvalidBytes) {
  test::hostile("prompt", "text");
  EXPECT_EQ(split("ab\xff\xfe\x80"
                  "cd"),
            (Pieces{"ab", "\xff\xfe\x80", "cd"}));
  EXPECT_EQ(split("\xc3"), (Pieces{"\xc3"}));
  EXPECT_EQ(split("\xe2\x82 x"), (Pieces{"\xe2\x82", " x"})) << "a character cut short";
  EXPECT_EQ(split("\xed\xa0\x80"), (Pieces{"\xed\xa0\x80"})) << "a surrogate";
  EXPECT_EQ(split("a  \xff"
                  "b"),
            (Pieces{"a", "  ", "\xff", "b"}))
      << "a look-ahead does not see past valid text";
}

TEST(PieceSplitter, BeginsAnotherTextAfterRestart) {
  const PieceSplitter splitter = make_splitter();
  PieceSplitter::Cursor cursor(splitter, "one two");
  EXPECT_EQ(cursor.next(), "one");
  cursor.restart("three");
  EXPECT_EQ(cursor.next(), "three");
  EXPECT_EQ(cursor.next(), "");
  EXPECT_EQ(cursor.next(), "");
}

/// Ten megabytes of `unit` and an end that makes every greedy repetition think again.
void expect_long_run(const PieceSplitter& splitter, const std::string& unit, size_t expected_pieces) {
  std::string text;
  while (text.size() < 10'000'000) text += unit;
  text += "x";
  test::count_case(text);
  size_t bytes = 0;
  size_t pieces = 0;
  PieceSplitter::Cursor cursor(splitter, text);
  for (auto piece = cursor.next(); !piece.empty(); piece = cursor.next(), ++pieces) bytes += piece.size();
  EXPECT_EQ(bytes, text.size()) << unit;
  EXPECT_EQ(pieces, expected_pieces) << unit;
}

TEST(PieceSplitter, TakesRunsOfTenMegabytesWhole) {
  test::hostile("prompt", "runs");
  for (const bool jit : {true, false}) {
    const PieceSplitter splitter = make_splitter(jit);
    expect_long_run(splitter, "a", 1);
    expect_long_run(splitter, " ", 2);
    expect_long_run(splitter, "\n", 2);
    expect_long_run(splitter, "\n ", 2);
    expect_long_run(splitter, "!", 2);
    expect_long_run(splitter, "\u3000", 2);
    expect_long_run(splitter, "\u65e5", 1);
    expect_long_run(splitter, "7", 3'333'335);
    expect_long_run(splitter, "\xff", 2);
  }
}

}  // namespace
}  // namespace onebit
