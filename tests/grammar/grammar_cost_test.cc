// What grammars may cost: hostile sources end soon with a sentence, and what is kept has limits.
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "grammar/grammar_cache.h"
#include "grammar/json_value.h"
#include "grammar/matcher.h"
#include "tests/grammar/word_tokenizer.h"

namespace onebit::grammar {
namespace {

std::string repeated(const std::string& text, size_t times) {
  std::string out;
  for (size_t i = 0; i < times; ++i) out += text;
  return out;
}

/// Sources that ask for much. Each is taken or refused.
std::vector<std::pair<Language, std::string>> demanding() {
  std::vector<std::pair<Language, std::string>> sources{
      {Language::kRegex, "((((a?){100}){100}){100}){100}"},
      {Language::kRegex, "(a|b)*a(a|b){30}"},
      {Language::kRegex, "(.*a){30}"},
      {Language::kRegex, repeated("(", 100'000)},
      {Language::kRegex, repeated("[", 100'000)},
      {Language::kRegex, repeated("(a|", 150) + repeated(")*", 150)},
      {Language::kRegex, "([^a]{5000}|[^b]{5000}){30}"},
      {Language::kGbnf, "root ::= " + repeated("(", 100'000)},
      {Language::kGbnf, "root ::= " + repeated("\"a\" | ", 50'000) + "\"b\""},
      {Language::kGbnf, "root ::= ((\"a\"{1000}){1000}){1000}"},
      {Language::kGbnf, "root ::= \"a\"" + repeated("?", 200'000)},
      {Language::kGbnf, "root ::= \"a\"" + repeated("{1}", 100'000)},
      {Language::kJsonSchema, repeated("[", 100'000)},
      {Language::kJsonSchema, R"({"type": "string", "pattern": "^(([a-z])+.)+[A-Z]([a-z])+$", "maxLength": 4000})"},
      {Language::kJsonSchema, R"({"type": "integer", "minimum": 1, "maximum": 1e17, "multipleOf": 99999})"},
      {Language::kJsonSchema, R"({"type": "array", "maxItems": 90000, "items": {"type": "array", "maxItems": 90000}})"},
  };
  std::string rules = "root ::= r0\n", many = R"({"type": "object", "properties": {)", both = R"({"allOf": [)", any;
  for (int i = 0; i < 5000; ++i) rules += fmt::format("r{} ::= \"a\" r{} | \"b\" r{}\n", i, i + 1, (i * 7) % 5000);
  sources.emplace_back(Language::kGbnf, rules + "r5000 ::= \"c\"\n");
  for (int i = 0; i < 3000; ++i)
    many += fmt::format("{}\"property_{}\": {{\"type\": \"integer\"}}", i > 0 ? ", " : "", i);
  sources.emplace_back(Language::kJsonSchema, many + "}}");
  sources.emplace_back(Language::kJsonSchema, many + R"(}, "minProperties": 1000, "additionalProperties": false})");
  for (int i = 0; i < 24; ++i)
    both +=
        fmt::format("{}{{\"anyOf\": [{{\"properties\": {{\"a{}\": {{}}}}}}, {{\"properties\": {{\"b{}\": {{}}}}}}]}}",
                    i > 0 ? ", " : "", i, i);
  sources.emplace_back(Language::kJsonSchema, both + "]}");
  sources.emplace_back(Language::kJsonSchema,
                       R"({"anyOf": [{"$ref": "#"}, {"allOf": [{"$ref": "#"}, {"$ref": "#/anyOf/1"}]}]})");
  for (int i = 0; i < 30'000; ++i) any += fmt::format("{}\"word {}\"", i > 0 ? ", " : "", i * 7919);
  sources.emplace_back(Language::kJsonSchema, "{\"enum\": [" + any + "]}");
  std::string never = R"({"$defs": {"b": {"type": "object", "properties": {)", all_never = "}}}, \"prefixItems\": [";
  for (int i = 0; i < 10'000; ++i) never += fmt::format("{}\"a{:05}\": false", i > 0 ? ", " : "", i);
  for (int i = 0; i < 80; ++i)
    all_never += fmt::format(R"({}{{"allOf": [{{"$ref": "#/$defs/b"}}, {{"title": "{}"}}]}})", i > 0 ? ", " : "", i);
  sources.emplace_back(Language::kJsonSchema, never + all_never + R"(], "type": "array"})");
  sources.emplace_back(Language::kJsonSchema,
                       R"({"oneOf": [)" + repeated(R"({"type": "string", "pattern": "a.*b.*c"}, )", 400) + "false]}");
  return sources;
}

TEST(GrammarCost, DemandingSourcesEndSoon) {
  for (const auto& [language, source] : demanding()) {
    const auto begin = std::chrono::steady_clock::now();
    const auto program = compile(language, source);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
#ifdef ONEBIT_SANITIZED
    constexpr double kMost = 60;
#else
    constexpr double kMost = 8;
#endif
    EXPECT_LT(took.count(), kMost) << source.substr(0, 100);
    EXPECT_LT(program ? program->bytes() : 0, 80u << 20);
    EXPECT_LT(program ? 0 : program.error().message.size(), 400u);
    fmt::print("{:6.3f} s  {:9} bytes  {:.60}  {}\n", took.count(), program ? program->bytes() : 0, source,
               program ? "" : program.error().message);
  }
}

/// So many alternatives, each of which calls the same two rules.
std::string many_readings(int outer, int inner) {
  std::string source = "root ::= a0", middle = "\nx ::= [a-z] [a-z] z\nz ::= y0", end;
  for (int i = 0; i < outer; ++i) {
    if (i > 0) source += fmt::format(" | a{}", i);
    end += fmt::format("\na{} ::= x \"{}\"", i, i);
  }
  for (int i = 0; i < inner; ++i) {
    if (i > 0) middle += fmt::format(" | y{}", i);
    end += fmt::format("\ny{} ::= [a-z]+", i);
  }
  return source + middle + end + "\n";
}

TEST(GrammarCost, ATokenOfAnAmbiguousGrammarEndsSoon) {
  const Tokenizer tokenizer = test::word_tokenizer(test::json_words());
  GrammarCache cache(tokenizer);
  const auto grammar = cache.get(Language::kGbnf, many_readings(1900, 2000));
  ASSERT_TRUE(grammar) << grammar.error().message;
  Matcher matcher(*grammar);
  const auto begin = std::chrono::steady_clock::now();
  bool goes_on = true;
  for (int i = 0; i < 5 && goes_on; ++i) goes_on = matcher.accept("a");
  TokenMask mask;
  EXPECT_FALSE(goes_on && matcher.next(mask)) << "it was followed in all its readings";
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
#ifdef ONEBIT_SANITIZED
  EXPECT_LT(took.count(), 10);
#else
  EXPECT_LT(took.count(), 1);
#endif
}

TEST(GrammarCost, GrammarsInUseAreCounted) {
  const Tokenizer tokenizer = test::word_tokenizer(test::json_words());
  GrammarCache cache(tokenizer, {.grammar_bytes = 1000, .live_bytes = 200'000});
  std::vector<std::shared_ptr<const Grammar>> in_use;
  while (cache.has_room() && in_use.size() < 1000)
    in_use.push_back(*cache.get(Language::kRegex, fmt::format("a{{{}}}", 500 + in_use.size())));
  EXPECT_GT(in_use.size(), 3u);
  EXPECT_LT(in_use.size(), 200u);
  in_use.clear();
  EXPECT_TRUE(cache.has_room()) << "and no longer where nobody uses them";
}

TEST(GrammarCost, TheSameSourceIsCompiledOnce) {
  const Tokenizer tokenizer = test::word_tokenizer(test::json_words());
  GrammarCache cache(tokenizer);
  const auto first = cache.get(Language::kRegex, "a+");
  EXPECT_EQ(*first, *cache.get(Language::kRegex, "a+"));
  EXPECT_NE(*first, *cache.get(Language::kRegex, "a*"));
  EXPECT_FALSE(cache.get(Language::kJsonSchema, "a+"));
  EXPECT_EQ(cache.stats().hits, 1u);
  EXPECT_EQ(cache.stats().compiled, 2u);
}

TEST(GrammarCost, TheCacheForgetsWhatWasNotUsed) {
  const Tokenizer tokenizer = test::word_tokenizer(test::json_words());
  GrammarCache cache(tokenizer, {.grammar_bytes = 200'000, .mask_bytes = 10'000});
  const auto kept = *cache.get(Language::kRegex, "x{100}");
  for (int i = 0; i < 300; ++i) {
    const auto grammar = cache.get(Language::kRegex, fmt::format("a{{{}}}", i + 1));
    ASSERT_TRUE(grammar);
    Matcher matcher(*grammar);
    TokenMask mask;
    ASSERT_TRUE(matcher.next(mask));
    EXPECT_LE(cache.stats().bytes, 200'000u);
    EXPECT_LE((*grammar)->masks().bytes(), 9u << 20);
  }
  EXPECT_LT(cache.stats().grammars, 100u);
  Matcher matcher(kept);  // still whole, though the cache has forgotten it
  EXPECT_TRUE(matcher.accept(std::string(100, 'x')));
  EXPECT_TRUE(matcher.must_end());
}

TEST(GrammarCost, ManyThreadsShareAGrammar) {
  const Tokenizer tokenizer = test::word_tokenizer(test::json_words());
  GrammarCache cache(tokenizer, {.grammar_bytes = 1 << 20, .mask_bytes = 20'000});
  const std::string schema =
      R"({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string"}}}, "required": ["a"]})";
  const std::string text = R"({"a": ["abc", "x\n", "é"]})";
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
        const auto grammar = cache.get(Language::kJsonSchema, schema);
        Matcher matcher(*grammar);
        TokenMask mask;
        for (const char c : text) {
          EXPECT_TRUE(matcher.next(mask));
          EXPECT_TRUE(allows(mask, static_cast<uint8_t>(c)));
          EXPECT_TRUE(matcher.accept(TokenId{static_cast<uint8_t>(c)}));
        }
        EXPECT_TRUE(matcher.must_end());
      }
    });
  for (auto& thread : threads) thread.join();
}

}  // namespace
}  // namespace onebit::grammar
