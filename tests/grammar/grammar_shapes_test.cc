// Masks that are computed by shapes are those of a walk through all tokens.
#include <gtest/gtest.h>

#include <random>
#include <set>

#include "grammar/matcher.h"
#include "tests/grammar/word_tokenizer.h"

namespace onebit::grammar {
namespace {

/// Words of letters, digits, spaces and what JSON and UTF-8 are made of, as many as make shapes worth while.
Tokenizer many_words() {
  std::mt19937 random(7);
  const std::vector<std::string> pieces{"a", "b", "n", "x",  "z",  "E",  "Q", "u",        "1",        "7", " ",
                                        "_", ".", "-", "\"", "\\", "\n", "@", "\xC3\xA9", "\xE2\x82", ","};
  std::set<std::string> words;
  while (words.size() < 6000) {
    std::string word;
    const bool plain = random() % 4 != 0;  // most are letters
    for (size_t n = 2 + random() % 6; n > 0; --n) word += pieces[random() % (plain ? 8 : pieces.size())];
    words.insert(word);
  }
  return test::word_tokenizer({words.begin(), words.end()});
}

struct Source {
  Language language;
  std::string_view text;
};
constexpr Source kSources[] = {
    {Language::kRegex, "[a-z ]{3,40}"},
    {Language::kRegex, "(a?[b-z]{1,3}[0-9 ]){1,12}"},
    {Language::kRegex, "([a-zA-Z]{0,9}\\.){2,8}[a-z\\u00e9\\u20ac]{5,20}|[a-zE]{1,30}@"},
    {Language::kJsonSchema, R"({"type": "string", "maxLength": 40})"},
    {Language::kJsonSchema, R"({"type": "string", "format": "email"})"},
    {Language::kJsonSchema, R"({"type": "array", "items": {"type": "string", "minLength": 3, "maxLength": 9}})"},
    {Language::kGbnf, "root ::= (word sep)+\nword ::= [a-zA-Z]{1,15} [0-9]{0,5}\nsep ::= [ \\n]{1,2} | \"\\\"\" root"},
};

class GrammarShapes : public ::testing::Test {
 protected:
  GrammarShapes() : tokenizer_(many_words()), vocabulary_(tokenizer_) {}
  std::shared_ptr<Grammar> grammar(const Source& source, TokenMasks& masks) const {
    return std::make_shared<Grammar>(*compile(source.language, source.text), masks);
  }

  Tokenizer tokenizer_;
  Vocabulary vocabulary_;
};

TEST_F(GrammarShapes, MasksAreThoseWithoutShapesAndOfWhatIsAccepted) {
  for (const auto& source : kSources) {
    SCOPED_TRACE(source.text);
    TokenMasks by_shapes(vocabulary_, 64 << 20), plainly(vocabulary_, 64 << 20);
    const auto prepared = grammar(source, by_shapes);
    prepared->prepare_masks(std::chrono::milliseconds(5));  // few of them: the others are computed when they are met
    const auto other = grammar(source, plainly);
    std::mt19937 random(3);
    size_t accepted = 0;
    for (int walk = 0; walk < 12; ++walk) {
      Matcher a(prepared), b(other);
      for (int step = 0; step < 25 && !a.must_end(); ++step) {
        TokenMask mask, same;
        ASSERT_TRUE(a.next(mask) && b.next(same));
        ASSERT_EQ(mask, same);
        std::vector<TokenId> allowed;
        for (TokenId id = 0; static_cast<size_t>(id) < vocabulary_.size(); ++id)
          if (allows(mask, id) && !vocabulary_.is_end(id)) allowed.push_back(id);
        for (int i = 0; i < 40; ++i) {  // what a mask says, and what follows
          const auto id = static_cast<TokenId>(random() % vocabulary_.size());
          if (vocabulary_.is_end(id)) continue;
          Matcher probe(a);
          const bool taken = probe.accept(id);
          ASSERT_EQ(taken, allows(mask, id)) << id;
          accepted += taken;
        }
        if (allowed.empty()) break;
        const TokenId id = allowed[random() % allowed.size()];
        ASSERT_TRUE(a.accept(id) && b.accept(id));
      }
    }
    EXPECT_GT(accepted, 100u);
  }
}

TEST_F(GrammarShapes, StatesThatCountAreOfFewKinds) {
  const auto program = *compile(Language::kRegex, "[a-z ]{3,40}");
  ASSERT_TRUE(program.leaf[0]);
  const Kinds kinds(program, 0);
  const auto& of = kinds.of_states();
  EXPECT_GE(of.size(), 40u);
  EXPECT_LE(std::set<uint32_t>(of.begin(), of.end()).size(), 3u);
  const auto shapes = kinds.shapes(vocabulary_, of[0]);
  ASSERT_FALSE(shapes.nodes.empty());
  EXPECT_LT(shapes.nodes.size(), vocabulary_.nodes().size() / 20);
  EXPECT_EQ(shapes.origins_of.back(), shapes.origins.size());
}

}  // namespace
}  // namespace onebit::grammar
