// One answer for one prompt.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "base/result.h"
#include "engine/answer.h"
#include "engine/lookup.h"
#include "tokenizer/tokenizer.h"

namespace onebit {

/// One conversation's tokens and their keys and values.
class Sequence {
 public:
  /// Gives the backend that goes on where a device was lost, `loss` saying why.
  using Spare = std::function<Result<Backend*>(const Error& loss)>;
  explicit Sequence(Backend& backend, Spare spare = {})
      : backend_(&backend), spare_(std::move(spare)), kv_(backend.new_kv_cache()) {}

  /// Makes `prompt` the sequence's tokens and computes the logits after its last one. Whatever the
  /// sequence already holds of its beginning is kept. Returns how many tokens had to be computed.
  /// `cancelled` is asked between chunks.
  Result<uint32_t> prefill(std::span<const TokenId> prompt, const std::function<bool()>& cancelled = {});
  /// Appends one token and computes the logits after it.
  Status append(TokenId token);

  /// From now on, append() computes up to so many tokens more that may follow (engine/lookup.h), and takes their
  /// logits where they did; 0: none. Changes no bit of any logits.
  void draft_by_lookup(uint32_t most) { most_drafted_ = most; }
  struct Drafts {
    uint64_t computed = 0, accepted = 0;
  };
  const Drafts& drafts() const { return drafts_; }

  /// From now on, steps without a draft give only so many of the best logits (BatchItem::best); 0: all.
  void want_best(uint32_t most) { best_wanted_ = most; }
  /// Computes the last step again for all logits, where it gave only the best.
  Status compute_logits();

  /// All logits after the last token, or the best of them: the other is empty.
  std::span<const float> logits() const {
    return logits_.values.empty() ? std::span<const float>() : logits_.row(0, row_);
  }
  std::span<const Logits::Candidate> best() const { return logits_.best_of(0); }
  const std::vector<TokenId>& tokens() const { return tokens_; }
  uint32_t length() const { return static_cast<uint32_t>(tokens_.size()); }

 private:
  Status forward(std::span<const TokenId> tokens, LogitRows rows, uint32_t best = 0);
  Status move_to(Backend& backend);

  Backend* backend_;
  Spare spare_;
  std::unique_ptr<KvCache> kv_;
  std::vector<TokenId> tokens_;
  Logits logits_;               // after the last token, and after each drafted one
  size_t row_ = 0;              // of logits_, that of the last token
  std::vector<TokenId> draft_;  // computed beyond the tokens; row_ of them were accepted
  uint32_t most_drafted_ = 0, best_wanted_ = 0;
  DraftLength draft_length_;
  Drafts drafts_;
};

struct Generation {
  std::string text;                    // without special tokens and stop strings
  std::vector<GeneratedToken> tokens;  // an end token, where one came, is the last
  FinishReason finish_reason = FinishReason::kStop;
  uint32_t prompt_tokens = 0;
  uint32_t cached_tokens = 0;  // of the prompt, already held by the sequence
  Sequence::Drafts drafts;     // by lookup
  double prompt_seconds = 0;   // until the first logits
  double answer_seconds = 0;   // from there to the end
};

/// Gets each piece of certain text, valid UTF-8; false cancels.
using TextSink = std::function<bool(std::string_view piece)>;

/// Errors: an empty prompt, one that leaves no room in the context, parameters out of range, what the
/// backend says, `cancelled` while the prompt was computed. The sequence can be used further either way.
Result<Generation> generate(Sequence& sequence, const Tokenizer& tokenizer, const ModelConfig& config,
                            std::span<const TokenId> prompt, const GenerateParams& params, const TextSink& sink = {},
                            const std::function<bool()>& cancelled = {});

}  // namespace onebit
