// Models of a few kilobytes with every part that a big one has.
#pragma once

#include <cstdint>
#include <vector>

#include "format/h1b_file.h"
#include "format/h1b_writer.h"

namespace onebit::test {

/// Two layers whose widths differ from each other and are no multiples of a block or of 16 rows
/// (hidden 48, heads 2, kv_heads 1, head_dim 16, ffn 80, vocabulary 300, context 32).
ModelConfig tiny_config();
/// The least that a model can be: one layer of width 2 and the 258 tokens that a tokenizer needs.
ModelConfig least_config();

/// The 256 single bytes, merges of letters, and <|begin_of_text|> and <|eot_id|> as the last two; ids
/// between them are empty. `vocabulary` is at least 258.
TokenizerData tiny_tokenizer(uint32_t vocabulary);

ModelParts tiny_parts(const ModelConfig& config);

/// Every weight of a tiled tensor, [rows][columns].
std::vector<int8_t> unpack_all(const Tensor& tensor);

}  // namespace onebit::test
