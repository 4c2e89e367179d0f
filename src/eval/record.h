// Records of measurements: one JSON file each, written by benchmarks/*.sh. docs/records.md describes every field.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace onebit {

/// Lowest and highest of the rounds seen.
struct Spread {
  double low = 0, high = 0;
  uint64_t rounds = 0;
};

struct Metric {
  std::string name;
  double value = 0;
  std::string unit;  // as it is shown after the value: tok/s, GB/s, ms, bytes, ratio, …
  std::optional<Spread> spread;
};

/// Of the machine that was measured; what could not be read there is absent.
struct MachineFacts {
  std::optional<std::string> cpu, gpu, kernel, governor, power_profile;
  std::optional<uint64_t> cores, memory_bytes;
  std::optional<double> bandwidth_gb_s;  // read bandwidth as measured by the same benchmark
  // When the record was written: the hottest sensor of the processor, and of the GPUs, which older
  // records do not have.
  std::optional<double> temperature_c, gpu_temperature_c;
};

struct Record {
  std::string name;     // the file's, without .json
  std::string command;  // the script that wrote it, from the checkout's root
  std::string commit;   // 7 to 40 hexadecimal digits, or "unknown"
  bool dirty = false;   // the checkout had other changes
  std::string date;     // 2026-01-31T12:00:00Z
  MachineFacts machine;
  std::optional<std::string> model_name, model_hash;
  std::vector<Metric> metrics;
  std::shared_ptr<const nlohmann::json> results;  // never null; of any shape

  /// Null where the record does not state it.
  const Metric* metric(std::string_view wanted) const;
};

/// One stage of `./run-tests --full`, as tests/records/full.json holds it.
struct TestStage {
  std::string name, commit, date;
  uint64_t passed = 0, failed = 0, skipped = 0;
};

/// Largest record file that is read.
inline constexpr size_t kMaxRecordBytes = size_t{16} << 20;

/// `path` begins errors, which name the field at fault; its file name without .json is the name the record must have.
Result<Record> parse_record(std::string_view text, const std::string& path);
Result<Record> read_record(const std::string& path);
/// Every *.json of a folder, by name. A record that is not sound is an error.
Result<std::vector<Record>> read_records(const std::string& folder);

Result<std::vector<TestStage>> parse_test_stages(std::string_view text, const std::string& path);
Result<std::vector<TestStage>> read_test_stages(const std::string& path);

}  // namespace onebit
