#include "server/protocol.h"

#include "server/messages_api.h"
#include "server/ollama_api.h"

namespace onebit::server {

const Protocol kChatProtocol{"chatcmpl-", read_chat, make_format<ApiFormat>};
const Protocol kCompletionProtocol{"cmpl-", read_completion, make_format<ApiFormat>};

ErrorForm error_form_of(std::string_view path) {
  if (path.starts_with("/v1/messages")) return messages_error;
  if (path.starts_with("/api/")) return ollama_error;
  return [](const ApiError& error) { return error.json(); };
}

}  // namespace onebit::server
