// gen-1's operations against their definitions, written a second time in the plainest form.
#include "kernels/reference.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>
#include <random>

#include "base/half.h"

namespace onebit {
namespace {

using namespace reference;

class ReferenceTest : public ::testing::Test {
 protected:
  std::vector<float> normal(size_t n, float scale = 1.0f) {
    std::normal_distribution<float> d(0.0f, scale);
    std::vector<float> v(n);
    for (auto& x : v) x = d(random_);
    return v;
  }
  std::mt19937 random_{7};
};

TEST_F(ReferenceTest, LaneDotFollowsTheContractsOrder) {
  for (const size_t n : {1u, 5u, 255u, 256u, 257u, 1000u, 2560u, 6912u}) {
    const auto x = normal(n), y = normal(n);
    // Lane by lane, then the halving of the text: l += l + 128, l += l + 64, …
    float lanes[256] = {};
    for (size_t lane = 0; lane < 256; ++lane)
      for (size_t i = lane; i < n; i += 256) lanes[lane] = std::fma(x[i], y[i], lanes[lane]);
    for (size_t half = 128; half >= 1; half /= 2)
      for (size_t l = 0; l < half; ++l) lanes[l] = lanes[l] + lanes[l + half];
    EXPECT_EQ(lane_dot(x, y), lanes[0]) << n;
    const std::vector<float> ones(n, 1.0f);
    EXPECT_EQ(lane_sum(x), lane_dot(x, ones)) << n;
  }
}

TEST_F(ReferenceTest, RmsNormIsWithinRoundingOfDouble) {
  for (const size_t n : {64u, 512u, 1536u, 2560u}) {
    const auto x = normal(n, 3.0f), w = normal(n);
    std::vector<float> y(n);
    rms_norm(x, w, 1e-5f, y);
    double sum = 0;
    for (const float v : x) sum += static_cast<double>(v) * v;
    const double inverse = 1.0 / std::sqrt(sum / static_cast<double>(n) + 1e-5);
    for (size_t i = 0; i < n; ++i) EXPECT_NEAR(y[i], x[i] * inverse * w[i], 1e-6 * std::fabs(x[i] * w[i]) + 1e-12);
  }
}

TEST_F(ReferenceTest, QuantizeRoundsHalvesToEven) {
  // s = 127 makes the factor exactly 1, so values are rounded as they are.
  const std::vector<float> x{127.0f, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 0.49999997f, -126.5f, 126.5f};
  std::vector<int8_t> q(x.size());
  EXPECT_EQ(quantize(x, q), 127.0f);
  EXPECT_EQ(q, (std::vector<int8_t>{127, 0, 2, 2, 0, -2, -2, 0, -126, 126}));
}

TEST_F(ReferenceTest, QuantizeHasAFloorAndItsErrorIsHalfAStep) {
  std::vector<int8_t> q(3);
  EXPECT_EQ(quantize(std::vector<float>{0.0f, 0.0f, -0.0f}, q), 1e-5f);
  EXPECT_EQ(q, (std::vector<int8_t>{0, 0, 0}));
  for (const float scale : {1e-30f, 1e-5f, 1.0f, 1e30f}) {
    const auto x = normal(1000, scale);
    q.resize(x.size());
    const double s = static_cast<double>(quantize(x, q));
    for (size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(q[i] * s / 127.0, static_cast<double>(x[i]), s / 127.0 * 0.50001);
  }
}

TEST_F(ReferenceTest, AnythingNonFiniteMakesEveryProductNaN) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float bad : {infinity, -infinity, std::nanf("")}) {
    auto x = normal(48);
    x[17] = bad;
    std::vector<int8_t> weights(16 * 48, 1);
    std::vector<std::byte> packed(packed_bytes(Packing::kT2, 16, 48));
    pack_rows16(Packing::kT2, weights, 48, packed);
    const float scale = 0.5f;
    std::vector<float> y(16);
    integer_linear({.packing = Packing::kT2, .rows = 16, .columns = 48, .data = packed, .scales = {&scale, 1}}, x, y);
    for (const float v : y) EXPECT_TRUE(std::isnan(v));
  }
}

/// A packed matrix with its int8 weights beside it.
struct PlainMatrix {
  std::vector<int8_t> weights;  // [rows][columns]
  std::vector<std::byte> packed;
  std::vector<float> scales;
  IntegerMatrix view;
};

PlainMatrix plain_matrix(std::mt19937& random, Packing packing, uint32_t rows, uint32_t columns,
                         ScaleGranularity granularity, uint32_t group) {
  PlainMatrix m;
  m.weights.resize(size_t{rows} * columns);
  for (auto& w : m.weights)
    w = static_cast<int8_t>(is_ternary(packing) ? static_cast<int>(random() % 3) - 1
                                                : static_cast<int>(random() % 255) - 127);
  if (packing == Packing::kS1_25)
    for (size_t i = 0; i < m.weights.size(); i += 4) {
      for (size_t j = 0; j < 4; ++j) m.weights[i + j] = static_cast<int8_t>(2 * static_cast<int>(random() % 2) - 1);
      m.weights[i + random() % 4] = 0;
    }
  m.packed.resize(packed_bytes(packing, rows, columns));
  const auto group_bytes = packed_bytes(packing, 16, columns);
  for (uint32_t first = 0; first < rows; first += 16) {
    std::vector<int8_t> sixteen(size_t{16} * columns);
    const auto count = std::min(16u, rows - first) * columns;
    std::copy_n(m.weights.begin() + size_t{first} * columns, count, sixteen.begin());
    pack_rows16(packing, sixteen, columns, std::span(m.packed).subspan(first / 16 * group_bytes, group_bytes));
  }
  m.scales.resize(scale_count(granularity, rows, columns, group));
  for (auto& s : m.scales) s = 0.01f + static_cast<float>(random() % 1000) * 1e-3f;
  m.view = {packing, rows, columns, m.packed, granularity, group, m.scales};
  return m;
}

TEST_F(ReferenceTest, IntegerLinearMatchesItsDefinitionForEveryPackingAndGranularity) {
  for (const auto packing : {Packing::kT2, Packing::kT1_6, Packing::kS1_25, Packing::kQ8})
    for (const auto& [granularity, group] :
         {std::pair{ScaleGranularity::kTensor, 0u}, {ScaleGranularity::kRow, 0u}, {ScaleGranularity::kGroup, 32u}})
      for (const auto& [rows, columns] : {std::pair{16u, 32u}, {37u, 100u}, {5u, 513u}}) {
        if (packing == Packing::kS1_25 && columns % 4 != 0) continue;
        const auto m = plain_matrix(random_, packing, rows, columns, granularity, group);
        constexpr size_t kTokens = 3;
        const auto x = normal(kTokens * columns);
        std::vector<float> y(kTokens * rows);
        integer_linear(m.view, x, y);
        for (size_t t = 0; t < kTokens; ++t) {
          std::vector<int8_t> q(columns);
          const float s = quantize(std::span(x).subspan(t * columns, columns), q);
          for (uint32_t r = 0; r < rows; ++r) {
            const auto partial = [&](uint32_t from, uint32_t to) {
              int64_t sum = 0;
              for (uint32_t c = from; c < to; ++c) sum += int64_t{q[c]} * m.weights[size_t{r} * columns + c];
              return static_cast<float>(sum);
            };
            float expected = 0;
            if (granularity == ScaleGranularity::kGroup) {
              const uint32_t groups = (columns + group - 1) / group;
              for (uint32_t g = 0; g < groups; ++g)
                expected = std::fma(partial(g * group, std::min(columns, (g + 1) * group)),
                                    m.scales[(r / 16 * groups + g) * 16 + r % 16], expected);
              expected = expected * (s / 127.0f);
            } else {
              const float w = m.scales[granularity == ScaleGranularity::kRow ? r : 0];
              expected = partial(0, columns) * (w * (s / 127.0f));
            }
            ASSERT_EQ(y[t * rows + r], expected) << name_of(packing) << " row " << r;
          }
        }
      }
}

TEST_F(ReferenceTest, HalfLinearIsALaneDotOfEachRow) {
  const auto x = normal(2 * 300);
  std::vector<uint16_t> w(7 * 300);
  for (auto& v : w) v = float_to_bf16(normal(1)[0]);
  std::vector<float> y(2 * 7);
  half_linear({Packing::kBf16, 7, 300, w}, x, y);
  for (size_t t = 0; t < 2; ++t)
    for (size_t r = 0; r < 7; ++r) {
      std::vector<float> row(300);
      std::transform(w.begin() + static_cast<ptrdiff_t>(r * 300), w.begin() + static_cast<ptrdiff_t>((r + 1) * 300),
                     row.begin(), bf16_to_float);
      EXPECT_EQ(y[t * 7 + r], lane_dot(std::span(x).subspan(t * 300, 300), row));
    }
}

TEST_F(ReferenceTest, RopeTurnsEachPair) {
  auto x = normal(3 * 8);
  const auto before = x;
  const std::vector<float> cos{1.0f, 0.5f, 0.0f, -1.0f}, sin{0.0f, 0.8660254f, 1.0f, 0.0f};
  rope(x, 8, cos, sin);
  for (size_t head = 0; head < 24; head += 8)
    for (size_t i = 0; i < 4; ++i) {
      const double a = before[head + i], b = before[head + i + 4];
      EXPECT_NEAR(x[head + i], a * cos[i] - b * sin[i], 1e-6);
      EXPECT_NEAR(x[head + i + 4], b * cos[i] + a * sin[i], 1e-6);
    }
}

TEST_F(ReferenceTest, SquaredReluGate) {
  const std::vector<float> gate{-3.0f, 0.0f, 2.0f, 0.5f}, up{5.0f, 5.0f, -3.0f, 4.0f};
  std::vector<float> y(4);
  squared_relu_gate(gate, up, y);
  EXPECT_EQ(y, (std::vector<float>{0.0f, 0.0f, -12.0f, 1.0f}));
}

TEST_F(ReferenceTest, SiluGate) {
  const std::vector<float> gate{-200.0f, -88.0f, -1.0f, 0.0f, 2.0f, 100.0f}, up{1.0f, 1.0f, 2.0f, 5.0f, -3.0f, 0.5f};
  std::vector<float> y(gate.size());
  silu_gate(gate, up, y);
  for (size_t i = 0; i < y.size(); ++i) {
    const double exact = double{gate[i]} / (1.0 + std::exp(-double{gate[i]})) * double{up[i]};
    EXPECT_NEAR(y[i], exact, 1e-6 * std::fabs(exact) + 1e-36) << gate[i];
  }
}

class AttentionTest : public ReferenceTest, public ::testing::WithParamInterface<uint32_t> {
 protected:
  static constexpr uint32_t kHeadDim = 32;

  std::vector<KvBlock> random_blocks(uint32_t positions) {
    std::vector<KvBlock> blocks((positions + kKvBlock - 1) / kKvBlock);
    for (auto& block : blocks) {
      block.k = normal(size_t{kHeadDim} * kKvBlock);
      block.v = normal(size_t{kHeadDim} * kKvBlock);
    }
    return blocks;
  }
};

TEST_P(AttentionTest, IsSoftmaxAttentionWithinRounding) {
  const uint32_t visible = GetParam();
  const auto blocks = random_blocks(visible);
  const auto q = normal(kHeadDim, 2.0f);
  std::vector<float> out(kHeadDim);
  attention(q, blocks, visible, out);
  std::vector<double> score(visible);
  for (uint32_t t = 0; t < visible; ++t) {
    for (uint32_t d = 0; d < kHeadDim; ++d) score[t] += static_cast<double>(q[d]) * blocks[t / 64].k[d * 64 + t % 64];
    score[t] /= std::sqrt(static_cast<double>(kHeadDim));
  }
  const double max = *std::max_element(score.begin(), score.end());
  double sum = 0;
  for (auto& s : score) sum += s = std::exp(s - max);
  for (uint32_t d = 0; d < kHeadDim; ++d) {
    double expected = 0;
    for (uint32_t t = 0; t < visible; ++t) expected += score[t] / sum * blocks[t / 64].v[t % 64 * kHeadDim + d];
    EXPECT_NEAR(out[d], expected, 1e-5) << visible;
  }
}

TEST_P(AttentionTest, PositionsPastTheVisibleOnesChangeNothing) {
  const uint32_t visible = GetParam();
  auto blocks = random_blocks(visible);
  const auto q = normal(kHeadDim);
  std::vector<float> out(kHeadDim), again(kHeadDim);
  attention(q, blocks, visible, out);
  for (uint32_t t = visible; t < blocks.size() * kKvBlock; ++t)  // even NaN there must not matter
    for (uint32_t d = 0; d < kHeadDim; ++d)
      blocks[t / 64].k[d * 64 + t % 64] = blocks[t / 64].v[t % 64 * kHeadDim + d] = std::nanf("");
  blocks.push_back(blocks.front());
  attention(q, blocks, visible, again);
  EXPECT_EQ(std::memcmp(out.data(), again.data(), out.size() * sizeof(float)), 0);
}

INSTANTIATE_TEST_SUITE_P(Lengths, AttentionTest, ::testing::Values(1, 2, 63, 64, 65, 128, 1000, 1024, 1025, 2500));

TEST_F(AttentionTest, QuantizedBlocksScaleKeysAndValues) {
  const uint32_t visible = 70;
  auto exact = random_blocks(visible);
  auto quantized = exact;
  for (size_t b = 0; b < exact.size(); ++b) {
    auto& block = quantized[b];
    block.quantized = true;
    block.k_scale.resize(kKvBlock);
    block.v_scale.resize(kKvBlock);
    for (uint32_t t = 0; t < kKvBlock; ++t) {
      std::vector<float> k(kHeadDim), v(kHeadDim);
      for (uint32_t d = 0; d < kHeadDim; ++d) {
        k[d] = exact[b].k[d * kKvBlock + t];
        v[d] = exact[b].v[t * kHeadDim + d];
      }
      std::vector<int8_t> kq(kHeadDim), vq(kHeadDim);
      block.k_scale[t] = quantize(k, kq);
      block.v_scale[t] = quantize(v, vq);
      for (uint32_t d = 0; d < kHeadDim; ++d) {
        block.k[d * kKvBlock + t] = kq[d];
        block.v[t * kHeadDim + d] = vq[d];
      }
    }
  }
  const auto q = normal(kHeadDim);
  std::vector<float> a(kHeadDim), b(kHeadDim);
  attention(q, exact, visible, a);
  attention(q, quantized, visible, b);
  for (uint32_t d = 0; d < kHeadDim; ++d) EXPECT_NEAR(a[d], b[d], 0.03);
}

}  // namespace
}  // namespace onebit
