#include "engine/generate.h"

#include <algorithm>
#include <array>
#include <chrono>

#include "engine/lookup.h"
#include "engine/stop_strings.h"
#include "tokenizer/stream_decoder.h"

namespace onebit {
namespace {

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

GeneratedToken describe(TokenId id, std::span<const float> logits, const GenerateParams& params) {
  GeneratedToken token;
  token.id = id;
  if (!params.logprobs) return token;
  const LogSoftmax log_softmax(logits);
  token.logprob = log_softmax(id);
  token.top = log_softmax.top(params.top_logprobs);
  return token;
}

/// Text of an answer on its way out: bytes to characters, characters to what no stop string can claim.
class TextPath {
 public:
  TextPath(const Tokenizer& tokenizer, const GenerateParams& params, const TextSink& sink, std::string& text)
      : decoder_(tokenizer, true), stops_(params.stop), sink_(sink), text_(text) {}

  void push(TokenId id) { emit(stops_.push(decoder_.push(id))); }
  void finish() {
    emit(stops_.push(decoder_.finish()));
    emit(stops_.finish());
  }
  bool stopped() const { return stops_.matched(); }
  bool cancelled() const { return cancelled_; }

 private:
  void emit(const std::string& piece) {
    if (piece.empty()) return;
    text_ += piece;
    if (sink_ && !cancelled_) cancelled_ = !sink_(piece);
  }

  StreamDecoder decoder_;
  StopStrings stops_;
  const TextSink& sink_;
  std::string& text_;
  bool cancelled_ = false;
};

}  // namespace

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

Result<uint32_t> Sequence::prefill(std::span<const TokenId> prompt, const std::function<bool()>& cancelled) {
  if (prompt.empty()) return fail("the prompt is empty");
  const auto shared = std::mismatch(tokens_.begin(), tokens_.end(), prompt.begin(), prompt.end());
  // The last token is computed again even if it is held: its logits are wanted.
  const size_t kept = std::min<size_t>(static_cast<size_t>(shared.first - tokens_.begin()), prompt.size() - 1);
  kv_->truncate(static_cast<uint32_t>(kept));
  tokens_.resize(kept);
  draft_.clear();
  row_ = 0;
  for (size_t at = kept; at < prompt.size();) {
    if (cancelled && cancelled()) return fail("cancelled");
    const auto chunk = prompt.subspan(at, std::min<size_t>(backend_.prefill_chunk(), prompt.size() - at));
    at += chunk.size();
    const BatchItem item{kv_.get(), chunk, at == prompt.size() ? LogitRows::kLast : LogitRows::kNone};
    RETURN_IF_ERROR(backend_.forward({&item, 1}, logits_));
    tokens_.insert(tokens_.end(), chunk.begin(), chunk.end());
  }
  return static_cast<uint32_t>(prompt.size() - kept);
}

Status Sequence::append(TokenId token) {
  if (row_ < draft_.size() && draft_[row_] == token) {  // already computed
    tokens_.push_back(token);
    ++row_;
    ++drafts_.accepted;
    return {};
  }
  draft_length_.met(static_cast<uint32_t>(draft_.size()), static_cast<uint32_t>(row_));
  kv_->truncate(length());
  draft_.clear();
  row_ = 0;
  tokens_.push_back(token);
  const uint32_t room = backend_.config().context - length();
  auto draft = onebit::draft_by_lookup(tokens_, std::min(draft_length_.next(most_drafted_), room));
  std::vector<TokenId> inputs{token};
  inputs.insert(inputs.end(), draft.begin(), draft.end());
  auto status = backend_.forward(std::array{BatchItem{kv_.get(), inputs, LogitRows::kAll}}, logits_);
  if (!status && !draft.empty()) {  // what was drafted must not be what fails
    draft.clear();
    inputs.resize(1);
    status = backend_.forward(std::array{BatchItem{kv_.get(), inputs, LogitRows::kAll}}, logits_);
  }
  if (!status) {
    tokens_.pop_back();
    return status;
  }
  drafts_.computed += draft.size();
  draft_ = std::move(draft);
  return {};
}

Result<Generation> generate(Sequence& sequence, const Tokenizer& tokenizer, const ModelConfig& config,
                            std::span<const TokenId> prompt, const GenerateParams& params, const TextSink& sink) {
  RETURN_IF_ERROR(validate(params.sampling, config.vocabulary));
  if (prompt.size() >= config.context)
    return fail("the prompt has {} tokens, which leaves no room for an answer in the model's context of {}",
                prompt.size(), config.context);
  const auto room = config.context - static_cast<uint32_t>(prompt.size());
  const uint32_t limit = params.max_tokens == 0 ? room : std::min(params.max_tokens, room);

  Generation result;
  result.prompt_tokens = static_cast<uint32_t>(prompt.size());
  auto begin = std::chrono::steady_clock::now();
  sequence.draft_by_lookup(params.lookup);
  const auto drafts_before = sequence.drafts();
  ASSIGN_OR_RETURN(const uint32_t computed, sequence.prefill(prompt));
  result.cached_tokens = result.prompt_tokens - computed;
  result.prompt_seconds = seconds_since(begin);

  begin = std::chrono::steady_clock::now();
  Sampler sampler(params.sampling, prompt);
  TextPath text(tokenizer, params, sink, result.text);
  while (true) {
    const TokenId id = sampler.sample(sequence.logits(), sequence.length());
    result.tokens.push_back(describe(id, sequence.logits(), params));
    if (tokenizer.is_stop(id) && !params.ignore_eos) break;
    text.push(id);
    if (text.stopped() || text.cancelled()) break;
    result.finish_reason = FinishReason::kLength;
    if (result.tokens.size() == limit) break;
    RETURN_IF_ERROR(sequence.append(id));
    result.finish_reason = FinishReason::kStop;
  }
  text.finish();
  if (text.cancelled()) result.finish_reason = FinishReason::kCancelled;
  result.answer_seconds = seconds_since(begin);
  result.drafts = {sequence.drafts().computed - drafts_before.computed,
                   sequence.drafts().accepted - drafts_before.accepted};
  return result;
}

}  // namespace onebit
