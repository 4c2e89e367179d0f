// A call under way: what the engine said of it so far, and what becomes of that.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/engine_loop.h"
#include "server/api_format.h"
#include "server/event_queue.h"
#include "server/metrics.h"

namespace onebit::server {

/// Whoever waits for a call's answer.
struct Client {
  std::atomic<bool> gone{false};
  std::shared_ptr<EventQueue> queue;             // once there is one
  std::shared_ptr<std::atomic<bool>> cancelled;  // once the engine has the call

  /// By the network's thread: nothing is to be done for it any more.
  void leave();
};

class Flight {
 public:
  /// `call` and `metrics` must outlive it, the metrics also what the engine does of it. `tenant`: whose prefixes.
  Flight(const ApiCall& call, std::unique_ptr<ApiFormat> format, Metrics& metrics, std::shared_ptr<Client> client,
         uint32_t tenant);
  Flight(const Flight&) = delete;
  Flight& operator=(const Flight&) = delete;
  /// What the engine still does of it ends with its next step.
  ~Flight() { client_->leave(); }

  /// Hands it to the engine; the error where that does not take it. `executor`: of the network's thread.
  std::optional<ApiError> submit(EngineLoop& engine, const asio::any_io_executor& executor);
  EventQueue& events() { return *client_->queue; }
  bool gone() const { return client_->gone; }
  bool all_ended() const { return ended_ == choices_.size(); }
  /// Its answer has so much JSON that writing it could hold up other connections.
  bool is_large() const { return call_.logprobs || call_.echo; }

  /// Keeps what came, for an answer in one piece; the error that ends it.
  std::optional<ApiError> collect(std::vector<Event> events);
  std::string whole() const { return format_->whole(choices_, outcomes_, usage_); }
  /// After all_ended(): what came of each choice.
  std::vector<ChoiceText>& choices() { return choices_; }
  const ApiUsage& usage() const { return usage_; }

  /// The same as events of a stream, the end of the stream with the last of them.
  std::string beginning();
  std::optional<ApiError> tell(std::vector<Event> events, std::string& out);
  std::string error(const ApiError& error) const { return format_->error(error); }

 private:
  std::optional<ApiError> collect_one(Event& event);
  std::optional<ApiError> tell_one(Event& event, std::string& out);
  std::optional<ApiError> end(uint32_t choice, const Outcome& outcome);
  void tell_calls(uint32_t choice, const ToolCallSplitter::Piece& piece, std::vector<GeneratedToken> tokens,
                  std::string& out);

  const ApiCall& call_;
  std::unique_ptr<ApiFormat> format_;
  Metrics& metrics_;
  std::shared_ptr<Client> client_;
  const uint32_t tenant_;
  std::vector<ChoiceText> choices_;
  std::vector<ToolCallSplitter> splitters_;  // of each choice of a stream whose text may have calls
  std::vector<Outcome> outcomes_;
  ApiUsage usage_;
  size_t ended_ = 0;
};

/// What the API says of the engine's refusal.
ApiError refusal_error(const EngineLoop::Ticket& ticket);

}  // namespace onebit::server
