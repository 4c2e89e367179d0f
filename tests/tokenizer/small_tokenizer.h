// The tokenizer of test_data.h's data.
#pragma once

#include "tests/tokenizer/test_data.h"
#include "tokenizer/tokenizer.h"

namespace onebit::test {

inline const Tokenizer& small_tokenizer() {
  static const Tokenizer tokenizer = *Tokenizer::create(small_tokenizer_data());
  return tokenizer;
}

}  // namespace onebit::test
