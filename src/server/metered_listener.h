// Feeds the metrics with what the engine tells a request's listener.
#pragma once

#include <chrono>
#include <memory>

#include "engine/request.h"
#include "server/metrics.h"

namespace onebit::server {

/// On the engine's thread.
class MeteredListener final : public RequestListener {
 public:
  MeteredListener(std::shared_ptr<RequestListener> to, Metrics& metrics) : to_(std::move(to)), metrics_(metrics) {}
  void on_prompt(std::vector<GeneratedToken> tokens) override { to_->on_prompt(std::move(tokens)); }
  void on_token(Answer::Piece piece) override {
    const auto now = Clock::now();
    if (last_ != Clock::time_point()) metrics_.inter_token(std::chrono::duration<double>(now - last_).count());
    last_ = now;
    metrics_.token();
    to_->on_token(std::move(piece));
  }
  void on_embedding(std::vector<float> embedding) override { to_->on_embedding(std::move(embedding)); }
  void on_end(const Outcome& outcome, std::string rest) override {
    metrics_.ended(outcome);
    to_->on_end(outcome, std::move(rest));
  }

 private:
  using Clock = std::chrono::steady_clock;
  std::shared_ptr<RequestListener> to_;
  Metrics& metrics_;
  Clock::time_point last_{};
};

}  // namespace onebit::server
