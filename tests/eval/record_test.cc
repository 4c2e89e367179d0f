#include "eval/record.h"

#include <gtest/gtest.h>

#include "tests/eval/sound_record.h"
#include "tests/support/expect_error.h"
#include "tests/support/temp_folder.h"

namespace onebit {
namespace {

using nlohmann::json;
using test::expect_error;

Result<Record> parse(const json& record) {
  return parse_record(record.dump(), "some/bench.json");
}

TEST(Record, IsReadWithEveryField) {
  const auto record = parse(test::sound_record("bench"));
  ASSERT_TRUE(record.has_value()) << record.error().message;
  EXPECT_EQ(record->machine.cores, 16u);
  EXPECT_EQ(record->machine.gpu, std::nullopt);
  EXPECT_EQ(record->machine.power_profile, "balanced");
  EXPECT_EQ(record->model_name, "some model");
  ASSERT_NE(record->metric("decode_t1_6_f16_64"), nullptr);
  EXPECT_EQ(record->metric("decode_t1_6_f16_64")->spread->rounds, 5u);
  EXPECT_EQ(record->metric("absent"), nullptr);
}

TEST(Record, OlderOnesDoNotSayHowWarmTheGpuWas) {
  auto record = test::sound_record("bench");
  ASSERT_FALSE(record["machine"].contains("gpu_temperature_c"));
  EXPECT_EQ(parse(record)->machine.gpu_temperature_c, std::nullopt);
  record["machine"]["gpu_temperature_c"] = nullptr;
  EXPECT_EQ(parse(record)->machine.gpu_temperature_c, std::nullopt);
  record["machine"]["gpu_temperature_c"] = 55.5;
  EXPECT_EQ(parse(record)->machine.gpu_temperature_c, 55.5);
}

TEST(Record, EveryFieldMustBeThere) {
  const auto sound = test::sound_record("bench").flatten();
  for (const auto& [pointer, value] : sound.items()) {
    if (pointer == "/results") continue;  // flatten's form of the empty array
    auto record = test::sound_record("bench");
    const json::json_pointer place(pointer);
    if (place.back().find_first_not_of("0123456789") == std::string::npos) continue;
    record[place.parent_pointer()].erase(place.back());
    expect_error(parse(record), {"some/bench.json: ", place.back(), "is missing"});
  }
}

TEST(Record, EachFaultIsNamed) {
  struct Case {
    const char* pointer;
    json value;
    const char* said;
  };
  const std::vector<Case> cases{
      {"/schema", 2, "schema: expected 1"},
      {"/schema", "1", "schema: expected 1"},
      {"/name", "other", "name: expected the file's name"},
      {"/name", "../x", "name: '../x', expected a-z"},
      {"/command", 7, "command: expected a text"},
      {"/command", "a\nb", "command: expected a text"},
      {"/command", std::string(401, 'x'), "command: expected a text"},
      {"/commit", "HEAD", "commit: 'HEAD', expected 7 to 40"},
      {"/dirty", 1, "dirty: expected true or false"},
      {"/date", "yesterday", "date: 'yesterday', expected a date"},
      {"/machine", nullptr, "machine: expected an object"},
      {"/machine/cores", -1, "machine.cores: expected a whole number"},
      {"/machine/cores", 1.5, "machine.cores: expected a whole number"},
      {"/machine/cpu", 3, "machine.cpu: expected a text"},
      {"/machine/caches", "big", "machine.caches: expected an array"},
      {"/machine/caches/0", 4, "machine.caches[0]: expected an object"},
      {"/machine/caches/0/bytes", "48K", "machine.caches[0].bytes: expected a number"},
      {"/machine/temperature_c", "warm", "machine.temperature_c: expected a number"},
      {"/machine/gpu_temperature_c", "warm", "machine.gpu_temperature_c: expected a number"},
      {"/model", "some", "model: expected an object"},
      {"/model/name", nullptr, "model.name: expected a text"},
      {"/metrics", json::object(), "metrics: expected an array"},
      {"/metrics/1", 3, "metrics[1]: expected an object"},
      {"/metrics/1/value", nullptr, "metrics[1].value: expected a number"},
      {"/metrics/1/metric", "De code", "metrics[1].metric: 'De code', expected"},
      {"/metrics/1/metric", "decode_t1_6_f16_64", "stands there twice"},
      {"/metrics/0/spread/low", 14, "metrics[0].spread.low: is above high"},
      {"/metrics/0/spread/rounds", 0, "metrics[0].spread.rounds: expected at least 1"},
  };
  for (const auto& c : cases) {
    auto record = test::sound_record("bench");
    record[json::json_pointer(c.pointer)] = c.value;
    expect_error(parse(record), {"some/bench.json: ", c.said});
  }
}

TEST(Record, HostileTextsAreRefused) {
  expect_error(parse_record("", "some/bench.json"), {"some/bench.json: ", "not valid JSON"});
  expect_error(parse_record("[]", "some/bench.json"), {"expected a JSON object"});
  expect_error(parse_record(std::string(100000, '['), "some/bench.json"), {"nested deeper"});
  expect_error(parse_record(R"({"schema": 1, "schema": 1})", "some/bench.json"), {"stands twice"});
  expect_error(parse_record(R"({"schema": 1e999})", "some/bench.json"), {"not valid JSON"});
  auto record = test::sound_record("bench");
  record["metrics"] = json(std::vector<int>(5000));
  expect_error(parse(record), {"metrics: more than 1000"});
}

TEST(Record, AFolderIsReadByName) {
  const test::TempFolder folder;
  for (const char* name : {"b", "a"})
    test::write_file(folder.path(std::string(name) + ".json"), test::sound_record(name).dump());
  test::write_file(folder.path("notes.txt"), "not a record");
  const auto records = read_records(folder.path());
  ASSERT_TRUE(records.has_value()) << records.error().message;
  ASSERT_EQ(records->size(), 2u);
  EXPECT_EQ(records->front().name, "a");
  test::write_file(folder.path("c.json"), "{}");
  expect_error(read_records(folder.path()), {"c.json: schema: is missing"});
  expect_error(read_records(folder.path("nothing")), {"nothing: cannot read the folder"});
}

TEST(Record, TheCommittedOnesAreSound) {
  const auto records = read_records(ONEBIT_SOURCE_DIR "/benchmarks/records");
  ASSERT_TRUE(records.has_value()) << records.error().message;
  EXPECT_FALSE(records->empty());
  const auto stages = read_test_stages(ONEBIT_SOURCE_DIR "/tests/records/full.json");
  ASSERT_TRUE(stages.has_value()) << stages.error().message;
  EXPECT_FALSE(stages->empty());
}

TEST(Record, TestStagesNameTheirFault) {
  expect_error(parse_test_stages(R"({"release": {"commit": "0123456", "date": "2026-01-31T12:00:00Z", "passed": -1}})",
                                 "full.json"),
               {"full.json: release.passed: expected a whole number"});
  expect_error(parse_test_stages(R"({"release": 3})", "full.json"), {"full.json: release: expected an object"});
  expect_error(parse_test_stages(R"({"<b>": {}})", "full.json"), {"full.json: stage '<b>'"});
}

}  // namespace
}  // namespace onebit
