#include "server/flight.h"

#include "server/metered_listener.h"

namespace onebit::server {
namespace {

/// Events that may wait for a slow reader. One of a token with 20 others' log-probabilities is about 2 KB.
constexpr size_t kMostEvents = 4096;

}  // namespace

ApiError refusal_error(const EngineLoop::Ticket& ticket) {
  switch (ticket.refusal) {
    case EngineLoop::Refusal::kFull:
      return {.status = 429, .message = ticket.reason, .code = "queue_full", .retry_after = 1};
    case EngineLoop::Refusal::kDraining:
      return {.status = 503, .message = ticket.reason, .code = "shutting_down", .retry_after = 5};
    case EngineLoop::Refusal::kLost:
      return {.status = 503, .message = ticket.reason, .code = "device_lost"};
    default:
      return {.message = ticket.reason, .param = "prompt", .code = "invalid_prompt"};
  }
}

void Client::leave() {
  gone = true;
  if (cancelled) cancelled->store(true);  // of no effect where all has ended
  if (queue) queue->wake();
}

Flight::Flight(const ApiCall& call, std::unique_ptr<ApiFormat> format, Metrics& metrics, std::shared_ptr<Client> client,
               uint32_t tenant)
    : call_(call),
      format_(std::move(format)),
      metrics_(metrics),
      client_(std::move(client)),
      tenant_(tenant),
      choices_(call.requests.size()),
      splitters_(call.may_call() ? call.requests.size() : 0, ToolCallSplitter(call.calls_in)),
      outcomes_(call.requests.size()) {
  for (uint32_t i = 0; call_.echo && i < choices_.size(); ++i) choices_[i] = format_->echo(i, {});
}

std::optional<ApiError> Flight::submit(EngineLoop& engine, const asio::any_io_executor& executor) {
  client_->queue = std::make_shared<EventQueue>(executor, kMostEvents * choices_.size());
  std::vector<std::shared_ptr<RequestListener>> listeners;
  listeners.reserve(choices_.size());
  for (uint32_t i = 0; i < choices_.size(); ++i)
    listeners.push_back(
        std::make_shared<MeteredListener>(std::make_shared<ChoiceListener>(client_->queue, i), metrics_));
  auto requests = call_.requests;
  for (auto& request : requests) request.tenant = tenant_;
  const auto ticket = engine.submit(std::move(requests), listeners);
  if (ticket.refusal != EngineLoop::Refusal::kNone) return refusal_error(ticket);
  client_->cancelled = ticket.cancelled;
  return std::nullopt;
}

std::optional<ApiError> Flight::end(uint32_t choice, const Outcome& outcome) {
  if (outcome.error && outcome.unfit_grammar) return api_error(400, "invalid_grammar", outcome.error->message);
  if (outcome.error) return api_error(500, "engine_error", outcome.error->message);
  if (outcome.reason == FinishReason::kCancelled)
    return api_error(503, "shutting_down", "the server is shutting down", 5);
  outcomes_[choice] = outcome;
  usage_.add(outcome, call_.requests[choice].params.sampling.choice == 0);  // a prompt counts once
  ++ended_;
  return std::nullopt;
}

std::optional<ApiError> Flight::collect_one(Event& event) {
  auto& so_far = choices_[event.choice];
  if (auto* prompt = std::get_if<PromptEvent>(&event.what))
    so_far = format_->echo(event.choice, std::move(prompt->tokens));
  if (auto* embedding = std::get_if<EmbeddingEvent>(&event.what)) so_far.embedding = std::move(embedding->values);
  if (auto* piece = std::get_if<Answer::Piece>(&event.what)) {
    so_far.text += piece->text;
    if (call_.logprobs) so_far.tokens.push_back(std::move(piece->token));
  }
  const auto* last = std::get_if<EndEvent>(&event.what);
  if (last == nullptr) return std::nullopt;
  so_far.text += last->rest;
  return end(event.choice, last->outcome);
}

std::optional<ApiError> Flight::collect(std::vector<Event> events) {
  for (auto& event : events)
    if (auto error = collect_one(event)) return error;
  return std::nullopt;
}

std::string Flight::beginning() {
  std::string out;
  for (uint32_t i = 0; i < choices_.size(); ++i) {
    out += format_->begin(i);
    if (call_.echo && !call_.logprobs) out += format_->piece(i, choices_[i]);
  }
  return out;
}

void Flight::tell_calls(uint32_t choice, const ToolCallSplitter::Piece& piece, std::vector<GeneratedToken> tokens,
                        std::string& out) {
  if (!piece.empty() || (call_.logprobs && !tokens.empty())) out += format_->calls(choice, piece, tokens);
}

std::optional<ApiError> Flight::tell_one(Event& event, std::string& out) {
  if (auto* prompt = std::get_if<PromptEvent>(&event.what))
    out += format_->piece(event.choice, format_->echo(event.choice, std::move(prompt->tokens)));
  const bool splits = call_.may_call();
  if (auto* piece = std::get_if<Answer::Piece>(&event.what)) {
    if (splits)
      tell_calls(event.choice, splitters_[event.choice].push(piece->text), {std::move(piece->token)}, out);
    else if (call_.logprobs || !piece->text.empty())
      out += format_->piece(event.choice, {std::move(piece->text), {std::move(piece->token)}, 0});
  }
  const auto* last = std::get_if<EndEvent>(&event.what);
  if (last == nullptr) return std::nullopt;
  if (splits) {
    tell_calls(event.choice, splitters_[event.choice].push(last->rest), {}, out);
    tell_calls(event.choice, splitters_[event.choice].finish(), {}, out);
  } else if (!last->rest.empty()) {
    out += format_->piece(event.choice, {last->rest, {}, 0});
  }
  if (auto error = end(event.choice, last->outcome)) return error;
  const bool called = splits && splitters_[event.choice].calls() > 0;
  out += format_->end(event.choice, last->outcome, called, all_ended() ? &usage_ : nullptr);
  return std::nullopt;
}

std::optional<ApiError> Flight::tell(std::vector<Event> events, std::string& out) {
  for (auto& event : events)
    if (auto error = tell_one(event, out)) return error;
  if (all_ended()) out += format_->finish(usage_);
  return std::nullopt;
}

}  // namespace onebit::server
