#include "eval/perplexity.h"

#include <algorithm>
#include <cmath>

#include "engine/sampler.h"

namespace onebit {
namespace {

/// Rows of a forward pass whose logits are held at once: 64 rows of 128,256 are 33 MB.
constexpr size_t kChunk = 64;

Result<PerplexityWindow> score_window(Backend& backend, std::span<const TokenId> text, std::optional<TokenId> bos) {
  std::vector<TokenId> inputs;
  if (bos) inputs.push_back(*bos);
  inputs.insert(inputs.end(), text.begin(), text.end());
  const auto targets = std::span(inputs).subspan(1);  // of every input but the last
  PerplexityWindow window;
  const auto kv = backend.new_kv_cache();
  Logits logits;
  for (size_t at = 0; at < targets.size(); at += kChunk) {
    const size_t n = std::min(kChunk, targets.size() - at);
    const BatchItem item{kv.get(), std::span(inputs).subspan(at, n), LogitRows::kAll};
    RETURN_IF_ERROR(backend.forward({&item, 1}, logits));
    for (size_t i = 0; i < n; ++i) window.nll -= double{LogSoftmax(logits.row(0, i))(targets[at + i])};
    window.tokens += n;
  }
  return window;
}

}  // namespace

uint64_t PerplexityResult::tokens() const {
  uint64_t sum = 0;
  for (const auto& w : windows) sum += w.tokens;
  return sum;
}

double PerplexityResult::nll() const {
  double sum = 0;
  for (const auto& w : windows) sum += w.nll;
  return sum;
}

double PerplexityResult::perplexity() const {
  return std::exp(nll() / static_cast<double>(tokens()));
}

Result<PerplexityResult> perplexity(Backend& backend, std::span<const TokenId> tokens, const PerplexityOptions& options,
                                    const std::function<void(const PerplexityResult&, size_t)>& progress) {
  if (tokens.size() < 2) return fail("the text has {} tokens, too few to score", tokens.size());
  if (options.window < 1 || options.window + 1 > backend.config().context)
    return fail("window is {}, expected 1 to {} for this model's context", options.window,
                backend.config().context - 1);
  size_t count = (tokens.size() + options.window - 1) / options.window;
  if (options.max_windows > 0) count = std::min<size_t>(count, options.max_windows);
  PerplexityResult result;
  for (size_t i = 0; i < count; ++i) {
    const size_t first = i * options.window;
    ASSIGN_OR_RETURN(
        const auto window,
        score_window(backend, tokens.subspan(first, std::min<size_t>(options.window, tokens.size() - first)),
                     options.bos));
    result.windows.push_back(window);
    if (progress) progress(result, count);
  }
  return result;
}

}  // namespace onebit
