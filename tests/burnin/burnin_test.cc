// Prompts, replies and statistics.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "burnin/prompts.h"
#include "burnin/reply.h"
#include "burnin/stats.h"
#include "tests/support/temp_folder.h"

namespace onebit::burnin {
namespace {

using nlohmann::json;

TEST(BurninPrompts, TheBuiltInOnesAreOfManyKinds) {
  const auto prompts = builtin_prompts();
  std::set<std::string> kinds;
  for (const auto& prompt : prompts) kinds.insert(prompt.kind);
  EXPECT_GE(prompts.size(), 60u);
  EXPECT_GE(kinds.size(), 30u);
  for (const char* kind :
       {"code", "reasoning", "arithmetic", "long context", "other scripts", "stop strings", "chat history"})
    EXPECT_TRUE(kinds.contains(kind)) << kind;
}

TEST(BurninPrompts, AVariantIsTheSameEveryTimeAndUnlikeOthers) {
  for (const auto& prompt : builtin_prompts()) {
    const auto first = render(prompt, 3);
    EXPECT_EQ(first, render(prompt, 3)) << prompt.id;
    EXPECT_TRUE(json::accept(first)) << prompt.id;
    EXPECT_EQ(first.find("{n}"), std::string::npos) << prompt.id;
    EXPECT_EQ(first.find("{text}"), std::string::npos) << prompt.id;
    const bool varies = prompt.request.find("{n}") != std::string::npos;
    EXPECT_TRUE(!varies || first != render(prompt, 4)) << prompt.id;
  }
}

TEST(BurninPrompts, LimitsAndLogprobsGoIntoTheRequest) {
  const auto prompts = parse_prompts(
      R"({"id":"c","kind":"k","messages":[{"role":"user","content":"{n} {a} {text}"}],"max_tokens":9,"text":"ab","text_times":3}
{"id":"p","kind":"k","prompt":"x","temperature":0.5})",
      "test");
  ASSERT_TRUE(prompts) << prompts.error().message;
  const auto chat = json::parse(render((*prompts)[0], 5, {4, true}));
  EXPECT_EQ(chat["max_tokens"], 4);
  EXPECT_EQ(chat["logprobs"], true);
  EXPECT_EQ(chat["temperature"], 0);
  const auto content = chat["messages"][0]["content"].get<std::string>();
  EXPECT_TRUE(content.starts_with("5 ")) << content;
  EXPECT_TRUE(content.ends_with(" ababab")) << content;
  const auto completion = json::parse(render((*prompts)[1], 5, {0, true}));
  EXPECT_EQ(completion["logprobs"], 0);
  EXPECT_EQ(completion["seed"], 5) << "what is drawn must be drawn alike";
}

TEST(BurninPrompts, FaultsAreNamedWithTheirLine) {
  for (const auto& [lines, reason] : std::vector<std::pair<const char*, const char*>>{
           {"[]", "f: line 1: is not a JSON object"},
           {"\n{\"id\":\"a\",\"kind\":\"k\"}", "f: line 2: has neither messages nor prompt"},
           {R"({"id":"a\"b","kind":"k","prompt":"x"})",
            "f: line 1: id must be a text of at most 200 bytes without quotes or backslashes"},
           {"{\"id\":\"a\",\"kind\":\"k\",\"prompt\":1}\n{\"id\":\"a\",\"kind\":\"k\",\"prompt\":1}",
            "f: line 2: the id 'a' is taken"},
           {R"({"id":"a","kind":"k","prompt":"x","text_times":-1})",
            "f: line 1: text_times must be a number up to 100000"}}) {
    const auto prompts = parse_prompts(lines, "f");
    ASSERT_FALSE(prompts) << lines;
    EXPECT_EQ(prompts.error().message, reason);
  }
}

std::string completion(const std::string& text, const std::string& finish = "stop") {
  return json{{"choices", {{{"text", text}, {"finish_reason", finish}}}}}.dump();
}

TEST(BurninReply, VerdictsAreByBytes) {
  const auto verdict = [](const std::string& a, const std::string& b) {
    return compare(*parse_reply(a), *parse_reply(b));
  };
  EXPECT_EQ(verdict(completion("abc"), completion("abc")).verdict, Verdict::kExact);
  EXPECT_EQ(verdict(completion(""), completion("")).verdict, Verdict::kExact);
  const auto begun_alike = verdict(completion("abcd"), completion("abX"));
  EXPECT_EQ(begun_alike.verdict, Verdict::kPrefixOnly);
  EXPECT_EQ(begun_alike.prefix, 2u);
  EXPECT_EQ(verdict(completion("abc"), completion("abcd")).verdict, Verdict::kPrefixOnly);
  EXPECT_EQ(verdict(completion("abc"), completion("xbc")).verdict, Verdict::kNoMatch);
  EXPECT_EQ(verdict(completion("abc"), completion("")).verdict, Verdict::kNoMatch);
  EXPECT_EQ(verdict(completion("abc"), completion("abc", "length")).verdict, Verdict::kPrefixOnly);
}

TEST(BurninReply, LogprobsSayWhereTwoPartAndCount) {
  const auto chat = [](double second) {
    return json{{"choices",
                 {{{"message", {{"content", "a b"}}},
                   {"finish_reason", "stop"},
                   {"logprobs",
                    {{"content", {{{"token", "a"}, {"logprob", -1.5}}, {{"token", " b"}, {"logprob", second}}}}}}}}}}
        .dump();
  };
  EXPECT_EQ(compare(*parse_reply(chat(-2)), *parse_reply(chat(-2))).verdict, Verdict::kExact);
  const auto different = compare(*parse_reply(chat(-2)), *parse_reply(chat(-2.0000001)));
  EXPECT_EQ(different.verdict, Verdict::kPrefixOnly) << "the same text, another last bit";
  ASSERT_TRUE(different.divergence);
  EXPECT_EQ(different.divergence->token, 1u);
  EXPECT_EQ(different.divergence->a.token, " b");
  EXPECT_EQ(compare(*parse_reply(chat(-2)), *parse_reply(completion("a b"))).verdict, Verdict::kExact)
      << "a side that gives none is compared by its text";
  EXPECT_EQ(compare(*parse_reply(chat(-2)), *parse_reply(completion("a b")), true).verdict, Verdict::kPrefixOnly)
      << "but not where they were asked for";
}

TEST(BurninReply, WhatIsNoAnswerIsAnError) {
  for (const char* body : {"", "[]", "{}", R"({"choices":[]})", R"({"choices":{}})", R"({"choices":[1]})",
                           R"({"choices":[{}]})", R"({"choices":[{"text":null}]})"})
    EXPECT_FALSE(parse_reply(body)) << body;
  const auto refusal = parse_reply(R"({"error":{"message":"too long"}})");
  ASSERT_FALSE(refusal);
  EXPECT_EQ(refusal.error().message, "too long");
  EXPECT_TRUE(parse_reply(R"({"choices":[{"logprobs":{"content":[1,{"logprob":"x"}]},"text":""}]})"));
  const auto two = [](const char* first, const char* second) {
    return *parse_reply(json{{"choices", {{{"text", first}}, {{"text", second}}}}}.dump());
  };
  EXPECT_NE(compare(two("a", "b"), two("", "ab")).verdict, Verdict::kExact) << "choice by choice";
}

TEST(BurninStats, QuantilesAreWithinOnePercent) {
  LatencyHistogram h;
  EXPECT_EQ(h.quantile(0.5), 0);
  for (int i = 1; i <= 1000; ++i) h.add(i);
  EXPECT_NEAR(h.quantile(0.5), 500, 5);
  EXPECT_NEAR(h.quantile(0.95), 950, 9.5);
  h.add(0);
  h.add(1e12);  // beyond its ends
  EXPECT_GT(h.quantile(1), 1e5);
}

TEST(BurninStats, WhatALogSays) {
  const test::TempFolder folder;
  std::ofstream out(folder.path("log"));
  for (uint64_t i = 0; i < 100; ++i) {
    Round round;
    round.number = i;
    round.time = 1.8e9 + 60 * static_cast<double>(i);
    round.prompt = i % 2 == 0 ? "even" : "odd";
    round.a_ms = 10;
    round.b_ms = 20;
    round.verdict = i == 7 || i == 9 ? Verdict::kPrefixOnly
                    : i == 8         ? Verdict::kNoMatch
                    : i == 10        ? Verdict::kBUnreachable
                                     : Verdict::kExact;
    round.prefix = i;
    out << to_line(round) << "\n";
  }
  out.close();
  const auto stats = read_stats(folder.path("log"));
  ASSERT_TRUE(stats) << stats.error().message;
  EXPECT_EQ(stats->rounds, 100u);
  EXPECT_EQ(stats->misses(), 3u);
  EXPECT_EQ(stats->unreachable(), 1u);
  EXPECT_DOUBLE_EQ(stats->exact_rate(), 96.0 / 99.0);
  EXPECT_EQ(stats->median_prefix(), 8u);
  EXPECT_EQ(stats->drifting(), (std::vector<std::string>{"odd", "even"}));
  EXPECT_EQ(stats->prompts.at("odd").last_miss->number, 9u);
  EXPECT_NEAR(stats->b.quantile(0.5) - stats->a.quantile(0.5), 10, 0.3);
  EXPECT_EQ(stats->hours.size(), 2u);
  const auto later = read_stats(folder.path("log"), 1.8e9 + 60 * 50);
  EXPECT_EQ(later->rounds, 50u);
  EXPECT_EQ(recent(folder.path("log"), 3)->front().number, 97u);
  const auto as_json = json::parse(to_json(*stats));
  EXPECT_EQ(as_json["exact"], 96);
  EXPECT_EQ(as_json["drift"][0]["prompt"], "odd");
}

TEST(BurninStats, TimesThatPeopleWrite) {
  constexpr double kNow = 1.8e9;
  EXPECT_EQ(*parse_when("90m", kNow), kNow - 5400);
  EXPECT_EQ(*parse_when("24h", kNow), kNow - 86400);
  EXPECT_EQ(*parse_when("1.5d", kNow), kNow - 129600);
  EXPECT_EQ(*parse_when("1970-01-02", kNow), 86400);
  EXPECT_EQ(*parse_when("1970-01-01T01:00", kNow), 3600);
  for (const char* wrong : {"", "x", "24", "-5h", "2026-13-40x", "h"}) EXPECT_FALSE(parse_when(wrong, kNow)) << wrong;
}

}  // namespace
}  // namespace onebit::burnin
