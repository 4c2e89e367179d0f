// The protocols that the server speaks: how each reads a request that generates, writes its answer, and refuses.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "server/api_format.h"
#include "server/api_request.h"

namespace onebit::server {

struct Protocol {
  const char* id_prefix;  // of an answer's id
  ApiResult<ApiCall> (*read)(std::string_view body, const ApiContext& context);
  std::unique_ptr<ApiFormat> (*format)(const ApiCall& call, const Tokenizer& tokenizer, ApiHead head);
  const char* stream_type = "text/event-stream";
  const char* waiting = ": waiting\n\n";  // what a stream says that has nothing to say
};

extern const Protocol kChatProtocol, kCompletionProtocol;            // OpenAI's
extern const Protocol kResponsesProtocol;                            // OpenAI's: responses_api.h
extern const Protocol kMessagesProtocol;                             // Anthropic's: messages_api.h
extern const Protocol kOllamaChatProtocol, kOllamaGenerateProtocol;  // ollama_api.h
extern const Protocol kEmbeddingsProtocol, kOllamaEmbedProtocol;     // embeddings_api.h; no streams

/// Of the protocol that a path belongs to.
ErrorForm error_form_of(std::string_view path);

template <class Format>
std::unique_ptr<ApiFormat> make_format(const ApiCall& call, const Tokenizer& tokenizer, ApiHead head) {
  return std::make_unique<Format>(call, tokenizer, std::move(head));
}

}  // namespace onebit::server
