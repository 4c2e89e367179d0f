// The language model of a loop in this process: a conversation with an engine's model.
#pragma once

#include <string>
#include <vector>

#include "engine/generate.h"
#include "engine/model.h"
#include "tokenizer/chat_layout.h"
#include "voice/loop.h"

namespace onebit::voice {

/// How warm voices answer; elsewhere 0 is usual.
inline constexpr float kVoiceTemperature = 0.7f;

struct EngineModelOptions {
  GenerateParams params{};
  std::string system;    // instructions put before the conversation; empty: none
  bool remember = true;  // false: each question is a conversation of its own
};

class EngineModel : public LanguageModel {
 public:
  /// `model` must outlive it and have a chat layout (answer() tells where not). It computes for nobody else meanwhile.
  EngineModel(Model& model, EngineModelOptions options, const Sequence::Spare& spare = {});

  Status answer(const std::string& question, const Sink& sink, const std::stop_token& stop) override;
  void remember(const std::string& question, const std::string& heard) override;

 private:
  Result<std::vector<TokenId>> prompt_for(const std::string& question);

  Model& model_;
  EngineModelOptions options_;
  Sequence sequence_;
  std::vector<ChatMessage> messages_;  // in pairs
};

}  // namespace onebit::voice
