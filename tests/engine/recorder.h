// Listeners that keep what they hear of an answer.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/request.h"

namespace onebit::test {

/// Keeps what it hears, and may cancel.
class Recorder : public RequestListener {
 public:
  void on_prompt(std::vector<GeneratedToken> of_prompt) override { prompt = std::move(of_prompt); }
  void on_token(Answer::Piece piece) override {
    EXPECT_FALSE(outcome) << "nothing comes after the end";
    text += piece.text;
    tokens.push_back(std::move(piece.token));
    if (tokens.size() == cancel_after) cancelled->store(true);
  }
  void on_end(const Outcome& o, std::string rest) override {
    EXPECT_FALSE(outcome) << "one end";
    text += rest;
    outcome = o;
  }

  std::vector<GeneratedToken> prompt, tokens;
  std::string text;
  std::optional<Outcome> outcome;
  size_t cancel_after = ~size_t{0};
  std::shared_ptr<std::atomic<bool>> cancelled = std::make_shared<std::atomic<bool>>(false);
};

/// Waits for its end.
class Waiter : public Recorder {
 public:
  void on_end(const Outcome& o, std::string rest) override {
    Recorder::on_end(o, std::move(rest));
    done = true;
    done.notify_all();
  }
  std::atomic<bool> done{false};
};

}  // namespace onebit::test
