// llama.cpp's names of pre-tokenizers, GGUF's tokenizer.ggml.pre.
#pragma once

#include <string_view>

#include "base/result.h"
#include "format/tokenizer_data.h"

namespace onebit {

/// What a name says of byte-level vocabularies. llama.cpp itself normalizes nothing: `nfc` is what the tokenizer.json
/// of the models with that name asks for.
struct GgmlPreTokenizer {
  PreTokenizer pre_tokenizer = PreTokenizer::kLlama3;
  bool ignore_merges = false;
  bool nfc = false;
};

/// Fails with the names that are known.
Result<GgmlPreTokenizer> ggml_pre_tokenizer(std::string_view name);
/// The name by which llama.cpp cuts text alike; not for PreTokenizer::kSentencePiece.
std::string_view ggml_pre_tokenizer_name(const TokenizerData& data);

}  // namespace onebit
