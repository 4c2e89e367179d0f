// A model file as GGUF, for peers that read it: speed beside speed on the same shape.
#pragma once

#include <string>

#include "base/result.h"
#include "format/h1b_file.h"
#include "format/model_writer.h"

namespace onebit {

enum class GgufTernary { kTq1_0, kTq2_0 };
enum class GgufEmbedding { kBf16, kQ8_0 };

struct GgufOptions {
  GgufTernary ternary = GgufTernary::kTq2_0;
  GgufEmbedding embedding = GgufEmbedding::kQ8_0;
};

/// Writes the tensors under llama.cpp's architecture "bitnet": ternary products exactly (blocks of scale 1, the
/// product's scale in a tensor of its own), norms as f32, the embedding as asked; an untied head is rounded to the
/// embedding's type. That architecture gates with SiLU where this model squares a ReLU, so another program's answers
/// are not this model's. Errors: widths that are no multiple of a block, scales that are not one a tensor.
Status export_gguf(const H1bFile& model, const std::string& path, const GgufOptions& options,
                   const WriteProgress& progress = {});

/// 256 weights of -1, 0 and 1 as a block with scale 1: 54 bytes (TQ1_0) or 66 (TQ2_0).
std::string gguf_block(GgufTernary type, std::span<const int8_t, 256> weights);

}  // namespace onebit
