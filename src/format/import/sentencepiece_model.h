// tokenizer.model, the file that SentencePiece writes: a protobuf message (sentencepiece_model.proto).
#pragma once

#include <string_view>

#include "base/result.h"
#include "format/tokenizer_data.h"

namespace onebit {

/// As tokenizer_from_pieces() of its pieces. What would give other ids than merging by score does (a unigram model,
/// another normalization, no byte fallback, …) is refused by name; fields without a bearing on ids are passed over.
/// A space goes before each stretch of text (add_dummy_prefix), as in the tokenizer.json that is made of such a file.
Result<TokenizerData> read_sentencepiece_model(std::string_view bytes, uint32_t vocabulary);

}  // namespace onebit
