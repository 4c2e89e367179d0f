#include "tests/backend/independent_model.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/half.h"

#if defined(__x86_64__) && !defined(ONEBIT_SANITIZED)
#define TWO_TARGETS __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define TWO_TARGETS
#endif

namespace onebit::test {
namespace {

// Sixteen running sums, so that the compiler may use vectors; the values are integers and stay exact.
TWO_TARGETS float exact_dot(const float* a, const float* b, size_t n) {
  float sums[16] = {};
  size_t i = 0;
  for (; i + 16 <= n; i += 16)
    for (size_t j = 0; j < 16; ++j) sums[j] += a[i + j] * b[i + j];
  for (; i < n; ++i) sums[0] += a[i] * b[i];
  float sum = 0;
  for (const float s : sums) sum += s;
  return sum;
}

TWO_TARGETS double dot(const double* a, const double* b, size_t n) {
  double sums[8] = {};
  size_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (size_t j = 0; j < 8; ++j) sums[j] += a[i + j] * b[i + j];
  for (; i < n; ++i) sums[0] += a[i] * b[i];
  double sum = 0;
  for (const double s : sums) sum += s;
  return sum;
}

std::vector<double> embedding_row(const Tensor& t, uint64_t row) {
  std::vector<double> out(t.columns);
  for (uint64_t c = 0; c < t.columns; ++c) {
    uint16_t bits = 0;
    std::memcpy(&bits, t.matrix.data() + (row * t.columns + c) * 2, 2);
    out[c] = bf16_to_float(bits);
  }
  return out;
}

}  // namespace

IndependentModel::IndependentModel(const H1bFile& file) : file_(file) {}

IndependentModel::Rows IndependentModel::linear(const Rows& x, const std::string& name) const {
  const Tensor& t = *file_.find(name);
  std::vector<std::vector<float>> quantized;
  std::vector<double> step;
  for (const auto& row : x) {
    double largest = 1e-5;
    for (const double v : row) largest = std::max(largest, std::fabs(v));
    step.push_back(largest / 127.0);
    auto& q = quantized.emplace_back();
    for (const double v : row)
      q.push_back(static_cast<float>(std::clamp(std::nearbyint(v * (127.0 / largest)), -128.0, 127.0)));
  }
  Rows y(x.size(), std::vector<double>(t.rows));
  std::vector<int8_t> weights(t.columns);
  for (uint64_t r = 0; r < t.rows; ++r) {
    unpack_row(t.packing, t.matrix, t.columns, r, weights);
    const std::vector<float> dense(weights.begin(), weights.end());
    for (size_t i = 0; i < x.size(); ++i)
      y[i][r] = exact_dot(quantized[i].data(), dense.data(), dense.size()) * step[i] * t.scale_values[0];
  }
  return y;
}

IndependentModel::Rows IndependentModel::norm(const Rows& x, const std::string& name) const {
  const Tensor& t = *file_.find(name);
  const auto* weight = reinterpret_cast<const float*>(t.matrix.data());
  Rows y = x;
  for (auto& row : y) {
    const double scale = 1.0 / std::sqrt(dot(row.data(), row.data(), row.size()) / static_cast<double>(row.size()) +
                                         static_cast<double>(file_.config().rms_epsilon));
    for (size_t i = 0; i < row.size(); ++i) row[i] *= scale * weight[i];
  }
  return y;
}

void IndependentModel::turn(Rows& x) const {
  const auto& c = file_.config();
  const uint32_t half = c.head_dim / 2;
  for (size_t position = 0; position < x.size(); ++position)
    for (size_t head = 0; head < x[position].size(); head += c.head_dim)
      for (uint32_t i = 0; i < half; ++i) {
        const double angle = static_cast<double>(position) / std::pow(c.rope_theta, 2.0 * i / c.head_dim);
        double& a = x[position][head + i];
        double& b = x[position][head + i + half];
        const double turned = a * std::cos(angle) - b * std::sin(angle);
        b = b * std::cos(angle) + a * std::sin(angle);
        a = turned;
      }
}

IndependentModel::Rows IndependentModel::attend(const Rows& q, const Rows& k, const Rows& v) const {
  const auto& c = file_.config();
  Rows out(q.size(), std::vector<double>(c.query_width()));
  std::vector<double> p(q.size());
  for (size_t i = 0; i < q.size(); ++i)
    for (uint32_t head = 0; head < c.heads; ++head) {
      const size_t from = size_t{head} * c.head_dim, kv_from = size_t{head / (c.heads / c.kv_heads)} * c.head_dim;
      for (size_t t = 0; t <= i; ++t)
        p[t] = dot(&q[i][from], &k[t][kv_from], c.head_dim) / std::sqrt(static_cast<double>(c.head_dim));
      const double largest = *std::max_element(p.begin(), p.begin() + static_cast<ptrdiff_t>(i) + 1);
      double sum = 0;
      for (size_t t = 0; t <= i; ++t) sum += p[t] = std::exp(p[t] - largest);
      for (size_t t = 0; t <= i; ++t)
        for (uint32_t d = 0; d < c.head_dim; ++d) out[i][from + d] += p[t] / sum * v[t][kv_from + d];
    }
  return out;
}

std::vector<double> IndependentModel::log_probabilities(std::span<const TokenId> tokens) const {
  const Tensor& embedding = *file_.find("token_embd");
  Rows x;
  for (const TokenId id : tokens.first(tokens.size() - 1))
    x.push_back(embedding_row(embedding, static_cast<uint64_t>(id)));
  const auto add = [&](const Rows& y) {
    for (size_t i = 0; i < x.size(); ++i)
      for (size_t j = 0; j < x[i].size(); ++j) x[i][j] += y[i][j];
  };
  for (uint32_t layer = 0; layer < file_.config().layers; ++layer) {
    const auto name = [&](const char* part) { return "blk." + std::to_string(layer) + "." + part; };
    const auto h = norm(x, name("attn_norm"));
    auto q = linear(h, name("attn_q")), k = linear(h, name("attn_k"));
    turn(q);
    turn(k);
    add(linear(norm(attend(q, k, linear(h, name("attn_v"))), name("attn_sub_norm")), name("attn_output")));
    const auto g = norm(x, name("ffn_norm"));
    auto gate = linear(g, name("ffn_gate"));
    const auto up = linear(g, name("ffn_up"));
    for (size_t i = 0; i < gate.size(); ++i)
      for (size_t j = 0; j < gate[i].size(); ++j) gate[i][j] = gate[i][j] > 0 ? gate[i][j] * gate[i][j] * up[i][j] : 0;
    add(linear(norm(gate, name("ffn_sub_norm")), name("ffn_down")));
  }
  x = norm(x, "output_norm");
  Rows logits(x.size(), std::vector<double>(embedding.rows));
  for (uint64_t r = 0; r < embedding.rows; ++r) {
    const auto row = embedding_row(embedding, r);
    for (size_t i = 0; i < x.size(); ++i) logits[i][r] = dot(x[i].data(), row.data(), row.size());
  }
  std::vector<double> result;
  for (size_t i = 0; i < x.size(); ++i) {
    const double largest = *std::max_element(logits[i].begin(), logits[i].end());
    double sum = 0;
    for (const double l : logits[i]) sum += std::exp(l - largest);
    result.push_back(logits[i][static_cast<size_t>(tokens[i + 1])] - largest - std::log(sum));
  }
  return result;
}

}  // namespace onebit::test
