// Ollama's /api/chat, /api/generate, /api/tags, /api/ps, /api/show and /api/version.
// https://github.com/ollama/ollama/blob/main/docs/api.md
#pragma once

#include <chrono>

#include "server/api_format.h"
#include "server/model_facts.h"

namespace onebit::server {

ApiResult<ApiCall> read_ollama_chat(std::string_view body, const ApiContext& context);
ApiResult<ApiCall> read_ollama_generate(std::string_view body, const ApiContext& context);

/// {"error": "…"}
std::string ollama_error(const ApiError& error);

/// A model's name may end with ":latest", which says nothing.
std::string_view without_tag(std::string_view name);
/// The same of the field "model" (or, of old, "name").
void without_tag(nlohmann::json& root);
int64_t nanoseconds(double milliseconds);

/// An answer in one object, or objects one a line.
class OllamaFormat : public ApiFormat {
 public:
  using ApiFormat::ApiFormat;
  std::string whole(const std::vector<ChoiceText>& choices, const std::vector<Outcome>& outcomes,
                    const ApiUsage& usage) const override;
  std::string begin(uint32_t choice) override;
  std::string piece(uint32_t choice, const ChoiceText& piece) override;
  std::string calls(uint32_t choice, const ToolCallSplitter::Piece& piece,
                    const std::vector<GeneratedToken>& tokens) override;
  std::string end(uint32_t choice, const Outcome& outcome, bool called_tools, const ApiUsage* timings) override;
  std::string finish(const ApiUsage& usage) override;
  std::string error(const ApiError& error) const override;

 private:
  nlohmann::ordered_json object(const std::string& text) const;
  nlohmann::ordered_json last(const std::string& text, FinishReason reason, const ApiUsage& usage) const;

  FinishReason reason_ = FinishReason::kStop;
  SaidAndCalled called_;  // calls are told whole
};

/// What is told of a model.
struct OllamaModel {
  std::string name;
  const ModelFacts& facts;
};
std::string ollama_tags(std::span<const OllamaModel> models);
/// Those that are loaded.
std::string ollama_ps(std::span<const OllamaModel> models);
std::string ollama_show(const OllamaModel& model, const Tokenizer* tokenizer);

}  // namespace onebit::server
