// Operands of the CPU kernels as their test and their fuzz target make them, of any source of random words.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "kernels/cpu/cpu_kernels.h"
#include "kernels/matrix.h"

namespace onebit::test {

/// The width of a matrix that is to have about `columns`: s1_25 has whole groups of four.
inline uint32_t columns_for(Packing packing, uint32_t columns) {
  return packing == Packing::kS1_25 ? (columns + 3) / 4 * 4 : columns;
}

/// A packed matrix of random weights with everything that belongs to it.
struct RandomMatrix {
  template <class Random>
  RandomMatrix(Packing packing, ScaleGranularity granularity, uint32_t rows, uint32_t columns, Random& random) {
    const auto groups = static_cast<uint32_t>(padded_rows(packing, rows) / kTileRows);
    bytes.resize(packed_bytes(packing, rows, columns));
    std::vector<int8_t> weights(16 * size_t{columns});
    const size_t group_bytes = bytes.size() / groups;
    size_t zero = 0;  // of four weights, where s1_25 has its zero
    for (uint32_t g = 0; g < groups; ++g) {
      for (size_t i = 0; i < weights.size(); ++i) {
        const bool exists = g * 16 + i / columns < rows;
        if (packing == Packing::kS1_25) {
          if (i % 4 == 0) zero = random() % 4;
          weights[i] = static_cast<int8_t>(!exists || i % 4 == zero ? 0 : 2 * int(random() % 2) - 1);
          continue;
        }
        weights[i] = static_cast<int8_t>(!exists               ? 0
                                         : is_ternary(packing) ? int(random() % 3) - 1
                                                               : int(random() % 255) - 127);
      }
      pack_rows16(packing, weights, columns, std::span(bytes).subspan(g * group_bytes, group_bytes));
    }
    const uint32_t group = granularity == ScaleGranularity::kGroup ? 32u << random() % 3 : 0;
    scales.resize(scale_count(granularity, rows, columns, group));
    for (auto& s : scales)
      s = std::ldexp(1.0f + static_cast<float>(random() % 1000) / 1000.0f, static_cast<int>(random() % 8) - 6);
    reference = {packing, rows, columns, bytes, granularity, group, scales};
    using P = cpu::PackedMatrix;
    view.data = reinterpret_cast<const uint8_t*>(bytes.data());
    view.rows = rows;
    view.columns = columns;
    view.groups = groups;
    view.blocks = static_cast<uint32_t>(group_bytes / 64);
    view.kind = packing == Packing::kT2      ? P::kT2
                : packing == Packing::kT1_6  ? P::kT1_6
                : packing == Packing::kS1_25 ? P::kS1_25
                                             : P::kQ8;
    view.scales = scales.data();
    view.granularity = granularity == ScaleGranularity::kTensor ? P::kOne
                       : granularity == ScaleGranularity::kRow  ? P::kPerRow
                                                                : P::kPerGroup;
    view.scale_group = group;
  }
  RandomMatrix(RandomMatrix&&) = default;  // a copy's views would be of the original

  std::vector<std::byte> bytes;
  std::vector<float> scales;
  IntegerMatrix reference;
  cpu::PackedMatrix view;
};

/// Activations as products take them. The stride has room for the unit in which the last column lies.
struct Quantized {
  Quantized(const cpu::Kernels& kernels, std::span<const float> x, uint32_t columns, Packing packing)
      : stride((columns + 128 + 63) / 64 * 64),
        tokens(static_cast<uint32_t>(x.size() / columns)),
        q(tokens * stride),
        scale(tokens),
        sum(tokens) {
    for (uint32_t t = 0; t < tokens; ++t) {
      kernels.quantize(x.data() + size_t{t} * columns, columns, q.data() + t * stride, stride, &scale[t], &sum[t]);
      if (packing == Packing::kS1_25) kernels.sparse_order(q.data() + t * stride, stride);
    }
  }
  cpu::QuantizedRows rows() { return {q.data(), stride, scale.data(), sum.data(), tokens}; }

  size_t stride;
  uint32_t tokens;
  std::vector<int8_t> q;
  std::vector<float> scale;
  std::vector<int32_t> sum;
};

/// What `multiply` works in.
class Scratch {
 public:
  explicit Scratch(size_t bytes) : memory_(std::aligned_alloc(64, (bytes + 63) / 64 * 64), &std::free) {}
  void* get() const { return memory_.get(); }

 private:
  std::unique_ptr<void, decltype(&std::free)> memory_;
};

inline size_t padded_head_dim(uint32_t head_dim) {
  return (size_t{head_dim} + 15) / 16 * 16;
}

/// A block of the KV cache with the first positions appended: `keys` and `values` are [positions][head_dim].
struct TestBlock {
  TestBlock(const cpu::Kernels& kernels, cpu::KvFormat format, uint32_t head_dim, std::span<const float> keys,
            std::span<const float> values)
      : k(bytes(format, head_dim)), v(bytes(format, head_dim)), k_scale(64), v_scale(64) {
    const auto positions = static_cast<uint32_t>(keys.size() / head_dim);
    for (uint32_t t = 0; t < positions; ++t) {
      kernels.append_key(format, keys.data() + size_t{t} * head_dim, head_dim, t, k.data(), k_scale.data());
      kernels.append_value(format, values.data() + size_t{t} * head_dim, head_dim, t, v.data(), v_scale.data());
    }
  }
  cpu::KvBlockView view() const { return {k.data(), v.data(), k_scale.data(), v_scale.data()}; }

  std::vector<std::byte> k, v;
  std::vector<float> k_scale, v_scale;

 private:
  static size_t bytes(cpu::KvFormat format, uint32_t head_dim) {
    const size_t element = format == cpu::KvFormat::kF32 ? 4 : format == cpu::KvFormat::kF16 ? 2 : 1;
    return padded_head_dim(head_dim) * 64 * element;
  }
};

/// Queries that meet one block, in both the forms that `attend` takes, and room for what it gathers.
struct TestQueries {
  /// `x` is [queries][head_dim].
  TestQueries(const cpu::Kernels& kernels, uint32_t head_dim, std::span<const float> x,
              std::span<const uint32_t> counts)
      : count(counts.begin(), counts.end()), m(count.size()), l(count.size()), q_scale(count.size()) {
    const size_t width = padded_head_dim(head_dim), q8_stride = (width + 63) / 64 * 64;
    o.assign(count.size(), std::vector<float>(width));
    q.assign(count.size(), std::vector<float>(width));
    q8.assign(count.size(), std::vector<int8_t>(q8_stride));
    for (size_t i = 0; i < count.size(); ++i) {
      const auto from = x.subspan(i * head_dim, head_dim);
      std::copy(from.begin(), from.end(), q[i].begin());
      int32_t sum = 0;
      kernels.quantize(from.data(), head_dim, q8[i].data(), q8_stride, &q_scale[i], &sum);
      q_rows.push_back(q[i].data());
      q8_rows.push_back(q8[i].data());
      m_of.push_back(&m[i]);
      l_of.push_back(&l[i]);
      o_rows.push_back(o[i].data());
    }
    view = {.kv = {},
            .head_dim = head_dim,
            .queries = static_cast<uint32_t>(count.size()),
            .score_factor = static_cast<float>(1.0 / std::sqrt(static_cast<double>(head_dim))),
            .q = q_rows.data(),
            .q8 = q8_rows.data(),
            .q_scale = q_scale.data(),
            .count = count.data(),
            .m = m_of.data(),
            .l = l_of.data(),
            .o = o_rows.data()};
  }
  TestQueries(const TestQueries&) = delete;

  void attend(const cpu::Kernels& kernels, cpu::KvFormat format, const TestBlock& block) {
    view.kv = block.view();
    kernels.attend(format, view);
  }

  std::vector<uint32_t> count;
  std::vector<float> m, l, q_scale;  // [queries]
  std::vector<std::vector<float>> o, q;
  std::vector<std::vector<int8_t>> q8;
  std::vector<const float*> q_rows;
  std::vector<const int8_t*> q8_rows;
  std::vector<float*> m_of, l_of, o_rows;
  cpu::AttendBlock view;
};

}  // namespace onebit::test
