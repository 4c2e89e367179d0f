// One step of gen-2: the forward pass as a program that all threads walk through together.
#pragma once

#include <atomic>
#include <chrono>
#include <initializer_list>
#include <vector>

#include "backend/aligned_rows.h"
#include "backend/cpu_attention.h"
#include "backend/cpu_model.h"
#include "backend/product_phase.h"
#include "backend/step_profile.h"
#include "backend/step_rows.h"
#include "base/thread_pool.h"

namespace onebit {

/// Rows of int8 with their scales, as products read them.
class QuantizedBuffer {
 public:
  /// Room for `rows` of up to `columns`.
  void resize(size_t rows, size_t columns);
  /// `sparse`: in the order that s1_25 takes.
  void set(const cpu::Kernels& kernels, size_t row, const float* x, uint32_t n, bool sparse);
  /// The first `tokens` rows.
  cpu::QuantizedRows rows(uint32_t tokens);

 private:
  AlignedRows<int8_t> q_;
  std::vector<float> scale_;
  std::vector<int32_t> sum_;
};

/// What the products of a phase take. Where each has a norm of its own, each has rows of its own; else all share the
/// first's.
struct QuantizedInputs {
  std::array<QuantizedBuffer, 3> of;
  bool shared = true;
  QuantizedBuffer& operator[](uint32_t product) { return of[shared ? 0 : product]; }
};

class CpuStep final : public Program {
 public:
  /// Times are added to `profile` where there is one.
  CpuStep(const CpuModel& model, unsigned threads, StepProfile* profile = nullptr);

  /// Rows of a step; more tokens take several steps.
  static constexpr uint32_t kMostRows = 512;

  /// Before each run. The rows' caches have room reserved; `logits` gets [rows that want them][vocabulary],
  /// `states` [rows that want them][hidden].
  void prepare(std::span<const StepRow> rows, float* logits, float* states);

  /// What a run met that is not a finite number.
  enum class Problem : uint32_t { kNone, kResidual, kLogits };
  Problem problem() const { return problem_.load(); }

 protected:
  void walk(Walker& walker) override;

 private:
  uint32_t rows() const { return static_cast<uint32_t>(rows_.size()); }
  template <class Row>
  void each_row(Walker& walker, Row row);
  template <class Body, class Next, class Row>
  void phase_then_rows(Walker& walker, StepPart part, uint32_t chunks, const Next& next, Body body, Row row);
  ProductPhase phase_of(std::initializer_list<const cpu::PackedMatrix*> matrices,
                        ProductPhase::Order order = ProductPhase::Order::kAfter) const;
  ProductPhase qkv_of(const CpuModel::Layer& w) const;
  ProductPhase gate_up_of(const CpuModel::Layer& w) const;
  ProductPhase head_phase() const;
  /// y: of each matrix of the phase, where its product goes. `next`: the phase after this.
  template <class Next, class Row>
  void products(Walker& walker, StepPart part, const ProductPhase& phase, std::array<AlignedRows<float>*, 3> y,
                QuantizedInputs& x, cpu::Output output, const Next& next, Row row);
  template <class Row>
  void attention(Walker& walker, uint32_t layer, const ProductPhase& next, Row row);
  template <class Row>
  void feed_forward(Walker& walker, const ProductPhase& phase, const ProductPhase& next, Row row);
  void multiply(const cpu::PackedMatrix& w, uint32_t begin, uint32_t end, QuantizedBuffer& x, uint32_t tokens, float* y,
                size_t stride, cpu::Output output, unsigned thread);
  void head(Walker& walker);
  void norm_inputs(unsigned thread, const float* x, const float* weight, const std::array<const float*, 3>& own,
                   uint32_t n, QuantizedInputs& into, uint32_t row);
  void norm_heads(float* x, uint32_t heads, const float* weight);
  void embed(uint32_t row);
  void place(uint32_t layer, uint32_t row);
  void output_norm(uint32_t row, unsigned thread);
  void check(const float* x, uint32_t n, Problem problem);

  void spent(const Walker& walker, StepPart part);

  const CpuModel& m_;
  StepProfile* profile_;
  std::chrono::steady_clock::time_point since_;  // of thread 0: the last phase's end
  std::vector<StepRow> rows_;
  std::vector<int64_t> logits_row_;  // of each row: where its logits go, or -1
  std::vector<float*> state_;        // of each row: where its state goes, or null
  uint32_t wanted_ = 0;              // rows that want logits
  float* logits_ = nullptr;
  std::atomic<Problem> problem_{Problem::kNone};

  AlignedRows<float> x_;          // (n, hidden): the residual stream
  AlignedRows<float> q_, k_, v_;  // (n, heads · head_dim), (n, kv_heads · head_dim)
  AlignedRows<float> gate_, up_;  // (n, ffn)
  AlignedRows<float> last_;       // (wanted, hidden): after the output norm
  QuantizedInputs xq_, hq_;       // (n, hidden or heads · head_dim), (n, ffn)
  QuantizedBuffer lq_;            // (wanted, hidden)
  AlignedRows<float> wide_;       // (threads, widest row)
  AlignedRows<float> normed_;     // (threads, hidden): after a projection's own norm
  AlignedRows<std::byte> tile_;   // (threads, scratch of `multiply`)
  CpuAttention attention_;
};

}  // namespace onebit
