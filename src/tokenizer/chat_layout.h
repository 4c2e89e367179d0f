// Conversations as token ids.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace onebit {

struct ChatMessage {
  std::string role;     // system, user or assistant
  std::string content;  // any text; white space at its ends is dropped, as the models' templates do
};

/// BOS, the messages in the model's layout and, with `open_answer`, the opening of the assistant's
/// turn. Only the layout's own markers become special tokens: the contents are plain text whatever
/// they contain. Errors: the model has no chat layout, or a role that the layout does not know.
Result<std::vector<TokenId>> encode_chat(const Tokenizer& tokenizer, std::span<const ChatMessage> messages,
                                         bool open_answer);

}  // namespace onebit
