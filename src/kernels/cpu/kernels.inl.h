// The table of operations for the Simd that was included before.
#pragma once

#include "kernels/cpu/attention.inl.h"
#include "kernels/cpu/multiply.inl.h"
#include "kernels/cpu/peak.inl.h"
#include "kernels/cpu/rows.inl.h"

namespace onebit {
namespace {

constexpr cpu::Kernels make_kernels(const char* name) {
  return {.name = name,
          .tile_groups = Simd::kTileGroups,
          .matvec = matvec,
          .multiply = multiply,
          .multiply_scratch = multiply_scratch,
          .half_rows = half_rows,
          .rms_norm = rms_norm,
          .quantize = quantize,
          .sparse_order = sparse_order,
          .rope = rope,
          .squared_relu_gate = squared_relu_gate,
          .silu_gate = silu_gate,
          .widen_bf16 = widen_bf16,
          .append_key = append_key,
          .append_value = append_value,
          .attend = attend,
          .fold = fold,
          .divide = divide,
          .exp_below = exp_below,
          .largest_magnitude = largest_magnitude,
          .read_bytes = read_bytes,
          .dot_peak = dot_peak};
}

}  // namespace
}  // namespace onebit
