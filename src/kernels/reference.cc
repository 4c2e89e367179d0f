#include "kernels/reference.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/half.h"
#include "kernels/exp_log.h"

// The same scalar code compiled twice, the second time for x86-64-v3 and chosen at run time: fma is then
// one instruction instead of a call, and the bits are the same. Such functions take plain pointers: a
// standard template inside one could be kept by the linker, in its AVX form, for everybody. (Sanitizers
// start too late for a choice at load time.)
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(ONEBIT_SANITIZED)
#define ONEBIT_TWO_TARGETS __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define ONEBIT_TWO_TARGETS
#endif

namespace onebit::reference {
namespace {

constexpr uint32_t kLanes = 256;

float halve_lanes(float* lanes) {
  for (uint32_t half = kLanes / 2; half > 0; half /= 2)
    for (uint32_t l = 0; l < half; ++l) lanes[l] += lanes[l + half];
  return lanes[0];
}

ONEBIT_TWO_TARGETS
float lane_dot_of(const float* x, const float* y, size_t n) {
  float lanes[kLanes] = {};
  for (size_t i = 0; i < n; i += kLanes) {
    const size_t count = n - i < kLanes ? n - i : kLanes;
    for (size_t l = 0; l < count; ++l) lanes[l] = std::fma(x[i + l], y[i + l], lanes[l]);
  }
  return halve_lanes(lanes);
}

ONEBIT_TWO_TARGETS
int32_t integer_dot(const int8_t* q, const int8_t* w, size_t n) {
  int32_t sum = 0;
  for (size_t i = 0; i < n; ++i) sum += q[i] * w[i];
  return sum;
}

/// Quantised activations of n tokens.
struct QuantizedRows {
  std::vector<int8_t> q;  // [n][columns]
  std::vector<float> s;   // [n]
};

QuantizedRows quantize_rows(std::span<const float> x, size_t columns) {
  const size_t n = x.size() / columns;
  QuantizedRows rows{std::vector<int8_t>(x.size()), std::vector<float>(n)};
  for (size_t t = 0; t < n; ++t)
    rows.s[t] = quantize(x.subspan(t * columns, columns), std::span(rows.q).subspan(t * columns, columns));
  return rows;
}

/// float(acc) · w_scale without the activation's scale, for one row of weights and one token.
float scaled_row(const IntegerMatrix& w, uint32_t row, const int8_t* weights, const int8_t* q, float s) {
  const float token_scale = s / 127.0f;
  if (w.granularity != ScaleGranularity::kGroup) {
    const float w_scale = w.scales[w.granularity == ScaleGranularity::kRow ? row : 0];
    return static_cast<float>(integer_dot(q, weights, w.columns)) * (w_scale * token_scale);
  }
  const uint32_t groups = (w.columns + w.group - 1) / w.group;
  float acc = 0.0f;
  for (uint32_t g = 0; g < groups; ++g) {
    const uint32_t first = g * w.group;
    const int32_t sum = integer_dot(q + first, weights + first, std::min(w.group, w.columns - first));
    acc = std::fma(static_cast<float>(sum), w.scales[(row / 16 * groups + g) * 16 + row % 16], acc);
  }
  return acc * token_scale;
}

/// What attention has gathered over some positions: the largest score, the sum of exponentials and the
/// weighted sum of values, both relative to it.
struct Partial {
  float m = 0, l = 0;
  std::vector<float> o;  // [head_dim]
};

/// The query as the scores need it.
struct Query {
  std::vector<float> elements;  // [head_dim]; int8 values for a quantized KV cache
  float scale = 0;              // s of `quantize`
};

/// s[t] = fma chain over d ascending of q_d · k_td, for t below `count`; k is [head_dim][kKvBlock].
ONEBIT_TWO_TARGETS
void query_keys(const float* q, const float* k, size_t head_dim, uint32_t count, float* s) {
  for (uint32_t t = 0; t < count; ++t) s[t] = 0.0f;
  for (size_t d = 0; d < head_dim; ++d)
    for (uint32_t t = 0; t < count; ++t) s[t] = std::fma(q[d], k[d * kKvBlock + t], s[t]);
}

/// o[d] = fma chain over t ascending of p_t · v_td, for t below `count`; v is [kKvBlock][head_dim].
ONEBIT_TWO_TARGETS
void weigh_values(const float* p, const float* v, size_t head_dim, uint32_t count, float* o) {
  for (size_t d = 0; d < head_dim; ++d) o[d] = 0.0f;
  for (uint32_t t = 0; t < count; ++t)
    for (size_t d = 0; d < head_dim; ++d) o[d] = std::fma(p[t], v[t * head_dim + d], o[d]);
}

/// Attention over the first `count` positions of one block.
Partial block_attention(const Query& query, const KvBlock& block, uint32_t count, float c) {
  const size_t head_dim = query.elements.size();
  Partial out{0.0f, 0.0f, std::vector<float>(head_dim)};
  std::array<float, kKvBlock> p{};
  query_keys(query.elements.data(), block.k.data(), head_dim, count, p.data());
  // For q8 these are sums of integers, at most 2^24 and so exact.
  for (uint32_t t = 0; t < count; ++t)
    p[t] = (block.quantized ? p[t] * ((query.scale / 127.0f) * (block.k_scale[t] / 127.0f)) : p[t]) * c;
  out.m = *std::max_element(p.begin(), p.begin() + count);
  for (uint32_t t = 0; t < count; ++t) {
    p[t] = exp_f32(p[t] - out.m);
    out.l += p[t];
  }
  if (block.quantized)
    for (uint32_t t = 0; t < count; ++t) p[t] = p[t] * (block.v_scale[t] / 127.0f);
  weigh_values(p.data(), block.v.data(), head_dim, count, out.o.data());
  return out;
}

/// Element 1 is what is accumulated, 2 the next; the first element is taken unchanged.
void fold(Partial& one, const Partial& two, bool first) {
  if (first) {
    one = two;
    return;
  }
  const float m = std::max(one.m, two.m);
  const float a = exp_f32(one.m - m);
  const float b = exp_f32(two.m - m);
  one.l = std::fma(one.l, a, two.l * b);
  for (size_t d = 0; d < one.o.size(); ++d) one.o[d] = std::fma(one.o[d], a, two.o[d] * b);
  one.m = m;
}

}  // namespace

float lane_dot(std::span<const float> x, std::span<const float> y) {
  return lane_dot_of(x.data(), y.data(), x.size());
}

float lane_sum(std::span<const float> x) {
  float lanes[kLanes] = {};
  for (size_t i = 0; i < x.size(); i += kLanes) {
    const size_t count = std::min<size_t>(x.size() - i, kLanes);
    for (size_t lane = 0; lane < count; ++lane) lanes[lane] += x[i + lane];
  }
  return halve_lanes(lanes);
}

void rms_norm(std::span<const float> x, std::span<const float> weight, float epsilon, std::span<float> y) {
  const float mean = lane_dot(x, x) / static_cast<float>(x.size());
  const float inverse = 1.0f / std::sqrt(mean + epsilon);
  for (size_t i = 0; i < x.size(); ++i) y[i] = x[i] * inverse * weight[i];
}

float quantize(std::span<const float> x, std::span<int8_t> q) {
  // As integers, the bits of |x| are ordered like the values, then infinity, then NaN: a row that holds
  // anything non-finite gets a non-finite s, and every product of it becomes NaN, whatever q is.
  auto largest = std::bit_cast<uint32_t>(1e-5f);
  for (const float v : x) largest = std::max(largest, std::bit_cast<uint32_t>(v) & 0x7fffffffu);
  const auto s = std::bit_cast<float>(largest);
  if (!std::isfinite(s)) {
    std::fill(q.begin(), q.end(), int8_t{0});
    return s;
  }
  const float factor = 127.0f / s;
  for (size_t i = 0; i < x.size(); ++i) {
    // |x · factor| passes 127 by rounding only; adding and subtracting 1.5 · 2^23 rounds half to even.
    const float rounded = (x[i] * factor + 0x1.8p+23f) - 0x1.8p+23f;
    q[i] = static_cast<int8_t>(std::clamp(rounded, -128.0f, 127.0f));
  }
  return s;
}

void integer_linear(const IntegerMatrix& w, std::span<const float> x, std::span<float> y) {
  const auto tokens = quantize_rows(x, w.columns);
  std::vector<int8_t> weights(w.columns);
  for (uint32_t row = 0; row < w.rows; ++row) {
    unpack_row(w.packing, w.data, w.columns, row, weights);
    for (size_t t = 0; t < tokens.s.size(); ++t)
      y[t * w.rows + row] = scaled_row(w, row, weights.data(), tokens.q.data() + t * w.columns, tokens.s[t]);
  }
}

void half_linear(const HalfMatrix& w, std::span<const float> x, std::span<float> y) {
  const auto widen = w.packing == Packing::kF16 ? half_to_float : bf16_to_float;
  std::vector<float> weights(w.columns);
  for (uint32_t row = 0; row < w.rows; ++row) {
    std::transform(w.data.begin() + size_t{row} * w.columns, w.data.begin() + size_t{row + 1} * w.columns,
                   weights.begin(), widen);
    for (size_t t = 0; t < x.size() / w.columns; ++t)
      y[t * w.rows + row] = lane_dot(x.subspan(t * w.columns, w.columns), weights);
  }
}

void rope(std::span<float> x, uint32_t head_dim, std::span<const float> cos, std::span<const float> sin) {
  const uint32_t half = head_dim / 2;
  for (size_t head = 0; head < x.size(); head += head_dim)
    for (uint32_t i = 0; i < half; ++i) {
      const float a = x[head + i];
      const float b = x[head + i + half];
      x[head + i] = std::fma(-b, sin[i], a * cos[i]);
      x[head + i + half] = std::fma(a, sin[i], b * cos[i]);
    }
}

void squared_relu_gate(std::span<const float> gate, std::span<const float> up, std::span<float> y) {
  for (size_t i = 0; i < gate.size(); ++i) {
    const float r = std::max(gate[i], 0.0f);
    y[i] = (r * r) * up[i];
  }
}

void silu_gate(std::span<const float> gate, std::span<const float> up, std::span<float> y) {
  for (size_t i = 0; i < gate.size(); ++i) y[i] = (gate[i] / (1.0f + exp_f32(-gate[i]))) * up[i];
}

void attention(std::span<const float> q, std::span<const KvBlock> blocks, uint32_t visible, std::span<float> out) {
  Query query{std::vector<float>(q.begin(), q.end()), 0.0f};
  if (blocks.front().quantized) {
    std::vector<int8_t> q8(q.size());
    query.scale = quantize(q, q8);
    query.elements.assign(q8.begin(), q8.end());
  }
  const auto c = static_cast<float>(1.0 / std::sqrt(static_cast<double>(q.size())));
  const uint32_t count = (visible + kKvBlock - 1) / kKvBlock;
  Partial super, total;
  for (uint32_t b = 0; b < count; ++b) {
    const auto block = block_attention(query, blocks[b], std::min(kKvBlock, visible - b * kKvBlock), c);
    fold(super, block, b % kKvSuperBlock == 0);
    const bool super_ends = b + 1 == count || (b + 1) % kKvSuperBlock == 0;
    if (super_ends) fold(total, super, b < kKvSuperBlock);
  }
  for (size_t d = 0; d < out.size(); ++d) out[d] = total.o[d] / total.l;
}

}  // namespace onebit::reference
