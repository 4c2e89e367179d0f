#include "backend/cpu_attention.h"

#include <algorithm>
#include <cstring>

namespace onebit {
namespace {

constexpr uint32_t kSuperBlock = 16;  // blocks folded before they meet the others (contract, 5)
constexpr uint32_t kFewRows = 4;      // up to these, work is shared over blocks; beyond, over rows
constexpr uint32_t kTileQueries = 64;
constexpr uint32_t kAll = ~0u;

}  // namespace

void CpuAttention::Results::clear() {
  o.clear();
  m.clear();
  l.clear();
}

void CpuAttention::Results::add(float* slot, uint32_t width) {
  o.push_back(slot);
  m.push_back(slot + width);
  l.push_back(slot + width + 1);
}

void CpuAttention::prepare(std::span<const StepRow> rows) {
  const auto& c = m_.config;
  sequences_.clear();
  sequence_of_row_.clear();
  position_of_row_.clear();
  tasks_.clear();
  pages_.clear();
  for (uint32_t i = 0; i < rows.size(); ++i) {
    if (i == 0 || rows[i].kv != rows[i - 1].kv)
      sequences_.push_back({static_cast<const PagedKv*>(rows[i].kv), i, 0, rows[i].position, 0, 0, 0, 0});
    ++sequences_.back().rows;
    sequence_of_row_.push_back(static_cast<uint32_t>(sequences_.size()) - 1);
    position_of_row_.push_back(rows[i].position);
  }
  for (uint32_t i = 0; i < sequences_.size(); ++i) plan(i, static_cast<uint32_t>(sequences_.size()));
  const auto& last = sequences_.back();
  slots_.resize(last.first_slot + size_t{last.rows} * c.heads * last.slots, width() + 16);
  if (m_.kv.format == cpu::KvFormat::kQ8) {
    q8_.resize(rows.size() * c.heads, c.head_dim);
    q8_scale_.resize(rows.size(), c.heads);
  }
}

void CpuAttention::plan(uint32_t sequence, uint32_t sequences) {
  const auto& c = m_.config;
  auto& s = sequences_[sequence];
  const uint32_t positions = s.first_position + s.rows;
  const uint32_t blocks = (positions + kKvPagePositions - 1) / kKvPagePositions;
  s.first_page = pages_.size();
  for (uint32_t block = 0; block < blocks; ++block) pages_.push_back(s.kv->page(block).block(m_.kv, 0, 0));
  const uint32_t supers = (blocks + kSuperBlock - 1) / kSuperBlock;
  const uint32_t group = c.heads / c.kv_heads;
  if (s.rows > kFewRows) {
    s.span = kAll;
  } else {
    s.span = supers * c.kv_heads * sequences >= 8 * threads_ ? kSuperBlock : 1;
  }
  s.slots = s.span == kAll ? 1 : (blocks + s.span - 1) / s.span;
  s.first_slot = 0;
  if (sequence > 0) {
    const auto& before = sequences_[sequence - 1];
    s.first_slot = before.first_slot + size_t{before.rows} * c.heads * before.slots;
  }
  const uint32_t tile = s.span == kAll ? std::max(1u, kTileQueries / group) : s.rows;
  const uint32_t step = s.span == kAll ? blocks : s.span;
  for (uint32_t row = 0; row < s.rows; row += tile)
    for (uint32_t block = 0; block < blocks; block += step)
      for (uint32_t kv_head = 0; kv_head < c.kv_heads; ++kv_head)
        tasks_.push_back({sequence, kv_head, row, std::min(tile, s.rows - row), block, std::min(step, blocks - block)});
}

float* CpuAttention::slot(const Sequence& s, uint32_t row, uint32_t head, uint32_t index) {
  return slots_.row(s.first_slot + (size_t{row} * m_.config.heads + head) * s.slots + index);
}

void CpuAttention::quantize_query(uint32_t row, const float* q) {
  if (m_.kv.format != cpu::KvFormat::kQ8) return;
  const auto& c = m_.config;
  for (uint32_t head = 0; head < c.heads; ++head) {
    int32_t sum = 0;
    m_.kernels.quantize(q + size_t{head} * c.head_dim, c.head_dim, q8_.row(size_t{row} * c.heads + head), q8_.stride(),
                        q8_scale_.row(row) + head, &sum);
  }
}

void CpuAttention::gather_queries(const Task& task, const Sequence& s, const float* q, size_t stride,
                                  Scratch& scratch) {
  const auto& c = m_.config;
  const uint32_t group = c.heads / c.kv_heads;
  const size_t queries = size_t{task.rows} * group;
  scratch.memory.resize(2 * queries, width() + 16);
  for (auto* results : {&scratch.block, &scratch.super, &scratch.slot}) results->clear();
  scratch.q.clear();
  scratch.q8.clear();
  scratch.q_scale.clear();
  for (uint32_t row = task.row; row < task.row + task.rows; ++row)
    for (uint32_t head = task.kv_head * group; head < (task.kv_head + 1) * group; ++head) {
      const size_t query = scratch.q.size(), at = s.first_row + row;
      scratch.q.push_back(q + at * stride + size_t{head} * c.head_dim);
      if (m_.kv.format == cpu::KvFormat::kQ8) {
        scratch.q8.push_back(q8_.row(at * c.heads + head));
        scratch.q_scale.push_back(q8_scale_.row(at)[head]);
      }
      scratch.block.add(scratch.memory.row(query), width());
      scratch.super.add(scratch.memory.row(queries + query), width());
      scratch.slot.add(slot(s, row, head, s.span == kAll ? 0 : task.block / s.span), width());
    }
}

void CpuAttention::attend_block(const Task& task, const Sequence& s, uint32_t layer, uint32_t block, Scratch& scratch) {
  const auto& c = m_.config;
  const uint32_t group = c.heads / c.kv_heads, begin = block * kKvPagePositions;
  // Rows that are earlier than the block see nothing of it.
  const uint32_t first_position = s.first_position + task.row;
  const uint32_t skip = begin > first_position ? std::min(task.rows, begin - first_position) : 0;
  scratch.count.clear();
  for (uint32_t row = skip; row < task.rows; ++row)
    scratch.count.insert(scratch.count.end(), group, std::min(kKvPagePositions, first_position + row + 1 - begin));
  if (scratch.count.empty()) return;
  const size_t first = size_t{skip} * group;
  cpu::AttendBlock b;
  b.kv = s.kv->page(block).view(m_.kv, layer, task.kv_head);
  b.head_dim = c.head_dim;
  b.queries = static_cast<uint32_t>(scratch.count.size());
  b.score_factor = m_.score_factor;
  b.q = scratch.q.data() + first;
  if (m_.kv.format == cpu::KvFormat::kQ8) {
    b.q8 = scratch.q8.data() + first;
    b.q_scale = scratch.q_scale.data() + first;
  }
  b.count = scratch.count.data();
  const auto& out = task.blocks == 1 ? scratch.slot : scratch.block;
  b.m = out.m.data() + first;
  b.l = out.l.data() + first;
  b.o = out.o.data() + first;
  m_.kernels.attend(m_.kv.format, b);
  if (task.blocks == 1) return;
  for (size_t query = first; query < first + b.queries; ++query)
    fold(scratch.block, scratch.super, query, block % kSuperBlock == 0);
}

void CpuAttention::fold(const Results& from, const Results& into, size_t query, bool first) const {
  if (first) {
    std::memcpy(into.o[query], from.o[query], (width() + 16) * sizeof(float));  // m and l with it
    return;
  }
  m_.kernels.fold(into.m[query], into.l[query], into.o[query], from.m[query], from.l[query], from.o[query],
                  m_.config.head_dim);
}

void CpuAttention::run(uint32_t index, uint32_t layer, const float* q, size_t stride, unsigned thread) {
  const auto& task = tasks_[index];
  const auto& s = sequences_[task.sequence];
  auto& scratch = scratch_[thread];
  gather_queries(task, s, q, stride, scratch);
  const uint32_t end = task.block + task.blocks, group = m_.config.heads / m_.config.kv_heads;
  for (uint32_t block = task.block; block < end; ++block) {
    attend_block(task, s, layer, block, scratch);
    if (task.blocks == 1 || ((block + 1) % kSuperBlock != 0 && block + 1 != end)) continue;
    // A super-block ends: for the rows that saw any of it.
    const uint32_t begin = block / kSuperBlock * kSuperBlock;
    for (uint32_t row = 0; row < task.rows; ++row)
      if (s.first_position + task.row + row >= begin * kKvPagePositions)
        for (size_t query = size_t{row} * group; query < size_t{row + 1} * group; ++query)
          fold(scratch.super, scratch.slot, query, begin <= task.block);
  }
}

void CpuAttention::finish(uint32_t row, float* out) {
  const auto& c = m_.config;
  const auto& s = sequences_[sequence_of_row_[row]];
  const uint32_t blocks = position_of_row_[row] / kKvPagePositions + 1;
  const uint32_t slots = s.span == kAll ? 1 : (blocks + s.span - 1) / s.span;
  const uint32_t per_super = s.span == 1 ? kSuperBlock : 1;
  for (uint32_t head = 0; head < c.heads; ++head) {
    // In place: each super-block into its first slot, then all of those into the very first.
    const auto fold_slot = [&](uint32_t from, uint32_t into) {
      float* a = slot(s, row - s.first_row, head, into);
      const float* b = slot(s, row - s.first_row, head, from);
      m_.kernels.fold(a + width(), a + width() + 1, a, b + width(), b + width() + 1, b, c.head_dim);
    };
    for (uint32_t begin = 0; begin < slots; begin += per_super) {
      for (uint32_t i = begin + 1; i < std::min(begin + per_super, slots); ++i) fold_slot(i, begin);
      if (begin > 0) fold_slot(begin, 0);
    }
    const float* total = slot(s, row - s.first_row, head, 0);
    m_.kernels.divide(total, total + width() + 1, c.head_dim, out + size_t{head} * c.head_dim);
  }
}

}  // namespace onebit
