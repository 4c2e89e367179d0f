// POST /v1/messages and /v1/messages/count_tokens: Anthropic's API.
// https://docs.anthropic.com/en/api/messages
#pragma once

#include <nlohmann/json.hpp>

#include "server/api_format.h"

namespace onebit::server {

/// A request as the chat completion that it is; the error names the field of the request.
ApiResult<nlohmann::json> chat_of_messages(const nlohmann::json& root);
ApiResult<ApiCall> read_messages_call(std::string_view body, const ApiContext& context);

/// How many tokens a request's prompt has, also where it is longer than the context.
ApiResult<std::string> count_tokens(std::string_view body, const ApiContext& context);

/// {"type": "error", "error": {"type", "message"}}
std::string messages_error(const ApiError& error);

/// The message object, and the events that tell it piece by piece.
class MessagesFormat final : public ApiFormat {
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
  enum class Open { kNothing, kText, kCall };
  std::string start(Open what, nlohmann::ordered_json block);
  std::string stop();
  std::string delta(nlohmann::ordered_json what) const;

  Outcome outcome_;
  bool called_ = false;
  Open open_ = Open::kNothing;  // block number `block_`
  size_t block_ = 0;
};

}  // namespace onebit::server
