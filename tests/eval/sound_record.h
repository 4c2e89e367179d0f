// A record with every field, for tests to spoil.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace onebit::test {

inline nlohmann::json sound_record(const std::string& name) {
  return nlohmann::json::parse(R"({"schema": 1, "command": "benchmarks/bench.sh",
    "commit": "0123456789abcdef0123456789abcdef01234567", "dirty": false, "date": "2026-01-31T12:00:00Z",
    "machine": {"cpu": "Some Processor", "cores": 16, "caches": [{"level": 1, "type": "Data", "bytes": 49152}],
      "memory_bytes": 137438953472, "bandwidth_gb_s": 201.5, "gpu": null, "kernel": "6.18", "governor": "performance",
      "temperature_c": 61.5, "power_profile": "balanced"},
    "model": {"name": "some model", "hash": null},
    "metrics": [{"metric": "decode_t1_6_f16_64", "value": 12.25, "unit": "tok/s", "spread": {"low": 11, "high": 13, "rounds": 5}},
      {"metric": "decode_t1_6_f16_1024", "value": 10.5, "unit": "tok/s", "spread": null}],
    "results": []})")
      .patch({{{"op", "add"}, {"path", "/name"}, {"value", name}}});
}

}  // namespace onebit::test
