// gen-1: the operations of the numerics contract (docs/numerics.md) written as plainly as possible, in
// scalar code, on one thread. Every other implementation must give the same bits. Not fast on purpose:
// where plain and quick differ, it is plain.
//
// Shapes are in brackets, rows first. Spans must have exactly the sizes told.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/matrix.h"

namespace onebit::reference {

/// Sum of n products x_i y_i in the contract's order (3): 256 lanes, then halving.
float lane_dot(std::span<const float> x, std::span<const float> y);
/// Sum of n values in the same order.
float lane_sum(std::span<const float> x);

/// RMSNorm (Zhang, Sennrich 2019): y = x · (1 / sqrt(Σx²/n + epsilon)) · weight. In place is allowed.
void rms_norm(std::span<const float> x, std::span<const float> weight, float epsilon, std::span<float> y);

/// absmax int8 (BitNet b1.58): returns s = max(max|x|, 1e-5), q = clamp(round_half_even(x · (127 / s)), -128, 127).
/// A row with a non-finite value has a non-finite s and q = 0.
float quantize(std::span<const float> x, std::span<int8_t> q);

/// n rows of activations at once: y[n][rows] = (Σ q·w) · (w_scale · (s / 127)), where x is [n][columns].
/// Group scales: acc = fma(float(acc_g), w_g, acc) over groups, then · (s / 127).
void integer_linear(const IntegerMatrix& w, std::span<const float> x, std::span<float> y);

/// The head in half precision: logits[n][rows], each a lane_dot of a hidden row and a weight row.
void half_linear(const HalfMatrix& w, std::span<const float> x, std::span<float> y);

/// RoPE, rotate-half pairs (i, i + d/2), in place on [heads][head_dim]; cos and sin are one position's
/// [head_dim / 2].
void rope(std::span<float> x, uint32_t head_dim, std::span<const float> cos, std::span<const float> sin);

/// Squared ReLU gate: y = (r · r) · up with r = max(gate, 0).
void squared_relu_gate(std::span<const float> gate, std::span<const float> up, std::span<float> y);
/// SiLU gate (Shazeer 2020, SwiGLU): y = (gate / (1 + exp(-gate))) · up.
void silu_gate(std::span<const float> gate, std::span<const float> up, std::span<float> y);

inline constexpr uint32_t kKvBlock = 64;       // positions, aligned to absolute multiples
inline constexpr uint32_t kKvSuperBlock = 16;  // blocks folded before they meet the others

/// Keys and values of one KV block of one KV head, as attention meets them. For the KV type q8 the
/// elements are the int8 values, which float32 holds exactly, and each position has scales.
struct KvBlock {
  std::vector<float> k;  // [head_dim][kKvBlock]
  std::vector<float> v;  // [kKvBlock][head_dim]
  bool quantized = false;
  std::vector<float> k_scale, v_scale;  // [kKvBlock], the s of `quantize`; only where quantized
};

/// Attention (5) of one query head: q and out are [head_dim]; `blocks` are those of its KV head in
/// ascending order, of which the first `visible` positions (the query's own included) take part.
void attention(std::span<const float> q, std::span<const KvBlock> blocks, uint32_t visible, std::span<float> out);

}  // namespace onebit::reference
