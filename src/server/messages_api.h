// POST /v1/messages and /v1/messages/count_tokens: Anthropic's API.
// https://docs.anthropic.com/en/api/messages
#pragma once

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
  std::string end(uint32_t choice, const Outcome& outcome, const ApiUsage* timings) override;
  std::string finish(const ApiUsage& usage) override;
  std::string error(const ApiError& error) const override;

 private:
  Outcome outcome_;
  bool open_ = false;  // a block of text
};

}  // namespace onebit::server
