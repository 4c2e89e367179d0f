// What a scrape of 1bit-server says, by the names of docs/server.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace onebit::landing {

/// A histogram's bucket: how many observations were at most `most`. The last one's bound is infinite.
struct Bucket {
  double most = 0;
  double count = 0;  // with those of all lower buckets
};

struct ServerFacts {
  std::optional<double> tokens_a_second;  // tokps_recent
  std::optional<double> running, queued;
  std::optional<double> requests;  // ended so far, however
  std::optional<double> failed;    // of those
  std::optional<double> kv_pages, kv_pages_limit;
  std::vector<Bucket> first_token;  // in seconds, by their bounds
  std::string model, version, isa;  // of the newest build_info, fit to show; empty: not told
};

/// Values that are not finite, or negative, count as absent: nothing here can be.
ServerFacts facts_of(std::string_view metrics_text);

/// The `quantile` (0 to 1) as Prometheus' histogram_quantile() has it: linear within a bucket, and the last finite
/// bound where it lies beyond. Nothing where nothing was observed, or where the buckets cannot be.
std::optional<double> quantile_of(const std::vector<Bucket>& buckets, double quantile);

}  // namespace onebit::landing
