// A model's weights as gen-2's kernels take them.
#pragma once

#include <array>
#include <vector>

#include "backend/paged_kv.h"
#include "backend/weights.h"
#include "kernels/cpu/cpu_kernels.h"

namespace onebit {

/// Borrows from the file that the weights are bound to.
struct CpuModel {
  struct Layer {
    const float *attn_norm, *attn_sub_norm, *ffn_norm, *ffn_sub_norm;  // null where the model has no such norm
    const float *q_head_norm, *k_head_norm;
    std::array<const float*, 3> qkv_input_norms, gate_up_input_norms;
    cpu::PackedMatrix attn_q, attn_k, attn_v, attn_output, ffn_gate, ffn_up, ffn_down;
  };
  CpuModel(ModelWeights bound, KvType kv_type, const cpu::Kernels& table);

  ModelWeights weights;
  const ModelConfig& config;
  const cpu::Kernels& kernels;
  KvLayout kv;
  float score_factor;  // 1 / sqrt(head_dim)
  std::vector<Layer> layers;
  bool sparse = false;     // the layers' matrices are s1_25
  cpu::PackedMatrix head;  // where the head is an integer matrix
};

}  // namespace onebit
