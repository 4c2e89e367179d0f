#include "engine/answer.h"

#include <algorithm>

namespace onebit {

std::string_view name_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
      return "cancelled";
  }
  return "stop";
}

GeneratedToken with_logprobs(TokenId id, std::span<const float> logits, uint32_t top) {
  const LogSoftmax log_softmax(logits);
  return {id, log_softmax(id), log_softmax.top(top)};
}

Status check_request(std::span<const TokenId> prompt, const GenerateParams& params, const ModelConfig& config) {
  if (prompt.empty()) return fail("the prompt is empty");
  for (const TokenId id : prompt)
    if (id < 0 || static_cast<uint32_t>(id) >= config.vocabulary)
      return fail("token id {} of the prompt is outside the vocabulary of {}", id, config.vocabulary);
  if (prompt.size() >= config.context)
    return fail("the prompt has {} tokens, which leaves no room for an answer in the model's context of {}",
                prompt.size(), config.context);
  return validate(params.sampling, config.vocabulary);
}

Answer::Answer(const Tokenizer& tokenizer, const ModelConfig& config, const GenerateParams& params,
               std::span<const TokenId> prompt)
    : tokenizer_(tokenizer),
      params_(params),
      limit_(config.context - static_cast<uint32_t>(prompt.size())),
      sampler_(params.sampling, prompt),
      // A grammar's text is all of its tokens' bytes, a space at the beginning too.
      decoder_(tokenizer, true, !params.grammar && tokenizer.takes_space(prompt)),
      stops_(params.stop, params.stop_before) {
  if (params.max_tokens > 0) limit_ = std::min(limit_, params.max_tokens);
  if (params.grammar) matcher_.emplace(params.grammar);
}

Status Answer::prepare() {
  if (!matcher_ || !allowed_.empty()) return {};
  RETURN_IF_ERROR(matcher_->next(allowed_));
  if (params_.ignore_eos && !matcher_->must_end())
    for (const TokenId id : params_.grammar->masks().vocabulary().end_tokens()) grammar::forbid(allowed_, id);
  if (std::all_of(allowed_.begin(), allowed_.end(), [](uint64_t word) { return word == 0; }))
    return fail("the grammar allows no token here: it matches the empty text only, and the model has no end token");
  return {};
}

Answer::Piece Answer::take(std::span<const float> logits, uint32_t position) {
  const TokenId id = sampler_.sample(logits, position, allowed_);
  return piece_of(params_.logprobs ? with_logprobs(id, logits, params_.top_logprobs) : GeneratedToken{id, 0.0f, {}});
}

Answer::Piece Answer::take(std::span<const Logits::Candidate> best, uint32_t position) {
  return piece_of({sampler_.sample(best, position), 0.0f, {}});
}

Answer::Piece Answer::piece_of(GeneratedToken token) {
  Piece piece;
  const TokenId id = token.id;
  piece.token = std::move(token);
  ++tokens_;
  const bool stop_token = tokenizer_.is_stop(id) && (!params_.ignore_eos || matcher_);
  bool complete = false;  // the grammar has nothing more
  if (matcher_ && !stop_token) {
    (void)matcher_->accept(id);  // its mask allowed it
    complete = matcher_->must_end();
  }
  allowed_.clear();
  if (!stop_token) piece.text = stops_.push(decoder_.push(id));
  if (stop_token || complete || stops_.matched()) {
    ended_ = true;
    finish_reason_ = FinishReason::kStop;
  } else {
    ended_ = tokens_ == limit_;
  }
  return piece;
}

std::string Answer::rest() {
  auto text = stops_.push(decoder_.finish());
  text += stops_.finish();
  return text;
}

}  // namespace onebit
