// Perplexity of a text under a model: exp of the mean negative log-likelihood of its tokens.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "base/result.h"

namespace onebit {

struct PerplexityOptions {
  uint32_t window = 1023;      // tokens scored per window; a BOS before each comes on top
  std::optional<TokenId> bos;  // absent: the first token of each window is not scored
  uint32_t max_windows = 0;    // 0: the whole text
};

struct PerplexityWindow {
  uint64_t tokens = 0;  // scored
  double nll = 0;       // nats
};

struct PerplexityResult {
  std::vector<PerplexityWindow> windows;
  uint64_t tokens() const;
  double nll() const;
  double perplexity() const;
};

/// The text encoded once, cut into consecutive windows, each preceded by BOS; every token is scored
/// exactly once. `progress` is called after each window with the result so far and the number of windows.
Result<PerplexityResult> perplexity(Backend& backend, std::span<const TokenId> tokens, const PerplexityOptions& options,
                                    const std::function<void(const PerplexityResult&, size_t windows)>& progress = {});

}  // namespace onebit
