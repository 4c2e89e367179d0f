#include "backend/cpu_step.h"

#include <algorithm>

namespace onebit {
namespace {

using cpu::Output;

/// Of the next phase's weights, what a thread that waits fetches into its inner cache, and how much it fetches between
/// two looks at whether the wait is over.
constexpr size_t kAheadBytes = 256 << 10, kAheadStep = 2 << 10;

/// Phases of the longest walk: the embedding, ten a layer, the head.
constexpr size_t phases_of(const ModelConfig& c) {
  return 4 + size_t{c.layers} * 10;
}

/// What chunks of a phase read, from `chunk` on, into the inner cache.
template <class Phase, class Over>
void fetch_ahead(const Phase& phase, uint32_t chunk, Over over) {
  size_t fetched = 0;
  for (; chunk < phase.chunks() && fetched < kAheadBytes; ++chunk)
    phase.each_read(chunk, [&](const void* data, size_t bytes) {
      const auto* from = static_cast<const std::byte*>(data);
      for (size_t at = 0; at < bytes && !over(); at += kAheadStep)
        for (size_t line = at; line < std::min(bytes, at + kAheadStep); line += 64)
          __builtin_prefetch(from + line, 0, 2);
      fetched += bytes;
    });
}

}  // namespace

void QuantizedBuffer::resize(size_t rows, size_t columns) {
  q_.resize(rows, columns + 128);  // a unit of s1_25 holds 128 columns, the last of which may be padding
  scale_.resize(std::max(scale_.size(), rows));
  sum_.resize(std::max(sum_.size(), rows));
}

void QuantizedBuffer::set(const cpu::Kernels& kernels, size_t row, const float* x, uint32_t n, bool sparse) {
  kernels.quantize(x, n, q_.row(row), q_.stride(), &scale_[row], &sum_[row]);
  if (sparse) kernels.sparse_order(q_.row(row), q_.stride());
}

cpu::QuantizedRows QuantizedBuffer::rows(uint32_t tokens) {
  return {q_.row(0), q_.stride(), scale_.data(), sum_.data(), tokens};
}

CpuStep::CpuStep(const CpuModel& model, unsigned threads, StepProfile* profile)
    : Program(phases_of(model.config)), m_(model), profile_(profile), attention_(model, threads) {
  const auto& c = model.config;
  wide_.resize(threads, std::max({c.hidden, c.query_width(), c.ffn}));
  if (c.norms.projections) normed_.resize(threads, c.hidden);
  size_t scratch = 0;
  const auto note = [&](const cpu::PackedMatrix& w) {
    scratch = std::max(scratch, m_.kernels.multiply_scratch(w, kMostRows));
  };
  for (const auto& w : model.layers)
    for (const auto* matrix : {&w.attn_q, &w.attn_k, &w.attn_v, &w.attn_output, &w.ffn_gate, &w.ffn_up, &w.ffn_down})
      note(*matrix);
  if (model.head.data != nullptr) note(model.head);
  tile_.resize(threads, scratch);
}

void CpuStep::prepare(std::span<const StepRow> rows, float* logits, float* states) {
  const auto& c = m_.config;
  rows_.assign(rows.begin(), rows.end());
  logits_ = logits;
  problem_ = Problem::kNone;
  wanted_ = 0;
  logits_row_.clear();
  state_.clear();
  for (const auto& row : rows) {
    logits_row_.push_back(row.wants_logits ? int64_t{wanted_++} : -1);
    state_.push_back(row.wants_state ? states : nullptr);
    if (row.wants_state) states += c.hidden;
  }
  const size_t n = rows.size();
  x_.resize(n, c.hidden);
  q_.resize(n, c.query_width());
  k_.resize(n, c.kv_width());
  v_.resize(n, c.kv_width());
  gate_.resize(n, c.ffn);
  up_.resize(n, c.ffn);
  last_.resize(wanted_, c.hidden);
  xq_.shared = !c.norms.projections;
  for (uint32_t i = 0; i < (xq_.shared ? 1 : 3); ++i) xq_.of[i].resize(n, std::max(c.hidden, c.query_width()));
  hq_[0].resize(n, c.ffn);
  lq_.resize(wanted_, c.hidden);
  attention_.prepare(rows);
}

void CpuStep::spent(const Walker& walker, StepPart part) {
  if (profile_ == nullptr || walker.thread() != 0) return;
  const auto now = std::chrono::steady_clock::now();
  (*profile_)[part] += std::chrono::duration<double>(now - since_).count();
  since_ = now;
}

/// The model, top to bottom. What is done to each row on its own follows the product or the attention before it.
void CpuStep::walk(Walker& walker) {
  const auto& c = m_.config;
  const auto& layers = m_.layers;
  const unsigned thread = walker.thread();
  if (profile_ != nullptr && thread == 0) {
    since_ = std::chrono::steady_clock::now();
    ++profile_->steps;
  }
  each_row(walker, [&](uint32_t row) {
    embed(row);
    norm_inputs(thread, x_.row(row), layers[0].attn_norm, layers[0].qkv_input_norms, c.hidden, xq_, row);
  });
  for (uint32_t layer = 0; layer < c.layers; ++layer) {
    const auto& w = layers[layer];
    const bool last = layer + 1 == c.layers;
    const auto output = phase_of({&w.attn_output}), gate_up = gate_up_of(w), down = phase_of({&w.ffn_down});
    const auto next = last ? head_phase() : qkv_of(layers[layer + 1]);
    products(walker, StepPart::kQkv, qkv_of(w), {&q_, &k_, &v_}, xq_, Output::kStore, attention_.reads(layer),
             [&](uint32_t row) { place(layer, row); });
    attention(walker, layer, output, [&](uint32_t row) {
      float* attended = q_.row(row);  // in place of the queries
      attention_.finish(row, attended);
      norm_inputs(thread, attended, w.attn_sub_norm, {}, c.query_width(), xq_, row);
    });
    products(walker, StepPart::kAttentionOutput, output, {&x_}, xq_, Output::kAdd, gate_up, [&](uint32_t row) {
      norm_inputs(thread, x_.row(row), w.ffn_norm, w.gate_up_input_norms, c.hidden, xq_, row);
    });
    feed_forward(walker, gate_up, down,
                 [&](uint32_t row) { norm_inputs(thread, gate_.row(row), w.ffn_sub_norm, {}, c.ffn, hq_, row); });
    products(walker, StepPart::kDown, down, {&x_}, hq_, Output::kAdd, next, [&](uint32_t row) {
      if (last)
        output_norm(row, thread);
      else
        norm_inputs(thread, x_.row(row), layers[layer + 1].attn_norm, layers[layer + 1].qkv_input_norms, c.hidden, xq_,
                    row);
    });
  }
  if (wanted_ > 0) head(walker);
}

template <class Row>
void CpuStep::each_row(Walker& walker, Row row) {
  walker.phase(rows(), row);
  spent(walker, StepPart::kRows);
}

/// A phase, and then something for each row: a phase of its own, or, for a single row, what the thread that ends the
/// phase does before the others go on; meanwhile they fetch what they will read `next`.
template <class Body, class Next, class Row>
void CpuStep::phase_then_rows(Walker& walker, StepPart part, uint32_t chunks, const Next& next, Body body, Row row) {
  const bool single = rows() == 1;
  walker.phase(
      chunks, body,
      [&](auto over) {
        if (single) fetch_ahead(next, walker.first_chunk(next.chunks(), walker.thread()), over);
      },
      [&] {
        if (single) row(0);
      });
  spent(walker, part);
  if (!single) each_row(walker, row);
}

void CpuStep::multiply(const cpu::PackedMatrix& w, uint32_t begin, uint32_t end, QuantizedBuffer& x, uint32_t tokens,
                       float* y, size_t stride, Output output, unsigned thread) {
  using cpu::PackedMatrix;
  const bool grouped = w.granularity == PackedMatrix::kPerGroup;
  if (tokens == 1 && (!grouped || w.kind == PackedMatrix::kT2 || w.kind == PackedMatrix::kT1_6))
    m_.kernels.matvec(w, begin, end, x.rows(1), y, output);
  else
    m_.kernels.multiply(w, begin, end, x.rows(tokens), y, stride, output, tile_.row(thread));
}

ProductPhase CpuStep::phase_of(std::initializer_list<const cpu::PackedMatrix*> matrices,
                               ProductPhase::Order order) const {
  return {matrices, rows(), m_.kernels, order};
}

ProductPhase CpuStep::qkv_of(const CpuModel::Layer& w) const {
  return phase_of({&w.attn_q, &w.attn_k, &w.attn_v});
}

ProductPhase CpuStep::gate_up_of(const CpuModel::Layer& w) const {
  return phase_of({&w.ffn_gate, &w.ffn_up}, ProductPhase::Order::kBeside);
}

/// Nothing where the head is in half precision, or nobody wants logits.
ProductPhase CpuStep::head_phase() const {
  if (m_.head.data == nullptr || wanted_ == 0) return {};
  return {{&m_.head}, wanted_, m_.kernels};
}

template <class Next, class Row>
void CpuStep::products(Walker& walker, StepPart part, const ProductPhase& phase, std::array<AlignedRows<float>*, 3> y,
                       QuantizedInputs& x, Output output, const Next& next, Row row) {
  const auto body = [&](uint32_t chunk) {
    phase.each_of(chunk, [&](uint32_t i, const cpu::PackedMatrix& w, uint32_t begin, uint32_t end) {
      multiply(w, begin, end, x[i], rows(), y[i]->row(0), y[i]->stride(), output, walker.thread());
    });
  };
  phase_then_rows(walker, part, phase.chunks(), next, body, row);
}

template <class Row>
void CpuStep::attention(Walker& walker, uint32_t layer, const ProductPhase& next, Row row) {
  const auto body = [&](uint32_t task) { attention_.run(task, layer, q_.row(0), q_.stride(), walker.thread()); };
  phase_then_rows(walker, StepPart::kAttention, attention_.tasks(), next, body, row);
}

/// The gate's activation times up, each chunk finished where it was computed.
template <class Row>
void CpuStep::feed_forward(Walker& walker, const ProductPhase& phase, const ProductPhase& next, Row row) {
  const auto gate = m_.config.activation == Activation::kSilu ? m_.kernels.silu_gate : m_.kernels.squared_relu_gate;
  const auto body = [&](uint32_t chunk) {
    uint32_t first = 0, width = 0;
    phase.each_of(chunk, [&](uint32_t i, const cpu::PackedMatrix& w, uint32_t begin, uint32_t end) {
      auto& y = i == 0 ? gate_ : up_;
      multiply(w, begin, end, xq_[i], rows(), y.row(0), y.stride(), Output::kStore, walker.thread());
      first = begin * 16;
      width = std::min(w.rows, end * 16) - first;
    });
    for (uint32_t r = 0; r < rows(); ++r) gate(gate_.row(r) + first, up_.row(r) + first, width, gate_.row(r) + first);
  };
  phase_then_rows(walker, StepPart::kGateUp, phase.chunks(), next, body, row);
}

void CpuStep::head(Walker& walker) {
  const auto& c = m_.config;
  if (m_.head.data != nullptr) {
    const auto phase = head_phase();
    walker.phase(phase.chunks(), [&](uint32_t chunk) {
      phase.each_of(chunk, [&](uint32_t, const cpu::PackedMatrix& w, uint32_t begin, uint32_t end) {
        multiply(w, begin, end, lq_, wanted_, logits_, c.vocabulary, Output::kStore, walker.thread());
      });
    });
  } else {
    const auto& half = std::get<HalfMatrix>(m_.weights.head);
    constexpr uint32_t kRows = 256;
    walker.phase((c.vocabulary + kRows - 1) / kRows, [&](uint32_t chunk) {
      const uint32_t begin = chunk * kRows, end = std::min(c.vocabulary, begin + kRows);
      for (uint32_t i = 0; i < wanted_; ++i)
        m_.kernels.half_rows(half.data.data(), half.packing == Packing::kBf16, c.hidden, begin, end, last_.row(i),
                             logits_ + size_t{i} * c.vocabulary);
    });
  }
  constexpr uint32_t kPart = 16384;
  const uint32_t parts = (c.vocabulary + kPart - 1) / kPart;
  walker.phase(parts * wanted_, [&](uint32_t i) {
    const uint32_t begin = i % parts * kPart;
    check(logits_ + size_t{i / parts} * c.vocabulary + begin, std::min(kPart, c.vocabulary - begin), Problem::kLogits);
  });
  spent(walker, StepPart::kHead);
}

/// A row as the next products take it: normalised (not where `weight` is null), and again for each product that has a
/// norm of its `own`.
void CpuStep::norm_inputs(unsigned thread, const float* x, const float* weight, const std::array<const float*, 3>& own,
                          uint32_t n, QuantizedInputs& into, uint32_t row) {
  if (weight != nullptr) {
    m_.kernels.rms_norm(x, weight, m_.config.rms_epsilon, n, wide_.row(thread));
    x = wide_.row(thread);
  }
  if (own[0] == nullptr) return into[0].set(m_.kernels, row, x, n, m_.sparse);
  for (uint32_t i = 0; i < own.size() && own[i] != nullptr; ++i) {
    float* y = normed_.row(thread);
    m_.kernels.rms_norm(x, own[i], m_.config.rms_epsilon, n, y);
    into[i].set(m_.kernels, row, y, n, m_.sparse);
  }
}

void CpuStep::embed(uint32_t row) {
  const auto& table = m_.weights.embedding.data;
  m_.kernels.widen_bf16(table.data() + static_cast<size_t>(rows_[row].token) * m_.config.hidden, m_.config.hidden,
                        x_.row(row));
}

void CpuStep::norm_heads(float* x, uint32_t heads, const float* weight) {
  const uint32_t n = m_.config.head_dim;
  for (uint32_t head = 0; weight != nullptr && head < heads; ++head, x += n)
    m_.kernels.rms_norm(x, weight, m_.config.rms_epsilon, n, x);
}

/// Queries and keys get their position, keys and values their place in the cache.
void CpuStep::place(uint32_t layer, uint32_t row) {
  const auto& c = m_.config;
  const auto& r = rows_[row];
  const size_t at = size_t{r.position} * (c.head_dim / 2);
  const float *cos = m_.weights.rope_cos.data() + at, *sin = m_.weights.rope_sin.data() + at;
  norm_heads(q_.row(row), c.heads, m_.layers[layer].q_head_norm);
  norm_heads(k_.row(row), c.kv_heads, m_.layers[layer].k_head_norm);
  m_.kernels.rope(q_.row(row), c.heads, c.head_dim, cos, sin);
  m_.kernels.rope(k_.row(row), c.kv_heads, c.head_dim, cos, sin);
  attention_.quantize_query(row, q_.row(row));
  const auto& page = static_cast<const PagedKv*>(r.kv)->page(r.position / kKvPagePositions);
  for (uint32_t head = 0; head < c.kv_heads; ++head) {
    auto* block = page.block(m_.kv, layer, head);
    const size_t element = size_t{head} * c.head_dim;
    const auto scales = [&](size_t offset) { return reinterpret_cast<float*>(block + offset); };
    const uint32_t position = r.position % kKvPagePositions;
    m_.kernels.append_key(m_.kv.format, k_.row(row) + element, c.head_dim, position, block,
                          scales(m_.kv.k_scale_offset));
    m_.kernels.append_value(m_.kv.format, v_.row(row) + element, c.head_dim, position, block + m_.kv.v_offset,
                            scales(m_.kv.v_scale_offset));
  }
}

void CpuStep::output_norm(uint32_t row, unsigned thread) {
  const auto& c = m_.config;
  const int64_t at = logits_row_[row];
  float* y = at < 0 ? wide_.row(thread) : last_.row(static_cast<size_t>(at));
  check(x_.row(row), c.hidden, Problem::kResidual);
  m_.kernels.rms_norm(x_.row(row), m_.weights.output_norm.data(), c.rms_epsilon, c.hidden, y);
  check(y, c.hidden, Problem::kResidual);
  if (state_[row] != nullptr) std::copy_n(y, c.hidden, state_[row]);
  if (at >= 0) lq_.set(m_.kernels, static_cast<size_t>(at), y, c.hidden, false);
}

void CpuStep::check(const float* x, uint32_t n, Problem problem) {
  constexpr uint32_t kInfinity = 0x7f800000;
  if (m_.kernels.largest_magnitude(x, n) >= kInfinity && problem_ != Problem::kResidual) problem_ = problem;
}

}  // namespace onebit
