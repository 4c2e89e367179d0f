#include "format/model_tensors.h"

namespace onebit {
namespace {

constexpr std::array kLinearNames{"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"};
constexpr std::array kNormNames{"attn_norm",      "attn_sub_norm",    "ffn_norm",       "ffn_sub_norm",
                                "attn_q_norm",    "attn_k_norm",      "attn_q_norm_in", "attn_k_norm_in",
                                "attn_v_norm_in", "ffn_gate_norm_in", "ffn_up_norm_in"};

TensorSpec norm_spec(std::string name, uint32_t width) {
  return {.name = std::move(name), .kind = TensorKind::kNorm, .packing = Packing::kF32, .rows = 1, .columns = width};
}

TensorSpec linear_spec(const ModelConfig& config, uint32_t layer, Linear linear, const LinearStorage& storage) {
  const auto shape = shape_of(config, linear);
  return {.name = tensor_name(layer, linear),
          .kind = TensorKind::kLinear,
          .packing = storage.packing,
          .granularity = storage.granularity,
          .group = storage.group,
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
    case Norm::kQueryInput:
    case Norm::kKeyInput:
    case Norm::kValueInput:
    case Norm::kGateInput:
    case Norm::kUpInput:
      return c.hidden;
    case Norm::kQueryHead:
    case Norm::kKeyHead:
      return c.head_dim;
    case Norm::kAttentionSub:
      return c.query_width();
    case Norm::kFfnSub:
      return c.ffn;
  }
  return 0;
}

std::vector<Norm> norms_of(const ModelConfig& config) {
  std::vector<Norm> norms{Norm::kAttention};
  const auto add = [&](bool has, std::initializer_list<Norm> some) {
    if (has) norms.insert(norms.end(), some);
  };
  add(config.norms.sub, {Norm::kAttentionSub});
  add(true, {Norm::kFfn});
  add(config.norms.sub, {Norm::kFfnSub});
  add(config.norms.heads, {Norm::kQueryHead, Norm::kKeyHead});
  add(config.norms.projections,
      {Norm::kQueryInput, Norm::kKeyInput, Norm::kValueInput, Norm::kGateInput, Norm::kUpInput});
  return norms;
}

std::vector<TensorSpec> model_tensors(const ModelConfig& config, const LinearStorage& linears, Packing head) {
  std::vector<TensorSpec> specs;
  specs.push_back({.name = kEmbeddingName,
                   .kind = TensorKind::kEmbedding,
                   .packing = Packing::kBf16,
                   .rows = config.vocabulary,
                   .columns = config.hidden});
  for (uint32_t layer = 0; layer < config.layers; ++layer) {
    for (const auto norm : norms_of(config))
      specs.push_back(norm_spec(tensor_name(layer, norm), width_of(config, norm)));
    for (const auto linear : kLinears) specs.push_back(linear_spec(config, layer, linear, linears));
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
