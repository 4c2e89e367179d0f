#include "backend/weights.h"

#include <cmath>

#include "format/model_tensors.h"

namespace onebit {
namespace {

/// Looks tensors up by name and checks kind and shape.
class Binder {
 public:
  explicit Binder(const H1bFile& file) : file_(file) {}

  Result<const Tensor*> find(const std::string& name, TensorKind kind, uint64_t rows, uint64_t columns) const {
    const Tensor* tensor = file_.find(name);
    if (tensor == nullptr) return fail("{}: tensor {}: is missing", file_.path(), name);
    if (tensor->kind != kind)
      return fail("{}: tensor {}: kind is {}, expected {}", file_.path(), name, name_of(tensor->kind), name_of(kind));
    if (tensor->rows != rows || tensor->columns != columns)
      return fail("{}: tensor {}: shape is {} x {}, expected {} x {}", file_.path(), name, tensor->rows,
                  tensor->columns, rows, columns);
    return tensor;
  }

  Result<std::span<const float>> norm(const std::string& name, uint32_t width) const {
    ASSIGN_OR_RETURN(const Tensor* t, find(name, TensorKind::kNorm, 1, width));
    if (t->packing != Packing::kF32) return unexpected_packing(*t, "f32");
    return std::span(reinterpret_cast<const float*>(t->matrix.data()), width);
  }

  Result<IntegerMatrix> linear(uint32_t layer, Linear linear) const {
    const auto shape = shape_of(file_.config(), linear);
    ASSIGN_OR_RETURN(const Tensor* t,
                     find(tensor_name(layer, linear), TensorKind::kLinear, shape.outputs, shape.inputs));
    if (!is_ternary(t->packing)) return unexpected_packing(*t, "t2, t1_6 or s1_25");
    // Products with s1_25 take activations in an order of their own, and several share theirs.
    const Tensor* first = file_.find(tensor_name(0, Linear::kQuery));
    if (first != nullptr && (first->packing == Packing::kS1_25) != (t->packing == Packing::kS1_25))
      return unexpected_packing(*t, fmt::format("{}, as {} is", name_of(first->packing), first->name));
    return integer_matrix(*t);
  }

  Result<HalfMatrix> half(const std::string& name, TensorKind kind) const {
    ASSIGN_OR_RETURN(const Tensor* t, find(name, kind, file_.config().vocabulary, file_.config().hidden));
    if (t->packing != Packing::kBf16 && (t->packing != Packing::kF16 || kind == TensorKind::kEmbedding))
      return unexpected_packing(*t, "bf16");
    return half_matrix(*t);
  }

  static IntegerMatrix integer_matrix(const Tensor& t) {
    return {.packing = t.packing,
            .rows = static_cast<uint32_t>(t.rows),
            .columns = static_cast<uint32_t>(t.columns),
            .data = t.matrix,
            .granularity = t.granularity,
            .group = t.group,
            .scales = t.scale_values};
  }

  static HalfMatrix half_matrix(const Tensor& t) {
    return {.packing = t.packing,
            .rows = static_cast<uint32_t>(t.rows),
            .columns = static_cast<uint32_t>(t.columns),
            .data = {reinterpret_cast<const uint16_t*>(t.matrix.data()), t.matrix.size() / sizeof(uint16_t)}};
  }

 private:
  tl::unexpected<Error> unexpected_packing(const Tensor& t, std::string_view expected) const {
    return fail("{}: tensor {}: packing is {}, expected {}", file_.path(), t.name, name_of(t.packing), expected);
  }

  const H1bFile& file_;
};

std::span<const float>& place_of(LayerWeights& w, Norm norm) {
  switch (norm) {
    case Norm::kAttention:
      return w.attn_norm;
    case Norm::kAttentionSub:
      return w.attn_sub_norm;
    case Norm::kFfn:
      return w.ffn_norm;
    case Norm::kFfnSub:
      return w.ffn_sub_norm;
    case Norm::kQueryHead:
      return w.q_head_norm;
    case Norm::kKeyHead:
      return w.k_head_norm;
    case Norm::kQueryInput:
      return w.q_input_norm;
    case Norm::kKeyInput:
      return w.k_input_norm;
    case Norm::kValueInput:
      return w.v_input_norm;
    case Norm::kGateInput:
      return w.gate_input_norm;
    case Norm::kUpInput:
      break;
  }
  return w.up_input_norm;
}

Result<LayerWeights> bind_layer(const Binder& binder, const ModelConfig& config, uint32_t layer) {
  LayerWeights w;
  for (const auto norm : norms_of(config)) {
    ASSIGN_OR_RETURN(place_of(w, norm), binder.norm(tensor_name(layer, norm), width_of(config, norm)));
  }
  ASSIGN_OR_RETURN(w.attn_q, binder.linear(layer, Linear::kQuery));
  ASSIGN_OR_RETURN(w.attn_k, binder.linear(layer, Linear::kKey));
  ASSIGN_OR_RETURN(w.attn_v, binder.linear(layer, Linear::kValue));
  ASSIGN_OR_RETURN(w.attn_output, binder.linear(layer, Linear::kAttentionOutput));
  ASSIGN_OR_RETURN(w.ffn_gate, binder.linear(layer, Linear::kGate));
  ASSIGN_OR_RETURN(w.ffn_up, binder.linear(layer, Linear::kUp));
  ASSIGN_OR_RETURN(w.ffn_down, binder.linear(layer, Linear::kDown));
  return w;
}

}  // namespace

float score_factor_of(const ModelConfig& config) {
  return static_cast<float>(1.0 / std::sqrt(static_cast<double>(config.head_dim)));
}

Result<ModelWeights> bind_weights(const H1bFile& file, HeadChoice head) {
  const auto& config = file.config();
  const Binder binder(file);
  ModelWeights w;
  w.file = &file;
  w.config = config;
  ASSIGN_OR_RETURN(w.embedding, binder.half(kEmbeddingName, TensorKind::kEmbedding));
  for (uint32_t layer = 0; layer < config.layers; ++layer) {
    ASSIGN_OR_RETURN(const auto layer_weights, bind_layer(binder, config, layer));
    w.layers.push_back(layer_weights);
  }
  ASSIGN_OR_RETURN(w.output_norm, binder.norm(kOutputNormName, config.hidden));
  w.rope_cos = file.rope_cos();
  w.rope_sin = file.rope_sin();
  if (head == HeadChoice::kEmbedding) {
    if (!config.tied_head)
      return fail("{}: the head is not tied to the embedding, so the embedding cannot serve as the head", file.path());
    w.head = w.embedding;
    return w;
  }
  ASSIGN_OR_RETURN(const Tensor* stored, binder.find(kHeadName, TensorKind::kHead, config.vocabulary, config.hidden));
  if (stored->packing == Packing::kQ8) {
    w.head = Binder::integer_matrix(*stored);
  } else {
    ASSIGN_OR_RETURN(w.head, binder.half(kHeadName, TensorKind::kHead));
  }
  return w;
}

}  // namespace onebit
