// What becomes of logits: an answer's tokens and text, whoever computes the logits.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/sampler.h"
#include "engine/stop_strings.h"
#include "grammar/matcher.h"
#include "tokenizer/stream_decoder.h"
#include "tokenizer/tokenizer.h"

namespace onebit {

struct GenerateParams {
  SamplingParams sampling{};
  uint32_t max_tokens = 0;  // 0: until the context is full
  std::vector<std::string> stop{};
  std::string stop_before{};  // from this text on none of them ends the answer; empty: there is no such text
  bool ignore_eos = false;    // go on past an end token
  bool logprobs = false;
  uint32_t lookup = 0;        // tokens drafted from the text so far; changes speed only
  uint32_t top_logprobs = 0;  // how many of the most likely tokens to tell beside each chosen one
  std::shared_ptr<const grammar::Grammar> grammar{};  // of the whole answer; compiled for the same tokenizer
};

enum class FinishReason { kStop, kLength, kCancelled };
std::string_view name_of(FinishReason reason);

struct GeneratedToken {
  TokenId id = 0;
  float logprob = 0.0f;           // where asked for
  std::vector<TokenLogprob> top;  // where asked for
};

/// A token with its log-probability under `logits`, and the `top` most likely.
GeneratedToken with_logprobs(TokenId id, std::span<const float> logits, uint32_t top);

/// What generation would refuse: an empty prompt, one that leaves no room for an answer, parameters out of range.
Status check_request(std::span<const TokenId> prompt, const GenerateParams& params, const ModelConfig& config);

class Answer {
 public:
  /// `prompt` and `params` must have passed check_request. The tokenizer must outlive the answer.
  Answer(const Tokenizer& tokenizer, const ModelConfig& config, const GenerateParams& params,
         std::span<const TokenId> prompt);

  struct Piece {
    GeneratedToken token;
    std::string text;  // certain with this token: whole characters that no stop string can claim
  };
  /// How many of the best logits take() may have in place of all; 0: it needs all. The best may be none that a grammar
  /// allows.
  uint32_t candidates() const { return params_.logprobs || matcher_ ? 0 : sampler_.candidates(); }
  /// Whether these do (Sampler::decided_by).
  bool decided_by(std::span<const Logits::Candidate> best) const { return sampler_.decided_by(best); }
  /// Chooses the token for `position` from the logits before it, or from the best of them. Not after the end.
  Piece take(std::span<const float> logits, uint32_t position);
  Piece take(std::span<const Logits::Candidate> best, uint32_t position);
  /// Why there is no next token: the grammar is too ambiguous to follow. To be asked before take().
  Status prepare();

  bool ended() const { return ended_; }
  FinishReason finish_reason() const { return finish_reason_; }
  uint32_t tokens() const { return tokens_; }
  /// The stop string that ended it; empty where another reason did.
  const std::string& stop_string() const { return stops_.match(); }
  /// Text that was held back, once nothing more will be taken.
  std::string rest();

 private:
  Piece piece_of(GeneratedToken token);

  const Tokenizer& tokenizer_;
  GenerateParams params_;
  uint32_t limit_;
  Sampler sampler_;
  StreamDecoder decoder_;  // bytes to characters, and those …
  StopStrings stops_;      // … to what no stop string can claim
  std::optional<grammar::Matcher> matcher_;
  grammar::TokenMask allowed_;  // by the matcher; empty until it was asked
  uint32_t tokens_ = 0;
  bool ended_ = false;
  FinishReason finish_reason_ = FinishReason::kLength;
};

}  // namespace onebit
