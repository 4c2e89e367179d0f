#include "backend/cpu_model.h"

namespace onebit {
namespace {

cpu::PackedMatrix packed_view(const IntegerMatrix& w) {
  using cpu::PackedMatrix;
  PackedMatrix m;
  m.data = reinterpret_cast<const uint8_t*>(w.data.data());
  m.rows = w.rows;
  m.columns = w.columns;
  m.groups = w.groups();
  m.blocks = w.blocks();
  m.kind = w.packing == Packing::kT2      ? PackedMatrix::kT2
           : w.packing == Packing::kT1_6  ? PackedMatrix::kT1_6
           : w.packing == Packing::kS1_25 ? PackedMatrix::kS1_25
                                          : PackedMatrix::kQ8;
  m.scales = w.scales.data();
  m.granularity = w.granularity == ScaleGranularity::kTensor ? PackedMatrix::kOne
                  : w.granularity == ScaleGranularity::kRow  ? PackedMatrix::kPerRow
                                                             : PackedMatrix::kPerGroup;
  m.scale_group = w.group;
  return m;
}

}  // namespace

CpuModel::CpuModel(ModelWeights bound, KvType kv_type, const cpu::Kernels& table)
    : weights(std::move(bound)),
      config(weights.config),
      kernels(table),
      kv(weights.config, kv_type),
      score_factor(score_factor_of(weights.config)) {
  for (const auto& w : weights.layers)
    layers.push_back({.attn_norm = w.attn_norm.data(),
                      .attn_sub_norm = w.attn_sub_norm.data(),
                      .ffn_norm = w.ffn_norm.data(),
                      .ffn_sub_norm = w.ffn_sub_norm.data(),
                      .q_head_norm = w.q_head_norm.data(),
                      .k_head_norm = w.k_head_norm.data(),
                      .qkv_input_norms = {w.q_input_norm.data(), w.k_input_norm.data(), w.v_input_norm.data()},
                      .gate_up_input_norms = {w.gate_input_norm.data(), w.up_input_norm.data()},
                      .attn_q = packed_view(w.attn_q),
                      .attn_k = packed_view(w.attn_k),
                      .attn_v = packed_view(w.attn_v),
                      .attn_output = packed_view(w.attn_output),
                      .ffn_gate = packed_view(w.ffn_gate),
                      .ffn_up = packed_view(w.ffn_up),
                      .ffn_down = packed_view(w.ffn_down)});
  sparse = !layers.empty() && layers.front().attn_q.kind == cpu::PackedMatrix::kS1_25;
  if (const auto* integer = std::get_if<IntegerMatrix>(&weights.head)) head = packed_view(*integer);
}

}  // namespace onebit
