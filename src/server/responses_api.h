// POST /v1/responses, OpenAI's newer API, without its state: nothing is kept here, a conversation is sent whole.
// https://platform.openai.com/docs/api-reference/responses
#pragma once

#include <nlohmann/json.hpp>

#include "server/api_format.h"

namespace onebit::server {

/// A request as the chat completion that it is; the error names the field of the request.
ApiResult<nlohmann::json> chat_of_response(const nlohmann::json& root);
ApiResult<ApiCall> read_response(std::string_view body, const ApiContext& context);

/// The response object, and the events that tell it piece by piece.
class ResponsesFormat final : public ApiFormat {
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
  std::string event(const char* type, nlohmann::ordered_json fields);

  std::string start_text();
  std::string start_call(const ToolCall& call);
  std::string stop(const char* status);  // what is open

  enum class Open { kNothing, kText, kCall };
  Open open_ = Open::kNothing;
  nlohmann::ordered_json output_ = nlohmann::ordered_json::array();  // items that are done
  ChoiceText so_far_;                                                // of the message that is open
  ToolCall call_so_far_;                                             // of the call that is open
  FinishReason reason_ = FinishReason::kStop;
  uint64_t events_ = 0;
};

}  // namespace onebit::server
