// Masks against the plain definition: a token is allowed where some derivation of the grammar begins with the text so
// far and the token's bytes.
#include <gtest/gtest.h>

#include <random>
#include <set>

#include "grammar/grammar_cache.h"
#include "grammar/matcher.h"
#include "tests/grammar/word_tokenizer.h"
#include "tests/tokenizer/test_data.h"

namespace onebit::grammar {
namespace {

/// A grammar over a, b and c as it is written: alternatives of sequences; symbols below 0 are bytes, -'a'.
using Alternatives = std::vector<std::vector<int>>;
using PlainGrammar = std::vector<Alternatives>;

class Generator {
 public:
  explicit Generator(uint32_t seed) : random_(seed) {}
  size_t below(size_t n) { return random_() % n; }

  /// Before its first byte a sequence calls later rules only: nothing is left-recursive.
  PlainGrammar grammar() {
    PlainGrammar g(1 + below(4));
    for (int r = 0; r < static_cast<int>(g.size()); ++r) {
      g[static_cast<size_t>(r)].resize(1 + below(3));
      for (auto& sequence : g[static_cast<size_t>(r)]) {
        bool has_byte = false;
        for (size_t n = below(4); n > 0; --n) {
          const size_t first_rule = has_byte ? 0 : static_cast<size_t>(r) + 1;
          if (below(2) == 0 || first_rule >= g.size()) {
            sequence.push_back(-('a' + static_cast<int>(below(3))));
            has_byte = true;
          } else {
            sequence.push_back(static_cast<int>(first_rule + below(g.size() - first_rule)));
          }
        }
      }
    }
    return g;
  }

 private:
  std::mt19937 random_;
};

std::string to_gbnf(const PlainGrammar& grammar) {
  std::string out;
  for (size_t r = 0; r < grammar.size(); ++r) {
    out += r == 0 ? "root ::=" : fmt::format("r{} ::=", r);
    for (size_t a = 0; a < grammar[r].size(); ++a) {
      out += a > 0 ? " |" : "";
      if (grammar[r][a].empty()) out += " \"\"";
      for (const int s : grammar[r][a])
        out += s < 0    ? fmt::format(" \"{}\"", static_cast<char>(-s))
               : s == 0 ? std::string(" root")
                        : fmt::format(" r{}", s);
    }
    out += "\n";
  }
  return out;
}

/// Everything that may still have to be matched: sequences of symbols, the next one last.
class Definition {
 public:
  static constexpr size_t kMost = 100;

  explicit Definition(const PlainGrammar& grammar) : grammar_(grammar), productive_(grammar.size(), false) {
    const auto whole = [&](const std::vector<int>& sequence) {
      return std::all_of(sequence.begin(), sequence.end(),
                         [&](int s) { return s < 0 || productive_[static_cast<size_t>(s)]; });
    };
    for (size_t round = 0; round < grammar.size(); ++round)
      for (size_t r = 0; r < grammar.size(); ++r)
        productive_[r] = std::any_of(grammar[r].begin(), grammar[r].end(), whole);
    if (productive_[0]) rest_.insert({0});
  }

  bool matches_something() const { return productive_[0]; }
  bool too_many() const { return rest_.size() > kMost; }
  bool possible() const { return !rest_.empty(); }

  void take(char byte) {
    std::set<std::vector<int>> next;
    for (auto sequence : expanded()) {
      if (sequence.empty() || sequence.back() != -byte) continue;
      sequence.pop_back();
      next.insert(std::move(sequence));
    }
    rest_ = std::move(next);
  }
  bool may_end() const { return expanded().contains({}); }

 private:
  /// Until a byte is next.
  std::set<std::vector<int>> expanded() const {
    std::set<std::vector<int>> seen, done;
    std::vector<std::vector<int>> work(rest_.begin(), rest_.end());
    while (!work.empty()) {
      auto sequence = std::move(work.back());
      work.pop_back();
      if (!seen.insert(sequence).second) continue;
      if (sequence.empty() || sequence.back() < 0) {
        done.insert(std::move(sequence));
        continue;
      }
      const auto rule = static_cast<size_t>(sequence.back());
      sequence.pop_back();
      for (const auto& alternative : grammar_[rule]) {
        const bool possible = std::all_of(alternative.begin(), alternative.end(),
                                          [&](int s) { return s < 0 || productive_[static_cast<size_t>(s)]; });
        if (!possible) continue;
        auto longer = sequence;
        longer.insert(longer.end(), alternative.rbegin(), alternative.rend());
        work.push_back(std::move(longer));
      }
    }
    return done;
  }

  const PlainGrammar& grammar_;
  std::vector<bool> productive_;
  std::set<std::vector<int>> rest_;
};

std::vector<std::string> words() {
  std::vector<std::string> result;
  for (const char* w :
       {"ab", "ba", "aa", "bb", "cc", "abc", "cab", "aaa", "bcb", "abab", "bbbb", "cacb", "aaaaa", "ab", "xa", "ax"})
    result.emplace_back(w);
  return result;
}

bool can_follow(Definition definition, std::string_view bytes) {
  for (const char c : bytes) definition.take(c);
  return definition.possible();
}

TEST(GrammarMasks, AreThoseOfTheDefinition) {
  const Tokenizer tokenizer = test::word_tokenizer(words());
  const auto end_token = static_cast<TokenId>(tokenizer.vocabulary_size()) - 1;
  GrammarCache cache(tokenizer);
  size_t compared = 0, grammars = 0, longest = 0;
  for (uint32_t seed = 1; seed <= 1500; ++seed) {
    Generator generator(seed);
    const auto plain = generator.grammar();
    Definition definition(plain);
    const auto grammar = cache.get(Language::kGbnf, to_gbnf(plain));
    ASSERT_EQ(grammar.has_value(), definition.matches_something()) << to_gbnf(plain);
    if (!grammar) continue;
    ++grammars;
    Matcher matcher(*grammar);
    TokenMask mask;
    for (size_t step = 0; step < 8 && !definition.too_many(); ++step) {
      ASSERT_TRUE(matcher.next(mask));
      std::vector<TokenId> allowed;
      for (TokenId id = 0; id < end_token; ++id) {
        const auto bytes = tokenizer.token_bytes(id);
        const bool of_alphabet = bytes.find_first_not_of("abc") == std::string_view::npos;
        const bool expected = of_alphabet && !tokenizer.is_special(id) && can_follow(definition, bytes);
        ASSERT_EQ(allows(mask, id), expected) << to_gbnf(plain) << " step " << step << " token " << bytes;
        if (expected) allowed.push_back(id);
        ++compared;
      }
      ASSERT_EQ(allows(mask, end_token), definition.may_end()) << to_gbnf(plain) << " step " << step;
      ASSERT_EQ(matcher.must_end(), allowed.empty());
      if (allowed.empty()) break;
      const TokenId chosen = allowed[generator.below(allowed.size())];
      for (const char c : tokenizer.token_bytes(chosen)) definition.take(c);
      ASSERT_TRUE(matcher.accept(chosen));
      longest = std::max(longest, step + 1);
    }
  }
  EXPECT_GT(grammars, 900u);
  EXPECT_EQ(longest, 8u);
  RecordProperty("compared", static_cast<int>(compared));
}

/// A byte token counts as its byte, beside the character's token, and a vocabulary's own space as a space.
TEST(GrammarMasks, AreOfAllBytesWithSentencePieceToo) {
  const auto data = test::small_sentencepiece_data();
  const Tokenizer tokenizer = *Tokenizer::create(data);
  GrammarCache cache(tokenizer);
  Matcher matcher(*cache.get(Language::kGbnf, "root ::= \" \"? \"the\" \"!\""));
  const auto allowed = [&] {
    TokenMask mask;
    EXPECT_TRUE(matcher.next(mask));
    std::multiset<std::string_view> bytes;
    for (TokenId id = 0; static_cast<size_t>(id) < data.tokens.size(); ++id)
      if (allows(mask, id)) bytes.insert(tokenizer.token_bytes(id));
    return bytes;
  };
  EXPECT_EQ(allowed(), (std::multiset<std::string_view>{" ", " ", " t", " the", "t", "t", "the"}));
  ASSERT_TRUE(matcher.accept(data.byte_tokens[' ']));
  EXPECT_EQ(allowed(), (std::multiset<std::string_view>{"t", "t", "the"}));
  ASSERT_TRUE(matcher.accept(test::id_of(data, "the")));
  EXPECT_EQ(allowed(), (std::multiset<std::string_view>{"!", "!"}));
}

TEST(GrammarMasks, NestingHasNoLimitAndStacksAreKeptSmall) {
  const Tokenizer tokenizer = test::word_tokenizer({"[[", "]]", "[[[["});
  GrammarCache cache(tokenizer);
  Matcher matcher(*cache.get(Language::kGbnf, "root ::= \"[\" root? \"]\""));
  TokenMask mask;
  constexpr int kDepth = 20'000;
  for (int i = 0; i < kDepth; ++i) ASSERT_TRUE(matcher.accept(TokenId{'['}));
  for (int i = 0; i < kDepth; ++i) {
    ASSERT_FALSE(matcher.may_end());
    ASSERT_TRUE(matcher.accept(TokenId{']'}));
  }
  EXPECT_TRUE(matcher.must_end());

  Matcher flat(*cache.get(Language::kGbnf, "root ::= (\"[\" x \"]\")* \nx ::= \"[\" x \"]\" | \"\""));
  for (int i = 0; i < 20'000; ++i) ASSERT_TRUE(flat.accept("[[]]")) << i;
  EXPECT_LT(flat.bytes(), 1u << 20);
}

TEST(GrammarMasks, ATextWithManyReadingsCostsLittleOrIsAnError) {
  const Tokenizer tokenizer = test::word_tokenizer({"aa", "aaaa"});
  GrammarCache cache(tokenizer);
  for (const char* source : {"root ::= s\ns ::= \"a\" s s s | \"a\" s s | \"a\" s | \"a\"",
                             "root ::= s\ns ::= x s s | x\nx ::= \"a\" | \"a\" s \"b\" | \"a\" x"}) {
    Matcher matcher(*cache.get(Language::kGbnf, source));
    TokenMask mask;
    for (int i = 0; i < 60; ++i) {
      if (const auto status = matcher.next(mask); !status) {
        EXPECT_NE(status.error().message.find("ambiguous"), std::string::npos);
        break;
      }
      if (!matcher.accept(TokenId{'a'})) break;
      ASSERT_LT(matcher.bytes(), 64u << 20);
    }
  }
}

}  // namespace
}  // namespace onebit::grammar
