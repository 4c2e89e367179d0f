// How much room a pull needs, and sizes as they are told.
#pragma once

#include <cstdint>
#include <string>

namespace onebit::hub {

/// Bytes that the model converted from `source` bytes of safetensors or GGUF has at most, with any packing and head:
///  - the ternary weights 1.25 times those of the source (tq1_0 at 1.69 bits becomes t2 at 2; masters shrink);
///  - the embedding in bf16 and a head of its own in 16 bits, which the source may have once only and in 4 bits: no
///    more than four times the source, nor than 2 GB (vocabulary times hidden up to 500 million, each 4 bytes);
///  - RoPE tables and the tokenizer, which may be new: 100 MB (131072 positions of 128 dimensions are 67).
uint64_t most_converted_bytes(uint64_t source);

/// "12.3 MB", from 1 GB on "1.23 GB".
std::string size_text(uint64_t bytes);

}  // namespace onebit::hub
