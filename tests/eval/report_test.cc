#include "eval/report.h"

#include <gtest/gtest.h>

#include <regex>

#include "tests/eval/sound_record.h"

namespace onebit {
namespace {

using nlohmann::json;

constexpr const char* kOtherCommit = "fedcba9876543210fedcba9876543210fedcba98";

Record sound(const json& record) {
  auto parsed = parse_record(record.dump(), record["name"].get<std::string>() + ".json");
  EXPECT_TRUE(parsed.has_value()) << parsed.error().message;
  return std::move(*parsed);
}

ReportInput input_of(std::vector<Record> records) {
  ReportInput input;
  input.records = std::move(records);
  input.records_link = "records";
  input.tests_link = "full.json";
  return input;
}

const ReportRow& row(const Report& report, std::string_view metric) {
  static const ReportRow kNone;
  for (const auto& row : report.rows)
    if (row.metric == metric) return row;
  ADD_FAILURE() << "there is no row " << metric;
  return kNone;
}

bool holds(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

json burn_in() {
  auto record = test::sound_record("burnin");
  record["results"] = json::parse(R"({"rounds": 100000, "exact": 99999, "exact_rate": 0.99999, "pairs": [
    {"name": "gen1_gen2", "a": "gen-1", "b": "gen-2", "rounds": 100000, "exact": 99999, "prefix_only": 1, "no_match": 0,
     "a_unreachable": 0, "b_unreachable": 0, "exact_rate": 0.99999, "prompts": 40, "a_ms": {"p50": 300, "p95": 400},
     "b_ms": {"p50": 30, "p95": 40}, "hours": [{"date": "2026-01-31T12", "rounds": 50000, "exact": 50000},
     {"date": "2026-01-31T13", "rounds": 50000, "exact": 49999}]}]})");
  return record;
}

TEST(Report, WithoutRecordsEveryRowSaysWhatToRunAndNothingElse) {
  const auto report = build_report(input_of({}));
  for (const auto& row : report.rows) {
    EXPECT_TRUE(row.value.starts_with("missing: ")) << row.metric << ": " << row.value;
    EXPECT_TRUE(row.figures.empty());
    EXPECT_FALSE(row.source.has_value());
  }
  for (const auto& section : report.sections)
    EXPECT_TRUE(section.rows.empty() && section.note.empty()) << section.title;
  const auto markdown = report_markdown(report), html = report_html(report);
  EXPECT_TRUE(holds(markdown, "missing: run benchmarks/bench.sh"));
  EXPECT_TRUE(holds(markdown, "missing: run benchmarks/shadow-burnin.sh"));
  EXPECT_TRUE(holds(markdown, "missing: run ./run-tests --full"));
  EXPECT_FALSE(std::regex_search(markdown, std::regex("[0-9] (tok/s|MB|ms|%)")));
  EXPECT_TRUE(holds(html, "missing: run benchmarks/roofline.sh"));
  EXPECT_FALSE(holds(html, "<svg"));
}

TEST(Report, FiguresCarryUnitSpreadAndSource) {
  const auto report = build_report(input_of({sound(test::sound_record("bench"))}));
  const auto& decode = row(report, "decode after 64 positions");
  EXPECT_EQ(decode.value, "12.2 tok/s (11.0 to 13.0 in 5 rounds)");
  ASSERT_TRUE(decode.source.has_value());
  EXPECT_EQ(decode.source->link, "records/bench.json");
  EXPECT_EQ(decode.source->stale, "");
  EXPECT_TRUE(holds(decode.source->description,
                    "Some Processor, 16 cores, Linux 6.18, governor performance, power profile "
                    "balanced, 62 °C, 2026-01-31, commit 0123456789ab"));
  EXPECT_EQ(row(report, "decode after 1024 positions").value, "10.5 tok/s");
}

TEST(Report, ARecordThatDoesNotStateTheMetricIsMissingToo) {
  auto record = test::sound_record("bench");
  record["metrics"] = json::array();
  const auto report = build_report(input_of({sound(record)}));
  EXPECT_TRUE(row(report, "decode after 64 positions").value.starts_with("missing: run benchmarks/bench.sh"));
}

TEST(Report, OtherCommitsAndMachinesAreStale) {
  auto old = test::sound_record("bench"), elsewhere = test::sound_record("ppl-gen2"),
       newest = test::sound_record("roofline");
  old["commit"] = kOtherCommit;
  elsewhere["machine"]["cpu"] = "Another";
  elsewhere["metrics"][0]["metric"] = "perplexity_gen2";
  newest["date"] = "2026-02-01T12:00:00Z";
  auto input = input_of({sound(old), sound(elsewhere), sound(newest)});
  input.stages = {{"release", kOtherCommit, "2026-01-01T00:00:00Z", 10, 1, 2},
                  {"asan", std::string(40, '0'), "2026-01-01T00:00:00Z", 5, 0, 0}};
  const auto report = build_report(input);
  EXPECT_EQ(row(report, "decode after 64 positions").source->stale, "commit fedcba987654, not 0123456789ab");
  EXPECT_EQ(row(report, "perplexity, gen-2 (production engine)").source->stale, "another machine");
  EXPECT_EQ(row(report, "tests").value, "15 passed, 1 failed (release), 2 skipped");
  EXPECT_EQ(row(report, "tests").source->stale, "2 of 2 stages of other commits");
  EXPECT_TRUE(holds(report_markdown(report), "**stale** (commit fedcba987654, not 0123456789ab)"));
  EXPECT_TRUE(holds(report_html(report), "stale: another machine"));

  input.base = ReportBase{"fedcba987654", "", "Some Processor", 16};  // as a program knows its own
  EXPECT_EQ(row(build_report(input), "decode after 64 positions").source->stale, "");
  input.base->cores = 8;
  EXPECT_EQ(row(build_report(input), "decode after 64 positions").source->stale, "another machine");
}

TEST(Report, BurnInIsNeverRoundedUp) {
  const auto report = build_report(input_of({sound(burn_in())}));
  EXPECT_EQ(row(report, "burn-in, exact answers").value, "99.99 % (99999 of 100000 rounds)");
  auto starved = burn_in();
  starved["results"]["rounds"] = 100002;
  starved["results"]["unreachable"] = 2;
  EXPECT_EQ(row(build_report(input_of({sound(starved)})), "burn-in, exact answers").value,
            "99.99 % (99999 of 100000 rounds; 2 more not answered by both)");
  const auto html = report_html(report);
  EXPECT_TRUE(holds(html, "aria-label=\"Burn-in over time\""));
  EXPECT_TRUE(holds(html, "gen1_gen2"));
}

TEST(Report, Gen1IsTheReferenceConfigurationOrItsDifference) {
  auto record = test::sound_record("ppl-gen2");
  record["metrics"] = json::parse(R"([{"metric": "delta_nll", "value": 0, "unit": "nats", "spread": null}])");
  record["results"] = {{"windows_by_both", 8}};
  constexpr auto kRow = "perplexity, gen-1 (reference engine)";
  EXPECT_EQ(row(build_report(input_of({sound(record)})), kRow).value, "0 nats from gen-2 at most, in 8 windows");
  record["results"]["configurations"] =
      json::parse(R"([{"kv": "f16", "head": "stored", "packing": "t2", "engine": "cpu",
    "windows": 2, "token_perplexity": 70.5, "nll_sum": 1}, {"kv": "f16", "head": "stored", "packing": "t2",
    "engine": "reference", "windows": 2, "token_perplexity": 70.25, "nll_sum": 1}])");
  const auto report = build_report(input_of({sound(record)}));
  EXPECT_EQ(row(report, kRow).value, "70.2500 in 2 windows of it (f16 KV), 0 nats from gen-2 at most there");
  EXPECT_TRUE(holds(report_markdown(report), "| reference | t2 | f16 | stored | 2 | 70.2500 | 1.0000 |"));
  EXPECT_TRUE(holds(report_html(report), "reference, t2, f16 KV, stored head"));
}

TEST(Report, TextsOfARecordAreNoMarkup) {
  const std::string hostile = "<script>alert(1)</script>|`*\"'&";
  auto record = test::sound_record("bench");
  for (const char* field : {"cpu", "kernel", "governor", "gpu", "power_profile"}) record["machine"][field] = hostile;
  record["model"]["name"] = hostile;
  record["metrics"][0]["unit"] = hostile;
  record["results"] = json::parse(R"([{"name": "decode", "n_depth": 64, "n_batch": 1, "tokens_s": 3}])");
  for (const char* field : {"packing", "kv"}) record["results"][0][field] = hostile + "\n";
  auto burn = burn_in();
  for (const char* field : {"name", "a", "b"}) burn["results"]["pairs"][0][field] = hostile;
  burn["results"]["pairs"][0]["hours"][0]["date"] = "<b>";
  const auto report = build_report(input_of({sound(record), sound(burn)}));
  const auto html = report_html(report), markdown = report_markdown(report);
  EXPECT_FALSE(holds(html, "<script"));
  EXPECT_FALSE(holds(html, "<b>"));
  EXPECT_TRUE(holds(html, "&lt;script&gt;alert(1)&lt;/script&gt;"));
  EXPECT_FALSE(holds(markdown, "<script"));
  EXPECT_FALSE(holds(markdown, "</script>|"));
  EXPECT_TRUE(json::parse(report_json(report)).is_object());
}

TEST(Report, ResultsOfAnyShapeAreSurvived) {
  for (const char* results :
       {"null", "3", "[]", "{}", "[[[]]]", "[3, null, \"x\"]", R"({"pairs": 3, "medians": [1], "rounds": "x"})",
        R"({"pairs": [3, {"hours": [{"date": 5, "rounds": 0, "exact": -1}]}], "configurations": {"a": 1}})",
        R"([{"name": "decode", "n_depth": 1e300, "tokens_s": -1e300, "token_fraction": 1e308, "seen": ["x"]}])"}) {
    std::vector<Record> records;
    for (const char* name : {"attn_fd", "bench", "burnin", "burnin-peer", "burnin-stats", "contract_cost", "lookup",
                             "peers", "ppl-gen2", "roofline", "server", "soak", "startup", "voice"}) {
      auto record = test::sound_record(name);
      record["results"] = json::parse(results);
      records.push_back(sound(record));
    }
    const auto report = build_report(input_of(std::move(records)));
    for (const auto& text : {report_markdown(report), report_html(report), report_json(report)}) {
      EXPECT_FALSE(text.empty());
      EXPECT_FALSE(holds(text, "nan")) << results;
    }
  }
}

TEST(Report, AFolderWithSpacesIsLinked) {
  auto input = input_of({sound(test::sound_record("bench"))});
  input.records_link = "../my (own) records";
  EXPECT_EQ(row(build_report(input), "decode after 64 positions").source->link,
            "../my%20%28own%29%20records/bench.json");
}

}  // namespace
}  // namespace onebit
