// The tokenizer section of a model file: any bytes are an error or data that is written back as it was read.
#include <cstdlib>

#include "format/sentencepiece.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/tokenizer.h"

namespace onebit {
namespace {

/// What decoding must give back, as Tokenizer::encode() says.
bool comes_back(const TokenizerData& data, const Tokenizer& tokenizer, const std::string& text) {
  const auto back = [&](SpecialTokens special) { return tokenizer.decode(tokenizer.encode(text, special), false); };
  if (data.pre_tokenizer == PreTokenizer::kSentencePiece) {
    if (data.prefix_unless_space) return true;
    const auto spaced = piece_bytes(text);
    return piece_bytes(back(SpecialTokens::kAsText)) == spaced &&
           (data.space_prefix == SpacePrefix::kText || piece_bytes(back(SpecialTokens::kParse)) == spaced);
  }
  if (!data.nfc) return back(SpecialTokens::kAsText) == text && back(SpecialTokens::kParse) == text;
  std::string buffer;
  return !data.added.empty() || back(SpecialTokens::kAsText) == to_nfc(text, buffer);
}

}  // namespace
}  // namespace onebit

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace onebit;
  const std::string input(reinterpret_cast<const char*>(bytes), size);
  auto data = parse_tokenizer_data(std::as_bytes(std::span(input)));
  if (!data) return 0;
  if (serialize(*data) != input) std::abort();
  const auto tokenizer = Tokenizer::create(*data);
  if (!tokenizer) std::abort();
  if (!comes_back(*data, *tokenizer, input.substr(input.size() / 2))) std::abort();
  return 0;
}
