// What is asked of the engine, and who hears of the answer.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/answer.h"
#include "format/model_config.h"

namespace onebit {

struct Request {
  std::vector<TokenId> prompt;
  GenerateParams params{};
  bool prompt_logprobs = false;      // of the prompt's tokens too, with params.top_logprobs others beside each
  bool prompt_only = false;          // nothing is generated
  uint32_t tenant = 0;               // whose prefixes it shares
  Pooling pooling = Pooling::kNone;  // other than none: nothing is generated, and the prompt's embedding is told (9)
};

/// How a request ended.
struct Outcome {
  FinishReason reason = FinishReason::kStop;
  std::optional<Error> error;  // where it failed
  bool unfit_grammar = false;  // by its own grammar
  std::string stop_string{};   // that ended it, if one did
  uint32_t prompt_tokens = 0;
  uint32_t cached_tokens = 0;  // of the prompt, that were known from before
  uint32_t answer_tokens = 0;
  double queued_seconds = 0;  // until its first step
  double prompt_seconds = 0;  // from there until its first token
  double answer_seconds = 0;  // from there to the end
};

/// Called by the engine's thread: must not block, and must not call the engine.
class RequestListener {
 public:
  virtual ~RequestListener() = default;
  /// Before the first token, where asked for: the prompt's tokens from the second on.
  virtual void on_prompt(std::vector<GeneratedToken> /*tokens*/) {}  // NOLINT(performance-unnecessary-value-param)
  /// Before the end, where asked for: [hidden], of length 1.
  virtual void on_embedding(std::vector<float> /*embedding*/) {}  // NOLINT(performance-unnecessary-value-param)
  virtual void on_token(Answer::Piece piece) = 0;
  /// Last of all. `rest`: text that was held back.
  virtual void on_end(const Outcome& outcome, std::string rest) = 0;
};

}  // namespace onebit
