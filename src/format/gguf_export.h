// A model file as GGUF: for programs that read it, and back.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "format/gguf_types.h"
#include "format/h1b_file.h"
#include "format/model_writer.h"

namespace onebit {

struct GgufOptions {
  gguf::Type ternary = gguf::Type::kTq2_0;   // tq1_0, tq2_0, f16 or bf16
  gguf::Type embedding = gguf::Type::kBf16;  // and of an untied head: q8_0, bf16, f16 or f32
  std::string architecture;                  // a name of format/gguf_architecture.h; empty: the first that fits
};

/// What does not come back from the file as it was, or means something else to other programs: sentences for a user.
struct GgufSummary {
  std::vector<std::string> notes;
  std::string caution;  // what other programs make of the file, where it is not what the model computes
};

/// Ternary products are exact but for their scales: "bitnet" has float32 scales in tensors of their own, beside blocks
/// of scale 1; for the other architectures, and for scales a row or a group, blocks have them, rounded to the type's
/// precision. A product whose scales do not survive that has them in the metadata too (docs/gguf.md), where import_gguf
/// finds them. So a model that is exported and converted again has the same tensors, config and tokenizer; what a
/// `note` names is excepted.
///
/// Errors: norms that no architecture has, or not the one asked for; a RoPE with scaled frequencies; widths that are no
/// multiple of a block; several scales in a block of tq1_0 or tq2_0; scales that f16 or bf16 makes 0.
Result<GgufSummary> export_gguf(const H1bFile& model, const std::string& path, const GgufOptions& options,
                                const WriteProgress& progress = {});

/// 256 weights of -1, 0 and 1 as a block of tq1_0 (54 bytes) or tq2_0 (66).
std::string gguf_block(gguf::Type type, std::span<const int8_t, 256> weights, float scale = 1.0f);

}  // namespace onebit
