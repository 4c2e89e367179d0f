// The tokenizer section of a model file: any bytes are an error or data that is written back as it was read.
#include <cstdlib>

#include "format/tokenizer_data.h"
#include "tokenizer/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace onebit;
  const std::string input(reinterpret_cast<const char*>(bytes), size);
  auto data = parse_tokenizer_data(std::as_bytes(std::span(input)));
  if (!data) return 0;
  if (serialize(*data) != input) std::abort();
  const auto tokenizer = Tokenizer::create(*std::move(data));
  if (!tokenizer) std::abort();
  const std::string text = input.substr(input.size() / 2);
  if (tokenizer->decode(tokenizer->encode(text, SpecialTokens::kParse), false) != text) std::abort();
  return 0;
}
