#include "engine/generate.h"

#include <algorithm>
#include <chrono>

#include "engine/lookup.h"

namespace onebit {
namespace {

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

/// One step, by another backend where this one is lost meanwhile.
Status Sequence::forward(std::span<const TokenId> tokens, LogitRows rows, uint32_t best) {
  BatchItem item{kv_.get(), tokens, rows, best};
  auto status = backend_->forward({&item, 1}, logits_);
  if (status || !backend_->lost() || !spare_) return status;
  const auto spare = spare_(status.error());
  if (!spare) return status;
  RETURN_IF_ERROR(move_to(**spare));
  item.kv = kv_.get();
  return backend_->forward({&item, 1}, logits_);
}

/// Computes there what the cache held here.
Status Sequence::move_to(Backend& backend) {
  const auto held = std::span(tokens_).first(kv_->length());
  backend_ = &backend;
  kv_ = backend.new_kv_cache();
  for (size_t at = 0; at < held.size();) {
    const auto chunk = held.subspan(at, std::min<size_t>(backend.prefill_chunk(), held.size() - at));
    at += chunk.size();
    const BatchItem item{kv_.get(), chunk, LogitRows::kNone};
    RETURN_IF_ERROR(backend.forward({&item, 1}, logits_));
  }
  return {};
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
    const auto chunk = prompt.subspan(at, std::min<size_t>(backend_->prefill_chunk(), prompt.size() - at));
    at += chunk.size();
    const bool last = at == prompt.size();
    RETURN_IF_ERROR(forward(chunk, last ? LogitRows::kLast : LogitRows::kNone, last ? best_wanted_ : 0));
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
  const uint32_t room = backend_->config().context - length();
  auto draft = onebit::draft_by_lookup(tokens_, std::min(draft_length_.next(most_drafted_), room));
  std::vector<TokenId> inputs{token};
  inputs.insert(inputs.end(), draft.begin(), draft.end());
  const auto alone = std::span<const TokenId>(inputs).first(1);
  auto status = draft.empty() ? forward(alone, LogitRows::kLast, best_wanted_) : forward(inputs, LogitRows::kAll);
  if (!status && !draft.empty()) {  // what was drafted must not be what fails
    draft.clear();
    status = forward(alone, LogitRows::kLast, best_wanted_);
  }
  if (!status) {
    tokens_.pop_back();
    return status;
  }
  drafts_.computed += draft.size();
  draft_ = std::move(draft);
  return {};
}

Status Sequence::compute_logits() {
  if (best().empty()) return {};
  kv_->truncate(length() - 1);
  auto status = forward(std::span<const TokenId>(tokens_).last(1), LogitRows::kLast);
  if (!status) tokens_.pop_back();
  return status;
}

Result<Generation> generate(Sequence& sequence, const Tokenizer& tokenizer, const ModelConfig& config,
                            std::span<const TokenId> prompt, const GenerateParams& params, const TextSink& sink,
                            const std::function<bool()>& prompt_cancelled) {
  RETURN_IF_ERROR(check_request(prompt, params, config));
  Generation result;
  result.prompt_tokens = static_cast<uint32_t>(prompt.size());
  auto begin = std::chrono::steady_clock::now();
  Answer answer(tokenizer, config, params, prompt);
  sequence.draft_by_lookup(params.lookup);
  sequence.want_best(params.lookup > 0 ? 0 : answer.candidates());
  const auto drafts_before = sequence.drafts();
  ASSIGN_OR_RETURN(const uint32_t computed, sequence.prefill(prompt, prompt_cancelled));
  result.cached_tokens = result.prompt_tokens - computed;
  result.prompt_seconds = seconds_since(begin);

  begin = std::chrono::steady_clock::now();
  bool cancelled = false;
  const auto emit = [&](const std::string& piece) {
    if (piece.empty()) return;
    result.text += piece;
    if (sink && !cancelled) cancelled = !sink(piece);
  };
  while (true) {
    RETURN_IF_ERROR(answer.prepare());
    if (!sequence.best().empty() && !answer.decided_by(sequence.best())) RETURN_IF_ERROR(sequence.compute_logits());
    auto piece = sequence.best().empty() ? answer.take(sequence.logits(), sequence.length())
                                         : answer.take(sequence.best(), sequence.length());
    const TokenId id = piece.token.id;
    result.tokens.push_back(std::move(piece.token));
    emit(piece.text);
    if (answer.ended() || cancelled) break;
    RETURN_IF_ERROR(sequence.append(id));
  }
  emit(answer.rest());
  result.finish_reason = cancelled ? FinishReason::kCancelled : answer.finish_reason();
  result.answer_seconds = seconds_since(begin);
  result.drafts = {sequence.drafts().computed - drafts_before.computed,
                   sequence.drafts().accepted - drafts_before.accepted};
  return result;
}

}  // namespace onebit
