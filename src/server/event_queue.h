// What the engine's thread tells a request's coroutine.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <mutex>
#include <variant>
#include <vector>

#include "engine/engine_loop.h"

namespace onebit::server {

namespace asio = boost::asio;

struct PromptEvent {
  std::vector<GeneratedToken> tokens;
};
struct EmbeddingEvent {
  std::vector<float> values;
};
struct EndEvent {
  Outcome outcome;
  std::string rest;
};
struct Event {
  uint32_t choice;
  std::variant<PromptEvent, EmbeddingEvent, Answer::Piece, EndEvent> what;
};

/// Of one call, whose choices all write into it. Outlives the coroutine that reads it.
class EventQueue : public std::enable_shared_from_this<EventQueue> {
 public:
  /// More than `most` events that nobody fetches: the reader is too slow, and too_slow() becomes true.
  EventQueue(const asio::any_io_executor& executor, size_t most) : executor_(executor), timer_(executor), most_(most) {}

  /// By the engine's thread.
  void push(Event event);
  /// By the coroutine: all there is, at once or when something comes; nothing once `until` is reached or wake() was
  /// called.
  asio::awaitable<std::vector<Event>> take(asio::steady_timer::time_point until);
  /// Ends a take() that waits. By the coroutine's thread.
  void wake();
  bool too_slow() const;

 private:
  asio::any_io_executor executor_;
  asio::steady_timer timer_;
  const size_t most_;
  mutable std::mutex mutex_;
  std::vector<Event> events_;
  bool too_slow_ = false;
  bool woken_ = false;  // of the coroutine's thread
};

/// The listener of one choice.
class ChoiceListener final : public RequestListener {
 public:
  ChoiceListener(std::shared_ptr<EventQueue> queue, uint32_t choice) : queue_(std::move(queue)), choice_(choice) {}
  void on_prompt(std::vector<GeneratedToken> tokens) override {
    queue_->push({choice_, PromptEvent{std::move(tokens)}});
  }
  void on_embedding(std::vector<float> embedding) override {
    queue_->push({choice_, EmbeddingEvent{std::move(embedding)}});
  }
  void on_token(Answer::Piece piece) override { queue_->push({choice_, std::move(piece)}); }
  void on_end(const Outcome& outcome, std::string rest) override {
    queue_->push({choice_, EndEvent{outcome, std::move(rest)}});
  }

 private:
  std::shared_ptr<EventQueue> queue_;
  uint32_t choice_;
};

}  // namespace onebit::server
