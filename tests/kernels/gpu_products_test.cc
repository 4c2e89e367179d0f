// Products for many tokens (kernels/gpu/products.inl.h) of any shape against their definition: rows that are no
// multiple of a group, columns that are none of a block, tokens that are none of a tile; columns divided over blocks of
// threads.
#include <numeric>
#include <random>
#include <vector>

#include "format/packing.h"
#include "kernels/gpu/batch.inl.h"
#include "tests/kernels/gpu_memory.h"

namespace onebit::gpu {
namespace {

struct Case {
  uint32_t rows, columns, tokens, splits;
};

class GpuProducts : public GpuTest {
 protected:
  struct Matrix {
    DeviceMatrix device{};
    std::vector<int8_t> weights;  // [rows][columns]
  };

  Matrix matrix(Packing packing, uint32_t rows, uint32_t columns) {
    Matrix m;
    const uint32_t groups = (rows + 15) / 16;
    std::vector<int8_t> padded(uint64_t{groups} * 16 * columns);
    const int span = packing == Packing::kQ8 ? 127 : 1;
    for (uint32_t i = 0; i < rows * columns; ++i)
      padded[i] = static_cast<int8_t>(static_cast<int>(random_() % (2 * span + 1)) - span);
    std::vector<std::byte> data(packed_bytes(packing, groups * 16, columns));
    const uint64_t each = data.size() / groups;
    for (uint32_t g = 0; g < groups; ++g)
      pack_rows16(packing, std::span(padded).subspan(uint64_t{g} * 16 * columns, 16 * columns), columns,
                  std::span(data).subspan(g * each, each));
    m.weights.assign(padded.begin(), padded.begin() + rows * columns);
    std::vector<float> scales(groups * 16);
    for (auto& s : scales) s = static_cast<float>(random_() % 1000 + 1) / 512.0f;
    m.device = {reinterpret_cast<const unsigned char*>(device(data)),
                device(scales),
                0.0f,
                rows,
                columns,
                groups,
                static_cast<uint32_t>(each / kBlockBytes)};
    return m;
  }

  /// Quantised rows of random bytes as the kernels want them; plain: [tokens][columns].
  template <Code kCode>
  QuantizedRows quantized(uint32_t tokens, uint32_t columns, uint32_t blocks, std::vector<int8_t>& plain) {
    QuantizedRows x{};
    x.stride = chunks_of(blocks, kChunkUnits<kCode>) * kChunkColumns<kCode>;
    std::vector<int8_t> bytes((tokens + 7) / 8 * 8 * x.stride, 77);
    plain.resize(tokens * columns);
    std::vector<float> s(tokens);
    std::vector<int32_t> sum(tokens);
    QuantizedRows on_host{bytes.data(), nullptr, nullptr, x.stride};
    for (uint32_t t = 0; t < tokens; ++t) {
      for (uint32_t i = 0; i < x.stride; ++i) {
        const uint32_t place = chunk_place<kCode>(i);
        const auto value = static_cast<int8_t>(i < columns ? random_() : 0);
        quantized_at(on_host, t, place / 16 * 16)[place % 16] = value;
        if (i >= columns) continue;
        plain[t * columns + i] = value;
        sum[t] += value;
      }
      s[t] = static_cast<float>(random_() % 1000 + 1) / 64.0f;
    }
    x.q = device(bytes);
    x.s = device(s);
    x.sum = device(sum);
    return x;
  }

  static int32_t dot(const Matrix& m, uint32_t row, const std::vector<int8_t>& x, uint32_t token) {
    int32_t sum = 0;
    for (uint32_t i = 0; i < m.device.columns; ++i)
      sum += m.weights[row * m.device.columns + i] * x[token * m.device.columns + i];
    return sum;
  }

  template <Code kCode, uint32_t kTiles, uint32_t kParts, Finish kFinish>
  void run(ProductArgs& args, uint32_t stages) {
    constexpr uint32_t kEach = kFinish == Finish::kGate ? kProductGroups<kParts> / 2 : kProductGroups<kParts>;
    args.stages = stages;
    const uint64_t shared = kBeforeStages<kCode, kTiles> + stages * kStageBytes<kCode, kTiles, kParts>;
    const uint32_t blocks = (args.groups + kEach - 1) / kEach * ((args.tokens + kTiles * 8 - 1) / (kTiles * 8));
    const auto kernel = &products<kCode, kTiles, kParts, kFinish>;
    allow_shared(kernel, shared, outcome_);
    launch(kernel, {blocks * args.splits, kProductThreads, shared}, nullptr, outcome_, args);
  }
  template <Code kCode, Finish kFinish>
  void run_any(ProductArgs& args, uint32_t variant) {
    if (variant == 0) run<kCode, 2, 2, kFinish>(args, 3 + args.tokens % 2);
    if (variant == 1) run<kCode, 8, 2, kFinish>(args, 3 + args.tokens % 2);
    if (variant == 2) run<kCode, 16, 1, kFinish>(args, 3 + args.tokens % 2);
  }

  template <Code kCode>
  void check(Packing packing, const Case& c, uint32_t variant);

  void SetUp() override {
    GpuTest::SetUp();
#if !defined(__CUDACC__) && !defined(__HIP__)
    host::set_machine({.shared_bytes = 227 << 10});
#endif
  }
  void TearDown() override {
#if !defined(__CUDACC__) && !defined(__HIP__)
    host::set_machine({});
#endif
    GpuTest::TearDown();
  }
  std::mt19937 random_{5};
};

template <Code kCode>
void GpuProducts::check(Packing packing, const Case& c, uint32_t variant) {
  SCOPED_TRACE(testing::Message() << name_of(packing) << ' ' << c.rows << 'x' << c.columns << ", " << c.tokens
                                  << " tokens, splits " << c.splits << ", variant " << variant);
  const Matrix a = matrix(packing, c.rows, c.columns), b = matrix(packing, c.rows, c.columns);
  std::vector<int8_t> plain;
  ProductArgs args{};
  args.x = quantized<kCode>(c.tokens, c.columns, a.device.blocks, plain);
  args.tokens = c.tokens;
  args.splits = c.splits;
  args.matrix[0] = a.device;
  args.matrix[1] = b.device;
  args.matrices = 2;
  args.groups = a.device.groups + b.device.groups;
  args.y_stride = args.groups * 16;
  const auto s = host(args.x.s, c.tokens);
  const auto sum = host(args.x.sum, c.tokens);
  const auto value = [&](const Matrix& m, uint32_t row, uint32_t token) {
    return static_cast<float>(dot(m, row, plain, token)) * (host(m.device.scales, m.device.rows)[row] * s[token]);
  };
  if constexpr (kCode != Code::kQ8) {
    args.sums = device(std::vector<int32_t>(c.tokens * args.y_stride, 0));
    run_any<kCode, Finish::kSums>(args, variant);
    const auto got = host(args.sums, c.tokens * args.y_stride);
    for (uint32_t t = 0; t < c.tokens; ++t)
      for (uint32_t r = 0; r < c.rows; ++r) {
        ASSERT_EQ(got[t * args.y_stride + r] - sum[t], dot(a, r, plain, t)) << r << ' ' << t;
        ASSERT_EQ(got[t * args.y_stride + a.device.groups * 16 + r] - sum[t], dot(b, r, plain, t)) << r << ' ' << t;
      }
    args.groups = a.device.groups;
    args.splits = 1;
    args.y_stride = c.rows;
    args.y = device(std::vector<float>(c.tokens * c.rows, 0.0f));
    run_any<kCode, Finish::kGate>(args, variant);
    const auto gated = host(args.y, c.tokens * c.rows);
    for (uint32_t t = 0; t < c.tokens; ++t)
      for (uint32_t r = 0; r < c.rows; r += 7) {
        const float gate = std::max(value(a, r, t), 0.0f);
        ASSERT_EQ(gated[t * c.rows + r], gate * gate * value(b, r, t)) << r << ' ' << t;
      }
  } else {
    args.matrices = 1;
    args.groups = a.device.groups;
    args.splits = 1;
    args.y_stride = c.rows;
    args.y = device(std::vector<float>(c.tokens * c.rows, 0.0f));
    run_any<kCode, Finish::kStore>(args, variant);
    const auto got = host(args.y, c.tokens * c.rows);
    for (uint32_t t = 0; t < c.tokens; ++t)
      for (uint32_t r = 0; r < c.rows; ++r) ASSERT_EQ(got[t * c.rows + r], value(a, r, t)) << r << ' ' << t;
  }
}

TEST_F(GpuProducts, EveryShapeGivesItsSums) {
  for (const Case& c : {Case{16, 16, 1, 1}, {48, 80, 3, 1}, {40, 333, 17, 2}, {150, 700, 9, 3}, {33, 1300, 70, 2}})
    for (uint32_t variant = 0; variant < 3; ++variant) {
      check<Code::kT2>(Packing::kT2, c, variant);
      check<Code::kT1_6>(Packing::kT1_6, c, variant);
      check<Code::kQ8>(Packing::kQ8, c, variant);
      if (HasFatalFailure()) return;
    }
}

}  // namespace
}  // namespace onebit::gpu
