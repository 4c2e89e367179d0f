// The log: lines there and back, what is none of ours, and what a kill leaves.
#include "burnin/log.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <fstream>

#include "eval/line_log.h"
#include "tests/support/temp_folder.h"

namespace onebit::burnin {
namespace {

std::string contents(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

Round any_round() {
  Round r;
  r.number = *rc::gen::inRange<uint64_t>(0, uint64_t{1} << 40);
  r.time = static_cast<double>(*rc::gen::inRange<int64_t>(1500000000000, 2500000000000)) / 1000;
  r.prompt = "prompt-" + std::to_string(*rc::gen::inRange(0, 99));
  r.verdict = static_cast<Verdict>(*rc::gen::inRange<size_t>(0, kVerdicts));
  r.a_ms = *rc::gen::inRange(0, 1000000) / 8.0;
  r.b_ms = *rc::gen::inRange(0, 1000000) / 8.0;
  r.bytes = *rc::gen::inRange<uint64_t>(0, 10000);
  r.prefix = *rc::gen::inRange<uint64_t>(0, 10000);
  if (r.verdict == Verdict::kPrefixOnly || r.verdict == Verdict::kNoMatch) {
    const auto text = rc::gen::container<std::string>(rc::gen::inRange<char>(1, 127));
    r.a_text = *text;
    r.b_text = *text;
    r.divergence = Divergence{7, {*text, -0.1f}, {*text, -0.5}};
  }
  return r;
}

RC_GTEST_PROP(BurninLog, ARoundComesBackFromItsLine, ()) {
  const auto round = any_round();
  const auto back = parse_line(to_line(round));
  RC_ASSERT(back);
  RC_ASSERT(back->number == round.number && back->verdict == round.verdict && back->prompt == round.prompt);
  RC_ASSERT(back->time == round.time && back->a_ms == round.a_ms && back->b_ms == round.b_ms);
  RC_ASSERT(back->a_text == round.a_text.substr(0, 400) && back->b_text == round.b_text.substr(0, 400));
  RC_ASSERT(back->divergence.has_value() == round.divergence.has_value());
  if (round.divergence) RC_ASSERT(back->divergence->a.logprob == round.divergence->a.logprob);
}

RC_GTEST_PROP(BurninLog, NothingElseIsARound, ()) {
  auto line = to_line(any_round());
  const auto at = *rc::gen::inRange<size_t>(0, line.size());
  line.resize(at);  // any beginning of a line
  RC_ASSERT(!parse_line(line));
}

TEST(BurninLog, WhatATextSaysIsNoField) {
  Round round;
  round.prompt = "p";
  round.verdict = Verdict::kNoMatch;
  round.a_text = R"(","verdict":"exact","a_ms":1)";
  const auto back = parse_line(to_line(round));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->verdict, Verdict::kNoMatch);
  EXPECT_EQ(back->a_text, round.a_text);
}

/// A log cut at any byte keeps every round before the cut, and the next goes after them.
RC_GTEST_PROP(BurninLog, CutAnywhereItGoesOn, ()) {
  const test::TempFolder folder;
  const auto path = folder.path("log");
  const auto count = *rc::gen::inRange<uint64_t>(1, 6);
  {
    auto log = LineLog::open(path, kLineBegins);
    RC_ASSERT(log);
    for (uint64_t i = 0; i < count; ++i) {
      auto round = any_round();
      round.number = i;
      RC_ASSERT(log->append(to_line(round)));
    }
  }
  const auto whole = contents(path);
  const auto cut = *rc::gen::inRange<size_t>(0, whole.size() + 1);
  write(path, whole.substr(0, cut));
  const auto kept = static_cast<uint64_t>(std::count(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(cut), '\n'));
  {
    auto log = LineLog::open(path, kLineBegins);
    RC_ASSERT(log);
    RC_ASSERT(next_round(path) == kept);
    auto round = any_round();
    round.number = kept;
    RC_ASSERT(log->append(to_line(round)));
  }
  std::vector<uint64_t> numbers;
  const auto read = read_log(path, 0, [&](const RoundNumbers& r, std::string_view) { numbers.push_back(r.number); });
  RC_ASSERT(read && read->damaged == 0 && numbers.size() == kept + 1);
  for (uint64_t i = 0; i < numbers.size(); ++i) RC_ASSERT(numbers[i] == i);
}

TEST(BurninLog, IsOfOneWriterAtATime) {
  const test::TempFolder folder;
  const auto first = LineLog::open(folder.path("log"), kLineBegins);
  ASSERT_TRUE(first);
  const auto second = LineLog::open(folder.path("log"), kLineBegins);
  ASSERT_FALSE(second);
  EXPECT_NE(second.error().message.find("another process"), std::string::npos);
  EXPECT_FALSE(LineLog::open(folder.path("absent/log"), kLineBegins));
  EXPECT_FALSE(LineLog::open("/dev/null", kLineBegins));
}

TEST(BurninLog, AnotherFileIsLeftAsItIs) {
  const test::TempFolder folder;
  for (const char* text : {"notes without an end", "notes\nmore", "\n", "{\"roun\n"}) {
    write(folder.path("log"), text);
    EXPECT_FALSE(LineLog::open(folder.path("log"), kLineBegins)) << text;
    EXPECT_EQ(contents(folder.path("log")), text);
  }
}

TEST(BurninLog, NumbersThatCannotBeAreDamage) {
  for (const char* time : {"nan", "inf", "1e300", "-1"})
    EXPECT_FALSE(parse_line(fmt::format(
        R"({{"round":1,"time":{},"prompt":"p","verdict":"exact","a_ms":1,"b_ms":1,"bytes":1,"prefix":1}})", time)))
        << time;
}

TEST(BurninLog, LinesThatAreNoneOfOursAreCountedAndLeftOut) {
  const test::TempFolder folder;
  Round round;
  round.prompt = "p";
  write(folder.path("log"), "{}\n" + to_line(round) + "\n\n" + std::string(5000, 'x') + "\n");
  uint64_t rounds = 0;
  const auto read = read_log(folder.path("log"), 0, [&](const RoundNumbers&, std::string_view) { ++rounds; });
  ASSERT_TRUE(read);
  EXPECT_EQ(rounds, 1u);
  EXPECT_EQ(read->damaged, 3u);
  write(folder.path("long"), std::string(2 << 20, 'x'));
  EXPECT_FALSE(read_log(folder.path("long"), 0, [](const RoundNumbers&, std::string_view) {}));
}

}  // namespace
}  // namespace onebit::burnin
