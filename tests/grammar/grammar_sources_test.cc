// What the three notations match and refuse.
#include <gtest/gtest.h>

#include "grammar/grammar_cache.h"
#include "grammar/matcher.h"
#include "tests/grammar/word_tokenizer.h"

namespace onebit::grammar {
namespace {

/// "yes", "no" or "begins" (it could go on to a match).
std::string read(Language language, const std::string& source, const std::string& text) {
  static const Tokenizer tokenizer = test::word_tokenizer({});
  GrammarCache cache(tokenizer);
  const auto grammar = cache.get(language, source);
  if (!grammar) return grammar.error().message;
  Matcher matcher(*grammar);
  for (const char c : text)
    if (!matcher.accept(std::string_view(&c, 1))) return "no";
  return matcher.may_end() ? "yes" : "begins";
}

struct Case {
  const char *source, *text, *answer;
};

void check(Language language, std::initializer_list<Case> cases) {
  for (const auto& [source, text, answer] : cases)
    EXPECT_EQ(read(language, source, text), answer) << source << " on " << text;
}

std::string refusal(Language language, const std::string& source) {
  const auto program = compile(language, source);
  return program ? "taken" : program.error().message;
}

TEST(GrammarSources, Regexes) {
  check(Language::kRegex, {{"a+b", "aab", "yes"},
                           {"a+b", "b", "no"},
                           {"a+b", "aa", "begins"},
                           {"(foo|ba[rz])?", "", "yes"},
                           {"(foo|ba[rz])?", "baz", "yes"},
                           {"(foo|ba[rz])?", "bax", "no"},
                           {"^[^a-c]{2,3}$", "xyz", "yes"},
                           {"^[^a-c]{2,3}$", "xyzz", "no"},
                           {"^[^a-c]{2,3}$", "x", "begins"},
                           {"\\d{3}-\\w\\s", "123-_ ", "yes"},
                           {"[\\d.]+", "1.2", "yes"},
                           {".", "é", "yes"},
                           {".", "\xC3", "begins"},
                           {".", "\n", "no"},
                           {"[à-ü]", "é", "yes"},
                           {"[à-ü]", "e", "no"},
                           {"\\u{1F600}|\\uD83D\\uDE00x", "😀x", "yes"},
                           {"[^x]", "😀", "yes"},
                           {"a(?:b|(?<name>c))*?d", "abcd", "yes"},
                           {"a|^b$|c", "b", "yes"},
                           {"a$b|c", "a", "no"},
                           {"a$b|c", "c", "yes"},
                           {"x*(^a|b)", "a", "yes"},
                           {"x*(^a|b)", "xa", "no"},
                           {"x*(^a|b)", "xb", "yes"},
                           {"\\x41\\.\\/[\\]\\-]", "A./]", "yes"}});
  for (const auto& [source, word] :
       std::initializer_list<std::pair<const char*, const char*>>{{"(a", "no ')'"},
                                                                  {"a)", "without its '('"},
                                                                  {"[a", "no ']'"},
                                                                  {"a{3,1}", "out of order"},
                                                                  {"a**", "quantifier"},
                                                                  {"*a", "nothing to repeat"},
                                                                  {"(?=a)b", "look-ahead"},
                                                                  {"(?<!a)b", "look-behind"},
                                                                  {"(a)\\1", "back ref"},
                                                                  {"\\bx", "word bound"},
                                                                  {"\\p{L}", "\\p"},
                                                                  {"[b-a]", "out of order"},
                                                                  {"\\", "ends with"},
                                                                  {"a{1000000}", "100000"},
                                                                  {"(?i:a)", "flags"},
                                                                  {"(((a{999}){999}){999})", "too large"},
                                                                  {"\xFF", "UTF-8"},
                                                                  {"a$b", "no text at all"},
                                                                  {"(a|aa){90000}", "too large"}})
    EXPECT_NE(refusal(Language::kRegex, source).find(word), std::string::npos)
        << source << ": " << refusal(Language::kRegex, source);
}

TEST(GrammarSources, Gbnf) {
  const char* sums =
      "root ::= (expr \"=\" ws term \"\\n\")+\nexpr ::= term ([-+*/] term)*\n"
      "term ::= ident | num | \"(\" ws expr \")\" ws\nident ::= [a-z] [a-z0-9_]* ws\nnum ::= [0-9]+ ws\n"
      "ws ::= [ \\t\\n]*\n";
  check(Language::kGbnf, {{"root ::= \"a\" | \"b\" root # right recursion\n", "bba", "yes"},
                          {"root ::= \"a\" | \"b\" root", "bb", "begins"},
                          {"root ::= x\n  | \"c\"\nx ::= ( \"a\"\n  \"b\" )?", "ab", "yes"},
                          {"root ::= x\n  | \"c\"\nx ::= ( \"a\"\n  \"b\" )?", "", "yes"},
                          {"root ::= x\n  | \"c\"\nx ::= ( \"a\"\n  \"b\" )?", "c", "yes"},
                          {"root ::= \"(\" root \")\" | \"\"", "((()))", "yes"},
                          {"root ::= \"(\" root \")\" | \"\"", "((())", "begins"},
                          {"root ::= \"(\" root \")\" | \"\"", "())", "no"},
                          {"root ::= [^\\x00-\\x1F\"]{2,4}", "aé", "yes"},
                          {"root ::= [\\u00e0-\\u00fc\\]]+", "é]", "yes"},
                          {"root ::= .", "ö", "yes"},
                          {"root ::= a a a\na ::= \"x\"?", "xx", "yes"},
                          {sums, "(a+1)=b\n", "yes"},
                          {sums, "((a+1)=b\n", "no"},
                          {sums, "x*(y -2)= 7\n", "yes"}});
  // a^n (b|c)^n: every a doubles the ways to go on, but not the work
  const char* twice = "root ::= \"a\" root \"b\" | \"a\" root \"c\" | \"\"";
  check(Language::kGbnf,
        {{twice, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaabcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbcbc", "yes"}});
  for (const auto& [source, word] : std::initializer_list<std::pair<const char*, const char*>>{
           {"root ::= root \"a\" | \"b\"", "begins with itself"},
           {"root ::= x root \"a\" | \"b\"\nx ::= \"c\"?", "begins with itself"},
           {"root ::= a\na ::= b\nb ::= a | \"x\"", "begins with itself"},
           {"root ::= x", "'x' is not defined"},
           {"x ::= \"a\"", "'root' is not defined"},
           {"root ::= \"a", "closing quote"},
           {"root ::= [a", "no ']'"},
           {"root ::= (\"a\"", "no ')'"},
           {"root ::= \"a\" root", "no text at all"},
           {"root ::= <|end|>", "tokens"},
           {"root ::= \"a\"\nroot ::= \"b\"", "twice"},
           {"root = \"a\"", "::="},
           {"root ::= \"a\\q\"", "escape"},
           {"root ::= \"a\"{2,1}", "out of order"},
           {"root ::= *", "not expected"}})
    EXPECT_NE(refusal(Language::kGbnf, source).find(word), std::string::npos)
        << source << ": " << refusal(Language::kGbnf, source);
}

TEST(GrammarSources, Choices) {
  check(Language::kChoice, {{R"(["yes", "no", "not"])", "no", "yes"},
                            {R"(["yes", "no", "not"])", "not", "yes"},
                            {R"(["yes", "no", "not"])", "ye", "begins"},
                            {R"(["yes", "no", "not"])", "maybe", "no"}});
  EXPECT_NE(refusal(Language::kChoice, "[]").find("at least one"), std::string::npos);
  EXPECT_NE(refusal(Language::kChoice, "[1]").find("strings"), std::string::npos);
}

TEST(GrammarSources, ToolCallsInText) {
  const std::string tools =
      R"({"tools": [{"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}},
                    {"name": "stop", "parameters": {"type": "object", "properties": {}}}], "parallel": true, "text": )";
  const std::string add = "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1}}\n</tool_call>";
  const std::string stop = "<tool_call>\n{\"name\": \"stop\", \"arguments\": {}}\n</tool_call>";
  const auto with_text = tools + "true}", calls_only = tools + "false}";
  check(Language::kTools, {{with_text.c_str(), "No call <tool<tool_cal", "yes"},
                           {with_text.c_str(), ("Well: " + add).c_str(), "yes"},
                           {with_text.c_str(), ("<" + add + "\n" + stop).c_str(), "yes"},
                           {with_text.c_str(), (add + "x").c_str(), "no"},
                           {with_text.c_str(), "a <tool_call>x", "no"},
                           {with_text.c_str(), "a <tool_call>", "begins"},
                           {calls_only.c_str(), "a", "no"},
                           {calls_only.c_str(), (stop + "\n" + add).c_str(), "yes"},
                           {calls_only.c_str(), "<tool_call>\n{\"name\": \"sub", "no"}});
}

TEST(GrammarSources, EndsWhereNothingCanFollow) {
  static const Tokenizer tokenizer = test::word_tokenizer({"ab", "abc"});
  GrammarCache cache(tokenizer);
  Matcher matcher(*cache.get(Language::kRegex, "ab|abab"));
  EXPECT_FALSE(matcher.may_end());
  EXPECT_TRUE(matcher.accept(TokenId{256}));
  EXPECT_TRUE(matcher.may_end());
  EXPECT_FALSE(matcher.must_end());
  TokenMask mask;
  ASSERT_TRUE(matcher.next(mask));
  const TokenId end = 259, bos = 258;
  EXPECT_TRUE(allows(mask, end));
  EXPECT_FALSE(allows(mask, bos));
  EXPECT_FALSE(allows(mask, 257));
  EXPECT_FALSE(matcher.accept(bos));
  EXPECT_TRUE(matcher.accept(TokenId{256}));
  EXPECT_TRUE(matcher.must_end());
}

}  // namespace
}  // namespace onebit::grammar
