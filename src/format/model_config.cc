#include "format/model_config.h"

#include <cmath>

namespace onebit {
namespace {

Status check_range(const char* field, uint64_t value, uint64_t low, uint64_t high) {
  if (value < low || value > high) return fail("config: {} is {}, expected {} to {}", field, value, low, high);
  return {};
}

}  // namespace

std::string_view family_name(const ModelConfig& c) {
  if (c.norms.heads) return "qwen3";
  return c.norms.sub ? "bitnet" : "llama";
}

std::string_view name_of(Activation activation) {
  return activation == Activation::kSilu ? "silu" : "relu2";
}

Status validate(const ModelConfig& c) {
  if (c.activation != Activation::kSquaredRelu && c.activation != Activation::kSilu)
    return fail("config: activation is {}, this version knows 1 (relu2) and 2 (silu)",
                static_cast<uint32_t>(c.activation));
  if (c.pooling > Pooling::kMean)
    return fail("config: pooling is {}, this version knows 0 to 2", static_cast<uint32_t>(c.pooling));
  if (c.norms.projections && !c.norms.sub)
    return fail("config: projection norms without sub-norms, which belong to them");
  // A row of 131,072 int8 products, each at most 128·127, still fits an int32 accumulator.
  constexpr uint64_t kMaxWidth = 131072;
  RETURN_IF_ERROR(check_range("layers", c.layers, 1, 1024));
  RETURN_IF_ERROR(check_range("hidden", c.hidden, 1, kMaxWidth));
  RETURN_IF_ERROR(check_range("heads", c.heads, 1, 4096));
  RETURN_IF_ERROR(check_range("kv_heads", c.kv_heads, 1, c.heads));
  RETURN_IF_ERROR(check_range("head_dim", c.head_dim, 2, 1024));
  RETURN_IF_ERROR(check_range("ffn", c.ffn, 1, kMaxWidth));
  RETURN_IF_ERROR(check_range("vocabulary", c.vocabulary, 1, 1u << 22));
  RETURN_IF_ERROR(check_range("context", c.context, 1, 1u << 20));
  RETURN_IF_ERROR(check_range("heads · head_dim", uint64_t{c.heads} * c.head_dim, 1, kMaxWidth));
  if (c.heads % c.kv_heads != 0)
    return fail("config: heads is {}, expected a multiple of kv_heads ({})", c.heads, c.kv_heads);
  if (c.head_dim % 2 != 0) return fail("config: head_dim is {}, expected an even number", c.head_dim);
  if (!(c.rms_epsilon > 0.0f && c.rms_epsilon <= 1.0f))
    return fail("config: rms_epsilon is {}, expected more than 0 and at most 1", c.rms_epsilon);
  if (!(c.rope_theta >= 1.0 && std::isfinite(c.rope_theta)))
    return fail("config: rope_theta is {}, expected a finite number from 1", c.rope_theta);
  return {};
}

}  // namespace onebit
