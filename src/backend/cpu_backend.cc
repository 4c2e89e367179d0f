#include "backend/cpu_backend.h"

#include <algorithm>

#include "backend/best_of_row.h"
#include "backend/cpu_step.h"

namespace onebit {
namespace {

class CpuBackend final : public Backend {
 public:
  CpuBackend(ModelWeights weights, const CpuOptions& options)
      : m_(std::move(weights), options.kv_type, options.kernels != nullptr ? *options.kernels : cpu::best_kernels()),
        profile_(options.profile),
        pool_(options.threads > 0 ? options.threads : available_processors(), options.pin) {}

  const ModelConfig& config() const override { return m_.config; }
  uint32_t prefill_chunk() const override { return CpuStep::kMostRows; }
  std::unique_ptr<KvCache> new_kv_cache() override { return std::make_unique<PagedKv>(m_.kv); }

  void rest() override {
    std::erase_if(steps_, [](const auto& step) { return step->idle(); });
    m_.kv.pool->trim();
  }
  KvUsage kv_usage() const override { return {m_.kv.pool->taken(), m_.kv.page_bytes, kKvPagePositions}; }

  bool gives_states() const override { return true; }

  uint64_t kv_page_layout() const override { return m_.kv.identity(); }
  Status write_kv(const KvCache& kv, const std::function<Status(std::span<const std::byte>)>& page) const override {
    const auto& cache = static_cast<const PagedKv&>(kv);
    for (uint32_t i = 0; i < cache.pages(); ++i) RETURN_IF_ERROR(page(cache.page(i).bytes(m_.kv)));
    return {};
  }
  Result<std::unique_ptr<KvCache>> read_kv(uint32_t length,
                                           const std::function<Status(std::span<std::byte>)>& page) override {
    auto cache = std::make_unique<PagedKv>(m_.kv);
    RETURN_IF_ERROR(cache->reserve(length));
    for (uint32_t i = 0; i < cache->pages(); ++i) RETURN_IF_ERROR(page(cache->page(i).bytes(m_.kv)));
    cache->extend(length);
    return cache;
  }

  Status forward(std::span<const BatchItem> batch, Logits& logits) override {
    RETURN_IF_ERROR(check_batch(m_.config, batch, true));
    const auto rows = rows_of(m_.config, batch, logits);
    const bool some_best = logits.first_best.back() > 0;
    auto& computed = some_best ? computed_ : logits.values;
    computed.resize(logit_rows(rows) * m_.config.vocabulary);
    std::vector<uint32_t> lengths;
    for (const auto& item : batch) lengths.push_back(item.kv->length());
    auto status = forward_rows(rows, computed.data(), logits.states.data());
    if (auto readable = m_.weights.file->check_readable(); !readable) status = std::move(readable);
    if (!status)
      for (size_t i = 0; i < batch.size(); ++i) batch[i].kv->truncate(lengths[i]);
    else if (some_best)
      take_wanted(rows, computed, logits);
    return status;
  }

 private:
  /// In steps of bounded size; that changes no bit. `out` gets [rows that want logits][vocabulary],
  /// `states` [rows that want one][hidden].
  Status forward_rows(std::span<const StepRow> rows, float* out, float* states) {
    for (size_t at = 0; at < rows.size();) {
      const auto part = rows.subspan(at, std::min<size_t>(CpuStep::kMostRows, rows.size() - at));
      at += part.size();
      for (const auto& row : part) RETURN_IF_ERROR(cache_of(row).reserve(row.position + 1));
      auto& step = idle_step();
      step.prepare(part, out, states);
      pool_.run(step);
      for (const auto& row : part) {
        cache_of(row).extend(row.position + 1);
        if (row.wants_logits) out += m_.config.vocabulary;
        if (row.wants_state) states += m_.config.hidden;
      }
      if (step.problem() != CpuStep::Problem::kNone)
        return fail("a value of {} is not a finite number: the model file is damaged or unfit",
                    step.problem() == CpuStep::Problem::kLogits ? "the logits" : "the residual stream");
    }
    return {};
  }

  static PagedKv& cache_of(const StepRow& row) { return static_cast<PagedKv&>(*row.kv); }

  /// Most often the same one; another where a thread that the system put aside has not left the last yet.
  CpuStep& idle_step() {
    const auto it = std::find_if(steps_.begin(), steps_.end(), [](const auto& step) { return step->idle(); });
    if (it != steps_.end()) return **it;
    steps_.push_back(std::make_unique<CpuStep>(m_, pool_.threads(), profile_));
    return *steps_.back();
  }

  CpuModel m_;
  StepProfile* profile_;
  std::vector<float> computed_;  // logits of which only the best are wanted, and those beside them
  std::vector<std::unique_ptr<CpuStep>> steps_;
  ThreadPool pool_;  // ends before the steps that its threads may be inside of
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(ModelWeights weights, const CpuOptions& options) {
  return std::make_unique<CpuBackend>(std::move(weights), options);
}

}  // namespace onebit
