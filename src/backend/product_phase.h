// The products of one phase of a step, cut into the chunks that threads take.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "kernels/cpu/cpu_kernels.h"

namespace onebit {

/// Matrices that the same rows are multiplied with: one after another (queries, keys, values), or side by side (gate
/// and up, whose results a chunk combines).
class ProductPhase {
 public:
  enum class Order { kAfter, kBeside };

  ProductPhase() = default;
  ProductPhase(std::initializer_list<const cpu::PackedMatrix*> matrices, uint32_t tokens, const cpu::Kernels& kernels,
               Order order = Order::kAfter)
      : order_(order) {
    for (const auto* w : matrices) {
      const uint32_t step = chunk_groups(*w, tokens, kernels);
      matrices_[count_++] = {w, step, (w->groups + step - 1) / step};
    }
  }

  uint32_t chunks() const {
    uint32_t chunks = 0;
    for (uint32_t i = 0; i < (order_ == Order::kBeside ? 1 : count_); ++i) chunks += matrices_[i].chunks;
    return chunks;
  }

  /// of(index, w, begin, end) for each matrix that a chunk has groups [begin, end) of.
  template <class Of>
  void each_of(uint32_t chunk, Of of) const {
    for (uint32_t i = 0; i < count_; ++i) {
      const auto& m = matrices_[i];
      if (chunk < m.chunks) {
        of(i, *m.w, chunk * m.step, std::min(m.w->groups, (chunk + 1) * m.step));
        if (order_ == Order::kAfter) return;
      } else if (order_ == Order::kAfter) {
        chunk -= m.chunks;
      }
    }
  }

  /// of(data, bytes): the weights that a chunk reads.
  template <class Of>
  void each_read(uint32_t chunk, Of of) const {
    each_of(chunk, [&](uint32_t, const cpu::PackedMatrix& w, uint32_t begin, uint32_t end) {
      of(w.data + begin * w.group_bytes(), (end - begin) * w.group_bytes());
    });
  }

 private:
  /// Of packed weights, what a thread takes at once: little enough to be shared evenly when another process takes
  /// some of the time, enough that taking it costs nothing.
  static constexpr size_t kChunkBytes = 48 << 10;

  /// Groups of 16 rows in a chunk.
  static uint32_t chunk_groups(const cpu::PackedMatrix& w, uint32_t tokens, const cpu::Kernels& kernels) {
    const auto groups = std::max<uint32_t>(1, static_cast<uint32_t>(kChunkBytes / w.group_bytes()));
    if (tokens == 1) return groups;
    return (groups + kernels.tile_groups - 1) / kernels.tile_groups * kernels.tile_groups;
  }

  struct Part {
    const cpu::PackedMatrix* w;
    uint32_t step, chunks;
  };
  std::array<Part, 3> matrices_{};
  uint32_t count_ = 0;
  Order order_ = Order::kAfter;
};

}  // namespace onebit
