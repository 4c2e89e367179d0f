#include "format/model_tensors.h"

namespace onebit {
namespace {

constexpr std::array kLinearNames{"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"};
constexpr std::array kNormNames{"attn_norm", "attn_sub_norm", "ffn_norm", "ffn_sub_norm"};

TensorSpec norm_spec(std::string name, uint32_t width) {
  return {.name = std::move(name), .kind = TensorKind::kNorm, .packing = Packing::kF32, .rows = 1, .columns = width};
}

TensorSpec linear_spec(const ModelConfig& config, uint32_t layer, Linear linear, Packing packing) {
  const auto shape = shape_of(config, linear);
  return {.name = tensor_name(layer, linear),
          .kind = TensorKind::kLinear,
          .packing = packing,
          .granularity = ScaleGranularity::kTensor,
          .rows = shape.outputs,
          .columns = shape.inputs};
}

}  // namespace

std::string tensor_name(uint32_t layer, Linear linear) {
  return fmt::format("blk.{}.{}", layer, kLinearNames[static_cast<size_t>(linear)]);
}

std::string tensor_name(uint32_t layer, Norm norm) {
  return fmt::format("blk.{}.{}", layer, kNormNames[static_cast<size_t>(norm)]);
}

LinearShape shape_of(const ModelConfig& c, Linear linear) {
  switch (linear) {
    case Linear::kQuery:
      return {c.query_width(), c.hidden};
    case Linear::kKey:
    case Linear::kValue:
      return {c.kv_width(), c.hidden};
    case Linear::kAttentionOutput:
      return {c.hidden, c.query_width()};
    case Linear::kGate:
    case Linear::kUp:
      return {c.ffn, c.hidden};
    case Linear::kDown:
      return {c.hidden, c.ffn};
  }
  return {};
}

uint32_t width_of(const ModelConfig& c, Norm norm) {
  switch (norm) {
    case Norm::kAttention:
    case Norm::kFfn:
      return c.hidden;
    case Norm::kAttentionSub:
      return c.query_width();
    case Norm::kFfnSub:
      return c.ffn;
  }
  return 0;
}

std::vector<TensorSpec> model_tensors(const ModelConfig& config, Packing ternary, Packing head) {
  std::vector<TensorSpec> specs;
  specs.push_back({.name = kEmbeddingName,
                   .kind = TensorKind::kEmbedding,
                   .packing = Packing::kBf16,
                   .rows = config.vocabulary,
                   .columns = config.hidden});
  for (uint32_t layer = 0; layer < config.layers; ++layer) {
    for (const auto norm : kNorms) specs.push_back(norm_spec(tensor_name(layer, norm), width_of(config, norm)));
    for (const auto linear : kLinears) specs.push_back(linear_spec(config, layer, linear, ternary));
  }
  specs.push_back(norm_spec(kOutputNormName, config.hidden));
  specs.push_back({.name = kHeadName,
                   .kind = TensorKind::kHead,
                   .packing = head,
                   .granularity = head == Packing::kQ8 ? ScaleGranularity::kRow : ScaleGranularity::kNone,
                   .rows = config.vocabulary,
                   .columns = config.hidden});
  return specs;
}

}  // namespace onebit
