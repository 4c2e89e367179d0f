// The log of a burn-in: one line of JSON a round (docs/burnin.md), written by a LineLog.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "burnin/reply.h"

namespace onebit::burnin {

struct Round {
  uint64_t number = 0;
  double time = 0;  // seconds since 1970
  std::string prompt;
  Verdict verdict = Verdict::kExact;
  double a_ms = 0, b_ms = 0;             // until the whole answer was there
  uint64_t bytes = 0, prefix = 0;        // of A's answer; agreeing ones
  std::optional<Divergence> divergence;  // of those that differ, where known
  std::string a_text, b_text;            // of those that differ, the first bytes
  std::string error;                     // of those unreachable
};

std::string to_line(const Round& round);
inline constexpr std::string_view kLineBegins = "{\"round\":";
/// Nothing where a line is none of ours.
std::optional<Round> parse_line(std::string_view line);

/// The numbers of a round, without its texts: for reading a million of them.
struct RoundNumbers {
  uint64_t number = 0, bytes = 0, prefix = 0;
  double time = 0, a_ms = 0, b_ms = 0;
  std::string_view prompt;  // into the line
  Verdict verdict = Verdict::kExact;
};

/// Calls `use` with the numbers of each round from `since` (seconds since 1970) on and its line. Lines that are none of
/// ours are counted and left out. Reads piecewise.
struct LogRead {
  uint64_t rounds = 0, damaged = 0;
};
Result<LogRead> read_log(const std::string& path, double since,
                         const std::function<void(const RoundNumbers&, std::string_view line)>& use);

/// The number of the next round: one after the highest near the log's end; 0 where it is absent or empty.
Result<uint64_t> next_round(const std::string& path);

}  // namespace onebit::burnin
