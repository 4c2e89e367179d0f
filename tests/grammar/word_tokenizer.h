// A tokenizer of single bytes and of the words given, as its users meet them: no merges lead to these.
#pragma once

#include <string>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace onebit::test {

/// Ids: 256 bytes, the words, <|begin_of_text|>, <|eot_id|>.
inline Tokenizer word_tokenizer(const std::vector<std::string>& words) {
  TokenizerData data;
  for (int byte = 0; byte < 256; ++byte) data.tokens.emplace_back(1, static_cast<char>(byte));
  for (const auto& word : words) data.tokens.push_back(word);
  data.special.assign(data.tokens.size(), false);
  for (const auto* name : {"<|begin_of_text|>", "<|eot_id|>"}) {
    data.tokens.emplace_back(name);
    data.special.push_back(true);
  }
  data.bos = static_cast<TokenId>(data.tokens.size()) - 2;
  data.stop_tokens = {static_cast<TokenId>(data.tokens.size()) - 1};
  return *Tokenizer::create(std::move(data));
}

/// As a large vocabulary has them: pieces of JSON that end one value and begin the next.
inline std::vector<std::string> json_words() {
  return {"{\"",  "\":",   "\": ",  "\",", "\", \"", "\"}",  "\"}}", "\"}]",  "}}",       "}]",       "]}",
          "]]",   "},",    "}, {",  "[{",  "[[",     "[]",   "{}",   "true",  "false",    "null",     "tru",
          "10",   "12",    "123",   "1,",  "-1",     "0.",   "e1",   "abc",   "name",     "value",    "a\"",
          "b\",", " \"",   ", ",    ": ",  "\n",     "\n  ", "\\n",  "\\u00", "\xC3\xA9", "\xE2\x82", "\x82\xAC",
          "next", "null}", ": {\"", "[1,", "ab",     "ba",   "aa",   "bb"};
}

}  // namespace onebit::test
