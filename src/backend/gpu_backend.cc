#include "backend/gpu_backend.h"

#include <algorithm>
#include <atomic>
#include <list>

#include "backend/gpu_kv.h"
#include "backend/step_rows.h"
#include "format/sparse_packing.h"

namespace onebit {
namespace {

static_assert(kMostBest == gpu::kMostPicked);

constexpr uint32_t kMostRows = 2048;      // of a step; more tokens take several
constexpr uint32_t kMostLogitRows = 128;  // likewise

gpu::MatrixView view_of(const IntegerMatrix& w) {
  gpu::MatrixView m{};
  m.code = w.packing == Packing::kT2 ? gpu::Code::kT2 : w.packing == Packing::kT1_6 ? gpu::Code::kT1_6 : gpu::Code::kQ8;
  m.rows = w.rows;
  m.columns = w.columns;
  m.groups = w.groups();
  m.blocks = w.blocks();
  m.data = w.data;
  m.granularity = w.granularity == ScaleGranularity::kRow     ? gpu::Scales::kRow
                  : w.granularity == ScaleGranularity::kGroup ? gpu::Scales::kGroup
                                                              : gpu::Scales::kOne;
  m.scales = w.scales;
  return m;
}

/// Matrices of s1_25 as t2, which GPUs compute with: decode there waits for exchanges between blocks before it waits
/// for bytes (docs/gpu.md), and a code of s1_25 takes more operations than a byte of t2.
class UnpackedSparse {
 public:
  gpu::MatrixView view_of(const IntegerMatrix& w) {
    if (w.packing != Packing::kS1_25) return onebit::view_of(w);
    auto t2 = w;
    t2.packing = Packing::kT2;
    t2.data = matrices_.emplace_back(s1_25::to_t2(w.data, w.rows, w.columns));
    return onebit::view_of(t2);
  }

 private:
  std::list<std::vector<std::byte>> matrices_;
};

gpu::MatrixView view_of(const HalfMatrix& w) {
  gpu::MatrixView m{};
  m.code = w.packing == Packing::kBf16 ? gpu::Code::kBf16 : gpu::Code::kF16;
  m.rows = w.rows;
  m.columns = w.columns;
  m.data = std::as_bytes(w.data);
  return m;
}

/// `sparse` holds what the view points to besides the file.
gpu::ModelView view_of(const ModelWeights& w, UnpackedSparse& sparse) {
  const auto& c = w.config;
  gpu::ModelView view;
  view.shape = {.layers = c.layers,
                .hidden = c.hidden,
                .heads = c.heads,
                .kv_heads = c.kv_heads,
                .head_dim = c.head_dim,
                .ffn = c.ffn,
                .vocabulary = c.vocabulary,
                .context = c.context,
                .rms_epsilon = c.rms_epsilon,
                .score_factor = score_factor_of(c)};
  view.file = w.file->bytes();
  view.embedding = view_of(w.embedding);
  for (const auto& l : w.layers)
    view.layers.push_back({l.attn_norm, l.attn_sub_norm, l.ffn_norm, l.ffn_sub_norm, sparse.view_of(l.attn_q),
                           sparse.view_of(l.attn_k), sparse.view_of(l.attn_v), sparse.view_of(l.attn_output),
                           sparse.view_of(l.ffn_gate), sparse.view_of(l.ffn_up), sparse.view_of(l.ffn_down)});
  view.output_norm = w.output_norm;
  view.head = std::visit([](const auto& head) { return view_of(head); }, w.head);
  view.rope_cos = w.rope_cos;
  view.rope_sin = w.rope_sin;
  return view;
}

gpu::KvFormat format_of(KvType type) {
  return type == KvType::kF32 ? gpu::KvFormat::kF32 : type == KvType::kF16 ? gpu::KvFormat::kF16 : gpu::KvFormat::kQ8;
}

tl::unexpected<Error> fail_as(const gpu::Failure& failure, std::string_view device) {
  using Kind = gpu::Failure::Kind;
  switch (failure.kind) {
    case Kind::kResidual:
    case Kind::kLogits:
      return fail("a value of {} is not a finite number: the model file is damaged or unfit",
                  failure.kind == Kind::kLogits ? "the logits" : "the residual stream");
    case Kind::kUnfit:
      return fail("the GPU engine does not take this model: {}; use --device cpu", failure.text);
    case Kind::kNoMemory:
      return fail("the GPU has too little memory ({}): a smaller --kv-memory, fewer requests at once, or --device cpu",
                  failure.text);
    default:
      return fail("the GPU {} failed: {}", device, failure.text);
  }
}

/// What an engine is told of some rows, with the memory that it points into.
class StepBuilder {
 public:
  explicit StepBuilder(std::span<const StepRow> rows) {
    for (const auto& row : rows) {
      if (sequences_.empty() || row.kv != last_) begin(row);
      auto& sequence = sequences_.back();
      ++sequence.rows;
      const bool wants = row.wants_logits;
      rows_.push_back({row.token, row.position, static_cast<uint32_t>(sequences_.size()) - 1,
                       wants ? static_cast<int32_t>(picks_.size()) : -1});
      if (wants) picks_.push_back(row.best);
    }
    for (size_t i = 0; i < sequences_.size(); ++i) {
      auto& s = sequences_[i];
      s.first_page = static_cast<uint32_t>(pages_.size());
      for (uint32_t page = 0; page * gpu::kPagePositions < s.first_position + s.rows; ++page)
        pages_.push_back(caches_[i]->page(page));
    }
  }

  uint32_t logit_rows() const { return static_cast<uint32_t>(picks_.size()); }
  std::span<const uint32_t> picks() const { return picks_; }
  gpu::Step step(float* logits, gpu::Picked* picked) const {
    return {rows_, sequences_, pages_, logit_rows(), picks_, logits, picked};
  }

 private:
  void begin(const StepRow& row) {
    last_ = row.kv;
    caches_.push_back(static_cast<const GpuKv*>(row.kv));
    sequences_.push_back({static_cast<uint32_t>(rows_.size()), 0, 0, row.position});
  }

  const KvCache* last_ = nullptr;
  std::vector<gpu::Row> rows_;
  std::vector<gpu::Sequence> sequences_;
  std::vector<const GpuKv*> caches_;
  std::vector<uint32_t> pages_, picks_;
};

class GpuBackend final : public Backend {
 public:
  GpuBackend(ModelWeights weights, std::string name, std::unique_ptr<gpu::Engine> engine, StepProfile* profile)
      : weights_(std::move(weights)),
        name_(std::move(name)),
        engine_(std::move(engine)),
        profile_(profile),
        pages_(std::make_shared<GpuPages>(engine_->pages())),
        picked_(size_t{kMostLogitRows} * gpu::kMostPicked) {}

  const ModelConfig& config() const override { return weights_.config; }
  uint32_t prefill_chunk() const override { return kMostRows; }
  std::unique_ptr<KvCache> new_kv_cache() override { return std::make_unique<GpuKv>(pages_); }
  KvUsage kv_usage() const override {
    return {.pages = pages_->taken(),
            .page_bytes = engine_->page_bytes(),
            .page_positions = gpu::kPagePositions,
            .most_pages = pages_->count()};
  }

  bool lost() const override { return lost_; }

  Status forward(std::span<const BatchItem> batch, Logits& logits) override {
    RETURN_IF_ERROR(check_batch(weights_.config, batch));
    const auto rows = rows_of(weights_.config, batch, logits);
    logits.values.resize(size_t{logits.first_row.back()} * weights_.config.vocabulary);
    std::vector<uint32_t> lengths;
    for (const auto& item : batch) lengths.push_back(item.kv->length());
    auto status = forward_rows(rows, logits);
    if (auto readable = weights_.file->check_readable(); !readable) status = std::move(readable);
    if (!status)
      for (size_t i = 0; i < batch.size(); ++i) batch[i].kv->truncate(lengths[i]);
    return status;
  }

 private:
  /// In steps of bounded size; that changes no bit.
  Status forward_rows(std::span<const StepRow> rows, Logits& logits) {
    float* out = logits.values.data();
    for (size_t at = 0; at < rows.size();) {
      size_t end = at;
      for (uint32_t wanted = 0; end < rows.size() && end - at < kMostRows; ++end) {
        wanted += rows[end].wants_logits;
        if (wanted > kMostLogitRows) break;
      }
      RETURN_IF_ERROR(step(rows.subspan(at, end - at), out, logits));
      at = end;
    }
    return {};
  }

  Status step(std::span<const StepRow> rows, float*& out, Logits& logits) {
    for (const auto& row : rows) RETURN_IF_ERROR(cache_of(row).reserve(row.position + 1, *engine_));
    const StepBuilder builder(rows);
    if (profile_ != nullptr) engine_->measure(profile_->on);
    if (const auto failure = engine_->step(builder.step(out, picked_.data()))) {
      lost_ = failure.kind == gpu::Failure::Kind::kDevice;
      return fail_as(failure, name_);
    }
    if (profile_ != nullptr && profile_->on) add_times();
    for (const auto& row : rows) cache_of(row).extend(row.position + 1);
    for (uint32_t i = 0; i < builder.logit_rows(); ++i) {
      const uint32_t best = std::min(builder.picks()[i], weights_.config.vocabulary);
      if (best == 0) out += weights_.config.vocabulary;
      for (uint32_t j = 0; j < best; ++j) {
        const auto& picked = picked_[size_t{i} * gpu::kMostPicked + j];
        logits.best.push_back({picked.token, picked.logit});
      }
    }
    return {};
  }

  static GpuKv& cache_of(const StepRow& row) { return static_cast<GpuKv&>(*row.kv); }

  void add_times() {
    for (const auto& timing : engine_->timings())
      for (size_t i = 0; i < kStepParts; ++i)
        if (timing.part == name_of(static_cast<StepPart>(i))) profile_->seconds[i] += timing.seconds;
    ++profile_->steps;
  }

  ModelWeights weights_;
  std::string name_;  // "cuda:0"
  std::unique_ptr<gpu::Engine> engine_;
  StepProfile* profile_;
  std::shared_ptr<GpuPages> pages_;
  std::vector<gpu::Picked> picked_;
  std::atomic<bool> lost_{false};
};

}  // namespace

Result<std::unique_ptr<Backend>> make_gpu_backend(ModelWeights weights, const GpuModule& module,
                                                  const GpuOptions& options) {
  const int count = module.functions->device_count();
  if (options.device >= count)
    return fail("there is no {} device {}: {}", module.name, options.device,
                count == 0 ? std::string("this machine has none, or no driver for it")
                           : fmt::format("this machine has {}", count));
  const auto& config = weights.config;
  if (config.norms != NormChoice{.sub = true} || config.activation != Activation::kSquaredRelu)
    return fail_as({gpu::Failure::Kind::kUnfit, "it has BitNet 2B-4T's forward pass, this model another"}, module.name);
  gpu::Failure failure;
  UnpackedSparse sparse;
  std::unique_ptr<gpu::Engine> engine(module.functions->create(view_of(weights, sparse),
                                                               {.device = options.device,
                                                                .kv = format_of(options.kv_type),
                                                                .kv_bytes = options.kv_bytes,
                                                                .most_rows = kMostRows,
                                                                .in_place = options.in_place,
                                                                .split_kv = options.split_kv},
                                                               failure));
  const auto name = fmt::format("{}:{}", module.name, options.device);
  if (engine == nullptr) return fail_as(failure, name);
  return std::make_unique<GpuBackend>(std::move(weights), name, std::move(engine), options.profile);
}

}  // namespace onebit
