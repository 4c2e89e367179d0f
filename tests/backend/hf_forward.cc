#include "tests/backend/hf_forward.h"

#include <algorithm>
#include <cmath>

namespace onebit::test {
namespace {

void add(HfForward::Rows& x, const HfForward::Rows& y) {
  for (size_t i = 0; i < x.size(); ++i)
    for (size_t j = 0; j < x[i].size(); ++j) x[i][j] += y[i][j];
}

}  // namespace

/// BitLinear: an RMSNorm of its own where it has one, activations rounded to int8 by the row's largest.
HfForward::Rows HfForward::linear(const Rows& x, const std::string& name) const {
  const auto& w = matrices.at(name + ".weight");
  Rows in = x;
  for (const char* suffix : {".norm.weight", ".rms_norm.weight"})
    if (norms.contains(name + suffix)) in = norm(x, name + suffix);
  Rows out;
  for (auto& row : in) {
    double largest = 1e-5;
    for (const double v : row) largest = std::max(largest, std::fabs(v));
    for (double& v : row) v = std::clamp(std::nearbyint(v * (127.0 / largest)), -128.0, 127.0) * largest / 127.0;
    auto& y = out.emplace_back(w.rows);
    for (uint32_t r = 0; r < w.rows; ++r)
      for (uint32_t c = 0; c < w.columns; ++c) y[r] += row[c] * double{w.values[size_t{r} * w.columns + c]};
  }
  return out;
}

HfForward::Rows HfForward::norm(const Rows& x, const std::string& name) const {
  const auto it = norms.find(name);
  if (it == norms.end()) return x;
  Rows y = x;
  for (auto& row : y) {
    double squares = 0;
    for (const double v : row) squares += v * v;
    const double scale =
        1.0 / std::sqrt(squares / static_cast<double>(row.size()) + config.at("rms_norm_eps").get<double>());
    for (size_t i = 0; i < row.size(); ++i) row[i] *= scale * double{it->second[i]};
  }
  return y;
}

void HfForward::norm_heads(Rows& x, const std::string& name) const {
  if (!norms.contains(name)) return;
  const auto d = static_cast<ptrdiff_t>(head_dim());
  for (auto& row : x)
    for (auto head = row.begin(); head != row.end(); head += d) {
      const auto normed = norm({std::vector<double>(head, head + d)}, name);
      std::copy(normed[0].begin(), normed[0].end(), head);
    }
}

void HfForward::turn(Rows& x) const {
  const size_t d = head_dim(), half = d / 2;
  const double theta = config.at("rope_theta").get<double>();
  for (size_t position = 0; position < x.size(); ++position)
    for (size_t head = 0; head < x[position].size(); head += d)
      for (size_t i = 0; i < half; ++i) {
        const double angle =
            static_cast<double>(position) / std::pow(theta, 2.0 * static_cast<double>(i) / static_cast<double>(d));
        double &a = x[position][head + i], &b = x[position][head + i + half];
        const double turned = a * std::cos(angle) - b * std::sin(angle);
        b = b * std::cos(angle) + a * std::sin(angle);
        a = turned;
      }
}

HfForward::Rows HfForward::attend(const Rows& q, const Rows& k, const Rows& v) const {
  const size_t heads = size("num_attention_heads"), d = head_dim();
  const size_t group = heads / config.value("num_key_value_heads", heads);
  Rows out(q.size(), std::vector<double>(heads * d));
  for (size_t i = 0; i < q.size(); ++i)
    for (size_t head = 0; head < heads; ++head) {
      const size_t from = head * d, kv_from = head / group * d;
      std::vector<double> p(i + 1);
      for (size_t t = 0; t <= i; ++t)
        for (size_t e = 0; e < d; ++e) p[t] += q[i][from + e] * k[t][kv_from + e] / std::sqrt(static_cast<double>(d));
      const double largest = *std::max_element(p.begin(), p.end());
      double sum = 0;
      for (double& value : p) sum += value = std::exp(value - largest);
      for (size_t t = 0; t <= i; ++t)
        for (size_t e = 0; e < d; ++e) out[i][from + e] += p[t] / sum * v[t][kv_from + e];
    }
  return out;
}

HfForward::Rows HfForward::states(const std::vector<int32_t>& tokens) const {
  const auto& table = matrices.at(prefix() + "embed_tokens.weight");
  Rows x;
  for (const int32_t id : tokens) {
    const auto row = table.values.begin() + ptrdiff_t{id} * table.columns;
    x.emplace_back(row, row + table.columns);
  }
  for (size_t layer = 0; layer < size("num_hidden_layers"); ++layer) {
    const auto name = [&](const char* part) { return prefix() + "layers." + std::to_string(layer) + "." + part; };
    auto h = norm(x, name("input_layernorm.weight"));
    auto q = linear(h, name("self_attn.q_proj")), k = linear(h, name("self_attn.k_proj"));
    norm_heads(q, name("self_attn.q_norm.weight"));
    norm_heads(k, name("self_attn.k_norm.weight"));
    turn(q);
    turn(k);
    h = attend(q, k, linear(h, name("self_attn.v_proj")));
    for (const char* sub : {"self_attn.inner_attn_ln.weight", "self_attn.attn_sub_norm.weight"}) h = norm(h, name(sub));
    add(x, linear(h, name("self_attn.o_proj")));
    h = norm(x, name("post_attention_layernorm.weight"));
    auto gate = linear(h, name("mlp.gate_proj"));
    const auto up = linear(h, name("mlp.up_proj"));
    const bool silu = config.at("hidden_act") == "silu";
    for (size_t i = 0; i < gate.size(); ++i)
      for (size_t j = 0; j < gate[i].size(); ++j) {
        const double g = gate[i][j], r = std::max(g, 0.0);
        gate[i][j] = (silu ? g / (1.0 + std::exp(-g)) : r * r) * up[i][j];
      }
    for (const char* sub : {"mlp.ffn_layernorm.weight", "mlp.ffn_sub_norm.weight"}) gate = norm(gate, name(sub));
    add(x, linear(gate, name("mlp.down_proj")));
  }
  return norm(x, prefix() + "norm.weight");
}

HfForward::Rows HfForward::logits(const Rows& states) const {
  const auto own = matrices.find("lm_head.weight");
  const auto& w = own == matrices.end() ? matrices.at(prefix() + "embed_tokens.weight") : own->second;
  Rows out;
  for (const auto& state : states) {
    auto& row = out.emplace_back(w.rows);
    for (uint32_t r = 0; r < w.rows; ++r)
      for (uint32_t c = 0; c < w.columns; ++c) row[r] += state[c] * double{w.values[size_t{r} * w.columns + c]};
  }
  return out;
}

}  // namespace onebit::test
