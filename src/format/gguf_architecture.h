// What the name in general.architecture says of a model: one row a name.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "format/model_tensors.h"

namespace onebit {

struct GgufArchitecture {
  std::string_view name;  // also the beginning of its metadata keys
  NormChoice norms;
  Activation activation;  // a file's onebit.activation goes before it
  /// Rows of attn_q and attn_k stand in the order of a RoPE that turns neighbours (0 and 1, 2 and 3, …), where this
  /// program's turns the two halves of a head.
  bool interleaved_rope = false;
  /// Readers multiply a product by a tensor beside it, blk.N.attn_q.scale and so on.
  bool scale_tensors = false;
};

/// Null for a name that is not known.
const GgufArchitecture* find_gguf_architecture(std::string_view name);
/// The first with the norms of this model. Null where there is none.
const GgufArchitecture* gguf_architecture_of(const ModelConfig& config);
/// "bitnet, …": all that are known.
std::string gguf_architecture_names();

/// Where a file of this architecture has row `row` of a product.
uint64_t gguf_row(const GgufArchitecture& architecture, const ModelConfig& config, Linear linear, uint64_t row);

}  // namespace onebit
