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
  StreamDecoder(const Tokenizer& tokenizer, bool skip_special)
      : StreamDecoder(tokenizer, skip_special, tokenizer.takes_space({})) {}
  /// Of an answer that goes on from other ids: `begins` is Tokenizer::takes_space() of these.
  StreamDecoder(const Tokenizer& tokenizer, bool skip_special, bool begins)
      : tokenizer_(tokenizer), skip_special_(skip_special), begins_(begins) {}

  /// Text that became certain with this token; empty while a character is incomplete.
  std::string push(TokenId id);
  /// What was held back, replaced by U+FFFD.
  std::string finish();

 private:
  const Tokenizer& tokenizer_;
  bool skip_special_;
  bool begins_;       // a space would not be the text's
  std::string held_;  // at most 3 bytes: the beginning of a character
};

}  // namespace onebit
