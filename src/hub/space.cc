#include "hub/space.h"

#include <fmt/format.h>

#include <algorithm>

namespace onebit::hub {

uint64_t most_converted_bytes(uint64_t source) {
  constexpr uint64_t kMostOfEmbedding = 2'000'000'000, kTables = 100'000'000;
  return source + source / 4 + std::min(4 * source, kMostOfEmbedding) + kTables;
}

std::string size_text(uint64_t bytes) {
  constexpr double kMegabyte = 1e6, kGigabyte = 1e9;
  const auto size = static_cast<double>(bytes);
  return size < kGigabyte ? fmt::format("{:.1f} MB", size / kMegabyte) : fmt::format("{:.2f} GB", size / kGigabyte);
}

}  // namespace onebit::hub
