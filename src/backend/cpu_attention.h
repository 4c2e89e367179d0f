// Split-KV attention (Flash-Decoding) of a step: tasks over sequences, KV heads and blocks of positions, whose
// partial results fold in the contract's order whatever the split.
#pragma once

#include <vector>

#include "backend/aligned_rows.h"
#include "backend/cpu_model.h"
#include "backend/step_rows.h"

namespace onebit {

class CpuAttention {
 public:
  CpuAttention(const CpuModel& model, unsigned threads) : m_(model), threads_(threads), scratch_(threads) {}

  /// Plans the step whose rows these are; their caches have room reserved.
  void prepare(std::span<const StepRow> rows);

  uint32_t tasks() const { return static_cast<uint32_t>(tasks_.size()); }
  /// What the tasks read of a layer's cache, for who wants to fetch it before. Looks at the plan only: a thread that is
  /// late may ask when the step is over and its caches are gone.
  struct Reads {
    const CpuAttention& attention;
    uint32_t layer;

    uint32_t chunks() const { return attention.tasks(); }
    /// of(data, bytes) for each block of a task.
    template <class Of>
    void each_read(uint32_t task, Of of) const {
      const auto& t = attention.tasks_[task];
      const auto* page = &attention.pages_[attention.sequences_[t.sequence].first_page + t.block];
      const auto& layout = attention.m_.kv;
      for (uint32_t i = 0; i < t.blocks; ++i) of(page[i] + layout.block_offset(layer, t.kv_head), layout.block_bytes);
    }
  };
  Reads reads(uint32_t layer) const { return {*this, layer}; }
  /// q: all rows' queries, after RoPE, `stride` floats apart.
  void run(uint32_t task, uint32_t layer, const float* q, size_t stride, unsigned thread);
  /// A KV cache of int8 wants queries quantised; by row, before the tasks. Nothing to do for others.
  void quantize_query(uint32_t row, const float* q);
  /// All tasks' results for a row: [heads · head_dim].
  void finish(uint32_t row, float* out);

 private:
  struct Sequence {
    const PagedKv* kv;
    uint32_t first_row, rows, first_position;
    uint32_t span;   // blocks that a task covers, and whose result is a slot: 1, a super-block, or all
    uint32_t slots;  // of a query
    size_t first_slot, first_page;
  };
  struct Task {
    uint32_t sequence, kv_head;
    uint32_t row, rows;  // of the sequence
    uint32_t block, blocks;
  };
  /// Where the results of some queries go: o, m and l of each.
  struct Results {
    std::vector<float*> o, m, l;
    void clear();
    void add(float* slot, uint32_t width);
  };
  /// A thread's lists and intermediate results.
  struct Scratch {
    std::vector<const float*> q;
    std::vector<const int8_t*> q8;
    std::vector<float> q_scale;
    std::vector<uint32_t> count;
    Results block, super, slot;
    AlignedRows<float> memory;  // [2][queries]: of the block, of the super-block
  };

  void plan(uint32_t sequence, uint32_t sequences);
  uint32_t width() const { return (m_.config.head_dim + 15) / 16 * 16; }
  float* slot(const Sequence& s, uint32_t row, uint32_t head, uint32_t index);
  void gather_queries(const Task& task, const Sequence& s, const float* q, size_t stride, Scratch& scratch);
  void attend_block(const Task& task, const Sequence& s, uint32_t layer, uint32_t block, Scratch& scratch);
  void fold(const Results& from, const Results& into, size_t query, bool first) const;

  const CpuModel& m_;
  unsigned threads_;
  std::vector<Sequence> sequences_;
  std::vector<uint32_t> sequence_of_row_;
  std::vector<uint32_t> position_of_row_;
  std::vector<Task> tasks_;
  std::vector<const std::byte*> pages_;  // of each sequence in turn, where its pages begin
  std::vector<Scratch> scratch_;
  AlignedRows<float> slots_;     // o, then m and l
  AlignedRows<int8_t> q8_;       // [rows][heads][head_dim padded to 64]
  AlignedRows<float> q8_scale_;  // [rows][heads]
};

}  // namespace onebit
