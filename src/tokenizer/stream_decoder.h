// Text out of tokens as they come, never half a character.
#pragma once

#include <string>

#include "tokenizer/tokenizer.h"

namespace onebit {

/// One per answer. The concatenation of all push() results and finish() is the decoded text with
/// invalid bytes replaced by U+FFFD; every single result is valid UTF-8.
class StreamDecoder {
 public:
  /// `tokenizer` must outlive the decoder.
  StreamDecoder(const Tokenizer& tokenizer, bool skip_special) : tokenizer_(tokenizer), skip_special_(skip_special) {}

  /// Text that became certain with this token; empty while a character is incomplete.
  std::string push(TokenId id);
  /// What was held back, replaced by U+FFFD.
  std::string finish();

 private:
  const Tokenizer& tokenizer_;
  bool skip_special_;
  std::string held_;  // at most 3 bytes: the beginning of a character
};

}  // namespace onebit
