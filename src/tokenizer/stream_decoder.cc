#include "tokenizer/stream_decoder.h"

#include <utility>

#include "base/utf8.h"

namespace onebit {

std::string StreamDecoder::push(TokenId id) {
  held_ += tokenizer_.token_text(id, skip_special_, begins_);
  // The suffix begins at the lead byte of a character, so replacing what is before it by itself gives the
  // same as replacing the whole.
  const size_t certain = held_.size() - utf8_incomplete_suffix(held_);
  std::string text = utf8_replace_invalid(std::string_view(held_).substr(0, certain));
  held_.erase(0, certain);
  return text;
}

std::string StreamDecoder::finish() {
  return utf8_replace_invalid(std::exchange(held_, {}));
}

}  // namespace onebit
