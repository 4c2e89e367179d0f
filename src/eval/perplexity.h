// Perplexity of a text under a model: exp of the mean negative log-likelihood of its tokens.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "base/result.h"
#include "base/share.h"
#include "tokenizer/tokenizer.h"

namespace onebit {

struct PerplexityOptions {
  uint32_t window = 1023;      // tokens a window holds; a BOS before them comes on top
  uint32_t stride = 0;         // tokens by which windows advance, the rest of each being context; 0: the whole window
  std::optional<TokenId> bos;  // absent: the first token of a window that begins without context is not scored
  uint32_t max_windows = 0;    // 0: the whole text
  Share share{};               // which of these windows this process scores; results hold only them
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

/// How many windows there are, of all shares. Errors: a text too short, a window or stride that cannot be.
Result<size_t> perplexity_windows(size_t tokens, const PerplexityOptions& options, const ModelConfig& config);

/// The text encoded once, cut into windows, each preceded by BOS; every token is scored exactly once. Windows that
/// `known` holds already (from an interrupted run with the same options) are not computed again. `progress` is called
/// after each window with the result so far and the number of windows; its error ends the run.
Result<PerplexityResult> perplexity(Backend& backend, std::span<const TokenId> tokens, const PerplexityOptions& options,
                                    const std::function<Status(const PerplexityResult&, size_t windows)>& progress = {},
                                    PerplexityResult known = {});

/// The shares' windows in the text's order: the same numbers, summed in the same order, as of one process.
PerplexityResult join_shares(std::span<const PerplexityResult> shares);

/// What the scored tokens of the first `windows` windows spell, for figures that do not depend on the tokenizer.
struct TextMeasure {
  uint64_t bytes = 0;
  uint64_t words = 0;  // runs of bytes that are no ASCII white space
};
TextMeasure measure_scored(const Tokenizer& tokenizer, std::span<const TokenId> tokens,
                           const PerplexityOptions& options, size_t windows);

}  // namespace onebit
