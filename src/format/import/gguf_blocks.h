// Rows of GGUF tensors as numbers. The layouts of the blocks: docs/gguf.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/result.h"
#include "format/import/gguf_file.h"

namespace onebit {

/// Columns that share a scale in a stored row: those of a block; of f16, bf16 and f32, which store none, 32, the finest
/// granularity that an .h1b file has.
uint64_t ternary_block(const gguf::TypeInfo& info);
/// Whether a product of this type is read: i2_s, tq1_0, tq2_0, q2_0, f16, bf16 and f32.
bool is_ternary(const gguf::TypeInfo& info);

/// One row of a ternary tensor: `trits` is [columns], -1, 0 or 1; `scales` is [ceil(columns / ternary_block)], each
/// finite and not negative (the trits of a block with a negative one are turned round). Where a scale is 0 the block is
/// one of zeros, whatever its trits are. Errors name the column and what was found: a code that is no trit, f16, bf16
/// and f32 values of a block other than 0 and ± one number, a scale that is no finite number.
Status decode_ternary_row(const GgufTensor& tensor, uint64_t row, std::span<int8_t> trits, std::span<float> scales);

/// Whether rows of this type are read as numbers: f32, f16, bf16, q8_0, q6_k, q4_k and q4_0.
bool is_wide(const gguf::TypeInfo& info);
/// One row of such a tensor: `out` is [columns]. Values may be NaN or infinite where the file has such.
void decode_wide_row(const GgufTensor& tensor, uint64_t row, std::span<float> out);

}  // namespace onebit
