#include "eval/perplexity.h"

#include <algorithm>
#include <cmath>

#include "engine/sampler.h"

namespace onebit {
namespace {

/// Rows of a forward pass whose logits are held at once: 64 rows of 128,256 are 33 MB.
constexpr size_t kChunk = 64;

uint32_t stride_of(const PerplexityOptions& o) {
  return o.stride == 0 ? o.window : o.stride;
}

/// Tokens [begin, end) are read, those from `scored` on are scored.
struct Window {
  size_t begin, scored, end;
};

Window window_at(size_t i, size_t tokens, const PerplexityOptions& o) {
  const size_t stride = stride_of(o);
  Window w{i * stride, i == 0 ? 0 : i * stride + o.window - stride, std::min(i * stride + o.window, tokens)};
  if (!o.bos && w.scored == w.begin) ++w.scored;  // nothing comes before it
  return w;
}

Result<PerplexityWindow> score_window(Backend& backend, std::span<const TokenId> text, const Window& w,
                                      std::optional<TokenId> bos) {
  std::vector<TokenId> inputs;
  if (bos) inputs.push_back(*bos);
  const auto read = text.subspan(w.begin, w.end - w.begin);
  inputs.insert(inputs.end(), read.begin(), read.end());
  const size_t first = w.scored - w.begin + (bos ? 1 : 0);  // in inputs, of what is scored
  PerplexityWindow window;
  const auto kv = backend.new_kv_cache();
  Logits logits;
  for (size_t at = 0, n = 0; at + 1 < inputs.size(); at += n) {
    const bool context = at + 1 < first;
    n = context ? first - 1 - at : std::min(kChunk, inputs.size() - 1 - at);
    if (context) n = std::min<size_t>(n, backend.prefill_chunk());
    const BatchItem item{kv.get(), std::span(inputs).subspan(at, n), context ? LogitRows::kNone : LogitRows::kAll};
    RETURN_IF_ERROR(backend.forward({&item, 1}, logits));
    if (context) continue;
    for (size_t i = 0; i < n; ++i) window.nll -= double{LogSoftmax(logits.row(0, i))(inputs[at + i + 1])};
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

Result<size_t> perplexity_windows(size_t tokens, const PerplexityOptions& o, const ModelConfig& config) {
  if (tokens < 2) return fail("the text has {} tokens, too few to score", tokens);
  if (o.window < 1 || o.window + 1 > config.context)
    return fail("window is {}, expected 1 to {} for this model's context", o.window, config.context - 1);
  if (o.stride > o.window) return fail("stride is {}, expected at most the window of {}", o.stride, o.window);
  if (!o.bos && o.window == 1) return fail("a window of 1 without BOS scores nothing");
  const size_t stride = stride_of(o);
  size_t count = tokens <= o.window ? 1 : 1 + (tokens - o.window + stride - 1) / stride;
  if (!o.bos && count > 1 && stride == o.window && tokens % stride == 1) --count;  // the last has nothing to score
  return o.max_windows > 0 ? std::min<size_t>(count, o.max_windows) : count;
}

Result<PerplexityResult> perplexity(Backend& backend, std::span<const TokenId> tokens, const PerplexityOptions& options,
                                    const std::function<Status(const PerplexityResult&, size_t)>& progress,
                                    PerplexityResult known) {
  ASSIGN_OR_RETURN(const size_t all, perplexity_windows(tokens.size(), options, backend.config()));
  const size_t count = options.share.of(all);
  const auto window_of = [&](size_t i) {
    return window_at(options.share.index + i * options.share.count, tokens.size(), options);
  };
  if (known.windows.size() > count) return fail("{} windows are known, but there are {}", known.windows.size(), count);
  auto result = std::move(known);
  for (size_t i = 0; i < result.windows.size(); ++i) {
    const auto w = window_of(i);
    if (result.windows[i].tokens != w.end - w.scored)
      return fail("window {} is known with {} tokens, but has {}", i + 1, result.windows[i].tokens, w.end - w.scored);
  }
  while (result.windows.size() < count) {
    ASSIGN_OR_RETURN(const auto window, score_window(backend, tokens, window_of(result.windows.size()), options.bos));
    if (!std::isfinite(window.nll))
      return fail("window {}: a log-probability is not finite: the model's numbers are damaged",
                  result.windows.size() + 1);
    result.windows.push_back(window);
    if (progress) RETURN_IF_ERROR(progress(result, count));
  }
  return result;
}

PerplexityResult join_shares(std::span<const PerplexityResult> shares) {
  PerplexityResult all;
  for (size_t i = 0;; ++i) {
    const auto& from = shares[i % shares.size()].windows;
    if (i / shares.size() >= from.size()) return all;  // the first that has no more: nobody after it has
    all.windows.push_back(from[i / shares.size()]);
  }
}

TextMeasure measure_scored(const Tokenizer& tokenizer, std::span<const TokenId> tokens,
                           const PerplexityOptions& options, size_t windows) {
  constexpr std::string_view kSpace = " \t\n\v\f\r";
  TextMeasure measure;
  bool in_word = false;
  for (size_t i = 0; i < windows; ++i) {
    const auto w = window_at(i, tokens.size(), options);
    for (size_t t = w.scored; t < w.end; ++t) {
      for (const char c : tokenizer.token_bytes(tokens[t])) {
        const bool space = kSpace.find(c) != std::string_view::npos;
        if (!space && !in_word) ++measure.words;
        in_word = !space;
        ++measure.bytes;
      }
    }
  }
  return measure;
}

}  // namespace onebit
