#include "backend/reference_backend.h"

#include <algorithm>
#include <cmath>

#include "backend/best_of_row.h"
#include "backend/reference_kv.h"
#include "backend/step_rows.h"
#include "base/half.h"
#include "kernels/reference.h"

namespace onebit {
namespace {

using namespace reference;

/// Rows of a matrix [n][width], one after another.
struct Matrix {
  Matrix(size_t n, uint32_t columns) : width(columns), values(n * columns) {}
  std::span<float> row(size_t i) { return std::span(values).subspan(i * width, width); }
  uint32_t width;
  std::vector<float> values;
};

class ReferenceBackend final : public Backend {
 public:
  ReferenceBackend(ModelWeights weights, KvType kv_type, ResidualObserver observer)
      : w_(std::move(weights)), kv_type_(kv_type), observer_(std::move(observer)) {}

  const ModelConfig& config() const override { return w_.config; }
  uint32_t prefill_chunk() const override { return 64; }
  std::unique_ptr<KvCache> new_kv_cache() override {
    return std::make_unique<ReferenceKv>(w_.config, kv_type_, caches_);
  }
  /// A cache is one page, as large as the context lets it become.
  KvUsage kv_usage() const override {
    return {caches_->load(), uint64_t{2} * sizeof(float) * w_.config.layers * w_.config.kv_width() * w_.config.context,
            w_.config.context};
  }

  bool gives_states() const override { return true; }

  Status forward(std::span<const BatchItem> batch, Logits& logits) override {
    RETURN_IF_ERROR(check_batch(w_.config, batch, true));
    std::vector<uint32_t> lengths;
    for (const auto& item : batch) lengths.push_back(item.kv->length());
    auto status = forward_rows(rows_of(w_.config, batch, logits), logits);
    if (auto readable = w_.file->check_readable(); !readable) status = std::move(readable);
    if (!status)
      for (size_t i = 0; i < batch.size(); ++i) batch[i].kv->truncate(lengths[i]);
    return status;
  }

 private:
  /// The model, top to bottom.
  Status forward_rows(const std::vector<StepRow>& rows, Logits& logits) {
    const auto& c = w_.config;
    const size_t n = rows.size();
    Matrix x(n, c.hidden);         // the residual stream
    Matrix h(n, c.hidden);         // its normalised copy, and what is added to it
    Matrix q(n, c.query_width());  // (n, heads * head_dim)
    Matrix k(n, c.kv_width());     // (n, kv_heads * head_dim)
    Matrix v(n, c.kv_width());
    Matrix attended(n, c.query_width());
    Matrix gate(n, c.ffn), up(n, c.ffn);

    for (size_t i = 0; i < n; ++i) embed(rows[i].token, x.row(i));
    RETURN_IF_ERROR(observe("embedding", x));
    for (uint32_t layer = 0; layer < c.layers; ++layer) {
      const auto& w = w_.layers[layer];
      norm(x, w.attn_norm, h);
      linear(w.attn_q, w.q_input_norm, h, q);
      linear(w.attn_k, w.k_input_norm, h, k);
      linear(w.attn_v, w.v_input_norm, h, v);
      for (size_t i = 0; i < n; ++i) {
        norm_heads(w.q_head_norm, q.row(i));
        norm_heads(w.k_head_norm, k.row(i));
        rope(q.row(i), c.head_dim, rope_row(w_.rope_cos, rows[i]), rope_row(w_.rope_sin, rows[i]));
        rope(k.row(i), c.head_dim, rope_row(w_.rope_cos, rows[i]), rope_row(w_.rope_sin, rows[i]));
        kv_of(rows[i]).append(layer, k.row(i), v.row(i));
      }
      attend(rows, layer, q, attended);
      linear(w.attn_output, w.attn_sub_norm, attended, h);
      add(h, x);
      RETURN_IF_ERROR(observe("attention", x, layer));

      norm(x, w.ffn_norm, h);
      linear(w.ffn_gate, w.gate_input_norm, h, gate);
      linear(w.ffn_up, w.up_input_norm, h, up);
      if (c.activation == Activation::kSilu)
        silu_gate(gate.values, up.values, gate.values);
      else
        squared_relu_gate(gate.values, up.values, gate.values);
      linear(w.ffn_down, w.ffn_sub_norm, gate, h);
      add(h, x);
      RETURN_IF_ERROR(observe("ffn", x, layer));
    }
    norm(x, w_.output_norm, h);
    RETURN_IF_ERROR(observe("output_norm", h));
    auto state = logits.states.begin();
    for (size_t i = 0; i < n; ++i)
      if (rows[i].wants_state) state = std::copy(h.row(i).begin(), h.row(i).end(), state);
    return head(rows, h, logits);
  }

  static ReferenceKv& kv_of(const StepRow& row) { return static_cast<ReferenceKv&>(*row.kv); }

  void embed(TokenId token, std::span<float> x) const {
    const auto row = w_.embedding.data.subspan(static_cast<size_t>(token) * x.size(), x.size());
    std::transform(row.begin(), row.end(), x.begin(), bf16_to_float);
  }

  void norm(Matrix& in, std::span<const float> weight, Matrix& out) const {
    const size_t n = in.values.size() / in.width;
    for (size_t i = 0; i < n; ++i) rms_norm(in.row(i), weight, w_.config.rms_epsilon, out.row(i));
  }

  /// y = W norm(x); without a norm of its own (the model has none there), y = W x.
  void linear(const IntegerMatrix& w, std::span<const float> norm_weight, Matrix& x, Matrix& y) {
    if (norm_weight.empty()) return integer_linear(w, x.values, y.values);
    Matrix normed(x.values.size() / x.width, x.width);
    norm(x, norm_weight, normed);
    integer_linear(w, normed.values, y.values);
  }

  /// Each head of a row on its own, where the model does that.
  void norm_heads(std::span<const float> weight, std::span<float> heads) const {
    for (size_t head = 0; !weight.empty() && head < heads.size(); head += weight.size()) {
      const auto one = heads.subspan(head, weight.size());
      rms_norm(one, weight, w_.config.rms_epsilon, one);
    }
  }

  static void add(const Matrix& h, Matrix& x) {
    for (size_t i = 0; i < x.values.size(); ++i) x.values[i] = x.values[i] + h.values[i];
  }

  std::span<const float> rope_row(std::span<const float> table, const StepRow& row) const {
    const uint32_t half = w_.config.head_dim / 2;
    return table.subspan(size_t{row.position} * half, half);
  }

  /// Rows of one sequence stand together, so its blocks are fetched once for all of them.
  void attend(const std::vector<StepRow>& rows, uint32_t layer, Matrix& q, Matrix& out) const {
    const auto& c = w_.config;
    const uint32_t group = c.heads / c.kv_heads;
    for (size_t first = 0, end = 0; first < rows.size(); first = end) {
      while (end < rows.size() && rows[end].kv == rows[first].kv) ++end;
      for (uint32_t kv_head = 0; kv_head < c.kv_heads; ++kv_head) {
        const auto blocks = kv_of(rows[first]).blocks(layer, kv_head, rows[end - 1].position + 1);
        for (size_t i = first; i < end; ++i)
          for (uint32_t head = kv_head * group; head < (kv_head + 1) * group; ++head)
            attention(q.row(i).subspan(size_t{head} * c.head_dim, c.head_dim), blocks, rows[i].position + 1,
                      out.row(i).subspan(size_t{head} * c.head_dim, c.head_dim));
      }
    }
  }

  Status head(const std::vector<StepRow>& rows, Matrix& h, Logits& logits) const {
    const auto& c = w_.config;
    std::vector<float> wanted;  // (rows with logits, hidden)
    for (size_t i = 0; i < rows.size(); ++i)
      if (rows[i].wants_logits) wanted.insert(wanted.end(), h.row(i).begin(), h.row(i).end());
    std::vector<float> computed(logit_rows(rows) * c.vocabulary);  // (rows with logits, vocabulary)
    if (const auto* integer = std::get_if<IntegerMatrix>(&w_.head)) integer_linear(*integer, wanted, computed);
    if (const auto* half = std::get_if<HalfMatrix>(&w_.head)) half_linear(*half, wanted, computed);
    RETURN_IF_ERROR(check_finite(computed, "the logits"));
    take_wanted(rows, computed, logits);
    return {};
  }

  static Status check_finite(std::span<const float> values, std::string_view what) {
    const bool finite = std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); });
    if (!finite) return fail("a value of {} is not a finite number: the model file is damaged or unfit", what);
    return {};
  }

  Status observe(const char* place, const Matrix& x, int64_t layer = -1) const {
    if (observer_) observer_(layer < 0 ? std::string(place) : fmt::format("blk.{}.{}", layer, place), x.values);
    return check_finite(x.values, "the residual stream");
  }

  std::shared_ptr<std::atomic<uint64_t>> caches_ = std::make_shared<std::atomic<uint64_t>>(0);
  ModelWeights w_;
  KvType kv_type_;
  ResidualObserver observer_;
};

}  // namespace

std::unique_ptr<Backend> make_reference_backend(ModelWeights weights, KvType kv_type, ResidualObserver observer) {
  return std::make_unique<ReferenceBackend>(std::move(weights), kv_type, std::move(observer));
}

}  // namespace onebit
