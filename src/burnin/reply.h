// What came back from an OpenAI-compatible endpoint, and how far two answers agree.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace onebit::burnin {

struct TokenLogprob {
  std::string token;
  double logprob = 0;
};

struct Reply {
  std::string text;                  // of all choices, with \x1e between them
  std::string finish;                // their reasons to end
  std::vector<TokenLogprob> tokens;  // where the endpoint gives them
};

/// Of a chat or a completion. Errors: no JSON, an error object (its message), no choices.
Result<Reply> parse_reply(std::string_view body);

enum class Verdict : uint8_t { kExact, kPrefixOnly, kNoMatch, kAUnreachable, kBUnreachable };
inline constexpr size_t kVerdicts = 5;
std::string_view name_of(Verdict verdict);
std::optional<Verdict> verdict_named(std::string_view name);

/// The first token in which two answers differ.
struct Divergence {
  uint32_t token = 0;  // its number
  TokenLogprob a, b;
};

struct Comparison {
  Verdict verdict = Verdict::kExact;
  uint64_t prefix = 0;                   // bytes in which they agree from the start
  std::optional<Divergence> divergence;  // where both gave tokens
};

/// Exact: the same bytes, reasons and, where both have them, log-probabilities. Prefix only: they begin alike.
/// `logprobs`: they were asked for, so that an answer without them is not exact.
Comparison compare(const Reply& a, const Reply& b, bool logprobs = false);

}  // namespace onebit::burnin
