// Every instruction set's operations against the reference, on shapes and values at random, bit for bit.
#include "kernels/cpu/cpu_kernels.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "base/half.h"
#include "kernels/cpu/select.h"
#include "kernels/exp_log.h"
#include "kernels/reference.h"
#include "tests/support/kernel_cases.h"

namespace onebit {
namespace {

using test::columns_for;
using test::Quantized;
using test::RandomMatrix;
using test::Scratch;
using test::TestBlock;
using test::TestQueries;

template <class T>
bool same_bits(std::span<const T> a, std::span<const T> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}
bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return same_bits(std::span<const float>(a), std::span<const float>(b));
}

/// Numbers of very different sizes, exact ties of the rounding among them.
std::vector<float> random_row(size_t n, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<float> x(n);
  const float size = std::ldexp(1.0f, static_cast<int>(random() % 30) - 15);
  for (auto& v : x) v = random() % 7 == 0 ? 0.0f : normal(random) * size;
  if (n > 1 && random() % 2 == 0) {  // with s = 127 the factor is 1, and halves are ties
    for (auto& v : x) v = static_cast<float>(static_cast<int>(random() % 255) - 127) / 2.0f;
    x[0] = 127.0f;
  }
  return x;
}

std::mt19937 any_random() {
  return std::mt19937(*rc::gen::arbitrary<uint32_t>());
}

RC_GTEST_PROP(CpuKernels, ProductsAreTheReferences, ()) {
  auto random = any_random();
  const auto packing = *rc::gen::element(Packing::kT2, Packing::kT1_6, Packing::kS1_25, Packing::kQ8);
  const auto granularity =
      *rc::gen::element(ScaleGranularity::kTensor, ScaleGranularity::kRow, ScaleGranularity::kGroup);
  const auto rows = *rc::gen::inRange(1u, 200u), tokens = *rc::gen::inRange(1u, 12u);
  const auto columns = columns_for(packing, *rc::gen::inRange(1u, 1300u));
  const RandomMatrix w(packing, granularity, rows, columns, random);
  std::vector<float> x;
  for (uint32_t t = 0; t < tokens; ++t) {
    const auto row = random_row(columns, random);
    x.insert(x.end(), row.begin(), row.end());
  }
  std::vector<float> expected(size_t{tokens} * rows);
  reference::integer_linear(w.reference, x, expected);
  for (const auto* kernels : cpu::usable_kernels()) {
    Quantized q(*kernels, x, columns, packing);
    const Scratch scratch(kernels->multiply_scratch(w.view, tokens));
    std::vector<float> y(expected.size(), 3.0f);
    kernels->multiply(w.view, 0, w.view.groups, q.rows(), y.data(), rows, cpu::Output::kStore, scratch.get());
    RC_ASSERT(same_bits(y, expected));
    // The residual added, in two ranges.
    const uint32_t middle = w.view.groups / 2;
    auto sum = random_row(y.size(), random);
    auto expected_sum = sum;
    for (size_t i = 0; i < sum.size(); ++i) expected_sum[i] = sum[i] + expected[i];
    kernels->multiply(w.view, 0, middle, q.rows(), sum.data(), rows, cpu::Output::kAdd, scratch.get());
    kernels->multiply(w.view, middle, w.view.groups, q.rows(), sum.data(), rows, cpu::Output::kAdd, scratch.get());
    RC_ASSERT(same_bits(sum, expected_sum));
    if (granularity == ScaleGranularity::kGroup && packing != Packing::kT2 && packing != Packing::kT1_6) continue;
    std::vector<float> one(rows, 3.0f);
    kernels->matvec(w.view, middle, w.view.groups, q.rows(), one.data(), cpu::Output::kStore);
    kernels->matvec(w.view, 0, middle, q.rows(), one.data(), cpu::Output::kStore);
    RC_ASSERT(same_bits(one, std::vector<float>(expected.begin(), expected.begin() + rows)));
  }
}

RC_GTEST_PROP(CpuKernels, QuantisedRowsAreTheReferences, ()) {
  auto random = any_random();
  auto x = random_row(*rc::gen::inRange(1u, 3000u), random);
  if (*rc::gen::inRange(0, 8) == 0)
    x[random() % x.size()] = *rc::gen::element(INFINITY, -INFINITY, std::nanf(""), -std::nanf(""));
  std::vector<int8_t> expected(x.size());
  const float s = reference::quantize(x, expected);
  for (const auto* kernels : cpu::usable_kernels()) {
    Quantized q(*kernels, x, static_cast<uint32_t>(x.size()), Packing::kQ8);
    RC_ASSERT(same_bits(std::span<const int8_t>(q.q).first(x.size()), std::span<const int8_t>(expected)));
    RC_ASSERT(
        std::all_of(q.q.begin() + static_cast<std::ptrdiff_t>(x.size()), q.q.end(), [](int8_t v) { return v == 0; }));
    const bool scale_fits = std::isfinite(s) ? q.scale[0] == s / 127.0f : !std::isfinite(q.scale[0]);
    RC_ASSERT(scale_fits);
    int32_t sum = 0;
    for (const auto v : expected) sum += v;
    RC_ASSERT(q.sum[0] == sum);
    const bool finite = std::all_of(x.begin(), x.end(), [](float v) { return std::isfinite(v); });
    RC_ASSERT((kernels->largest_magnitude(x.data(), static_cast<uint32_t>(x.size())) < 0x7f800000u) == finite);
  }
}

RC_GTEST_PROP(CpuKernels, RowOperationsAreTheReferences, ()) {
  auto random = any_random();
  const auto n = *rc::gen::inRange(1u, 2000u);
  const auto x = random_row(n, random), weight = random_row(n, random);
  std::vector<float> norm(n), gated(n);
  reference::rms_norm(x, weight, 1e-5f, norm);
  reference::squared_relu_gate(x, weight, gated);
  for (const auto* kernels : cpu::usable_kernels()) {
    std::vector<float> y(n);
    kernels->rms_norm(x.data(), weight.data(), 1e-5f, n, y.data());
    RC_ASSERT(same_bits(y, norm));
    kernels->squared_relu_gate(x.data(), weight.data(), n, y.data());
    RC_ASSERT(same_bits(y, gated));
  }
}

TEST(CpuKernels, SiluGateIsTheReferencesForEveryExponent) {
  // Every sign, exponent and the upper bits of the mantissa, with infinities and NaN; odd counts use the last part.
  std::vector<float> gate, up;
  for (uint32_t bits = 0; bits < 0x10000; ++bits) gate.push_back(std::bit_cast<float>(bits << 16 | 0x1234u));
  for (const float edge : {-88.72283f, -88.722839f, -87.0f, -87.00001f, 87.0f, 88.8f, 128.0f, -128.0f, -0.0f})
    gate.push_back(edge);
  for (size_t i = 0; i < gate.size(); ++i) up.push_back(0.5f + static_cast<float>(i % 7));
  std::vector<float> expected(gate.size());
  reference::silu_gate(gate, up, expected);
  for (const auto* kernels : cpu::usable_kernels()) {
    std::vector<float> y(gate.size());
    kernels->silu_gate(gate.data(), up.data(), static_cast<uint32_t>(gate.size()), y.data());
    for (size_t i = 0; i < y.size(); ++i)
      ASSERT_TRUE(std::isnan(expected[i]) ? std::isnan(y[i])
                                          : std::bit_cast<uint32_t>(y[i]) == std::bit_cast<uint32_t>(expected[i]))
          << kernels->name << ": " << gate[i] << " gives " << y[i] << ", not " << expected[i];
  }
}

RC_GTEST_PROP(CpuKernels, RopeIsTheReferences, ()) {
  auto random = any_random();
  const auto heads = *rc::gen::inRange(1u, 5u), half = *rc::gen::inRange(1u, 70u);
  const auto x = random_row(size_t{heads} * half * 2, random);
  std::vector<float> cos(half), sin(half);
  for (uint32_t i = 0; i < half; ++i) {
    cos[i] = std::cos(static_cast<float>(i));
    sin[i] = std::sin(static_cast<float>(i));
  }
  auto expected = x;
  reference::rope(expected, 2 * half, cos, sin);
  for (const auto* kernels : cpu::usable_kernels()) {
    auto y = x;
    kernels->rope(y.data(), heads, 2 * half, cos.data(), sin.data());
    RC_ASSERT(same_bits(y, expected));
  }
}

RC_GTEST_PROP(CpuKernels, HalfPrecisionRowsAreTheReferences, ()) {
  auto random = any_random();
  const auto rows = *rc::gen::inRange(1u, 20u), columns = *rc::gen::inRange(1u, 900u);
  const bool bf16 = *rc::gen::arbitrary<bool>();
  const auto values = random_row(size_t{rows} * columns, random);
  std::vector<uint16_t> w(values.size());
  for (size_t i = 0; i < w.size(); ++i) w[i] = bf16 ? float_to_bf16(values[i]) : float_to_half(values[i]);
  const auto x = random_row(columns, random);
  std::vector<float> expected(rows);
  reference::half_linear({bf16 ? Packing::kBf16 : Packing::kF16, rows, columns, w}, x, expected);
  for (const auto* kernels : cpu::usable_kernels()) {
    std::vector<float> y(rows);
    kernels->half_rows(w.data(), bf16, columns, 0, rows, x.data(), y.data());
    RC_ASSERT(same_bits(y, expected));
    std::vector<float> wide(columns);
    kernels->widen_bf16(w.data(), columns, wide.data());
    for (uint32_t i = 0; i < columns; ++i) RC_ASSERT(std::bit_cast<uint32_t>(wide[i]) == uint32_t{w[i]} << 16);
  }
}

/// Keys and values as TestBlock keeps them, in the reference's form.
reference::KvBlock reference_block(cpu::KvFormat format, uint32_t head_dim, std::span<const float> keys,
                                   std::span<const float> values) {
  reference::KvBlock block;
  block.k.resize(size_t{head_dim} * 64);
  block.v.resize(size_t{head_dim} * 64);
  block.quantized = format == cpu::KvFormat::kQ8;
  for (uint32_t t = 0; t < 64; ++t) {
    const auto store = [&](std::span<const float> x, std::vector<float>& scales, auto place) {
      std::vector<int8_t> q(head_dim);
      if (block.quantized) scales.push_back(reference::quantize(x, q));
      for (uint32_t d = 0; d < head_dim; ++d)
        place(d) = block.quantized                 ? static_cast<float>(q[d])
                   : format == cpu::KvFormat::kF16 ? half_to_float(float_to_half(x[d]))
                                                   : x[d];
    };
    store(keys.subspan(size_t{t} * head_dim, head_dim), block.k_scale,
          [&](uint32_t d) -> float& { return block.k[d * 64 + t]; });
    store(values.subspan(size_t{t} * head_dim, head_dim), block.v_scale,
          [&](uint32_t d) -> float& { return block.v[size_t{t} * head_dim + d]; });
  }
  return block;
}

RC_GTEST_PROP(CpuKernels, AttentionOverABlockIsTheReferences, ()) {
  auto random = any_random();
  const auto format = *rc::gen::element(cpu::KvFormat::kF32, cpu::KvFormat::kF16, cpu::KvFormat::kQ8);
  const auto head_dim = 2 * *rc::gen::inRange(1u, 80u), queries = *rc::gen::inRange(1u, 11u);
  auto keys = random_row(size_t{64} * head_dim, random), values = random_row(size_t{64} * head_dim, random);
  if (random() % 4 == 0) keys[random() % keys.size()] = 1e6f;  // past what f16 holds, and a far larger score
  const auto expected_block = reference_block(format, head_dim, keys, values);
  const auto q = random_row(size_t{queries} * head_dim, random);
  std::vector<uint32_t> count(queries);
  for (auto& c : count) c = 1 + random() % 64;
  for (const auto* kernels : cpu::usable_kernels()) {
    const TestBlock block(*kernels, format, head_dim, keys, values);
    TestQueries gathered(*kernels, head_dim, q, count);
    gathered.attend(*kernels, format, block);
    for (uint32_t i = 0; i < queries; ++i) {
      std::vector<float> expected(head_dim), y(head_dim);
      reference::attention(std::span(q).subspan(size_t{i} * head_dim, head_dim), {&expected_block, 1}, count[i],
                           expected);
      kernels->divide(gathered.o[i].data(), &gathered.l[i], head_dim, y.data());
      RC_ASSERT(same_bits(y, expected));
    }
  }
}

RC_GTEST_PROP(CpuKernels, ExponentialsAreTheContracts, ()) {
  auto random = any_random();
  auto x = random_row(*rc::gen::inRange(1u, 100u), random);
  for (float& v : x) v *= static_cast<float>(random() % 60);  // some whose exponential is 0
  const float max = *std::max_element(x.begin(), x.end());
  std::vector<float> expected(x.size()), y(x.size());
  for (size_t i = 0; i < x.size(); ++i) expected[i] = exp_f32(x[i] - max);
  for (const auto* kernels : cpu::usable_kernels()) {
    kernels->exp_below(x.data(), max, static_cast<uint32_t>(x.size()), y.data());
    RC_ASSERT(same_bits(y, expected));
  }
}

TEST(CpuKernels, AnInfiniteScoreEndsAsNaNAndNotAsANumber) {
  for (const auto* kernels : cpu::usable_kernels()) {
    alignas(64) float o1[16] = {2}, o2[16] = {3};
    float m1 = INFINITY, l1 = 1;
    const float m2 = INFINITY, l2 = 1;
    kernels->fold(&m1, &l1, o1, &m2, &l2, o2, 16);
    EXPECT_TRUE(std::isnan(l1)) << kernels->name << ": " << l1;
    EXPECT_TRUE(std::isnan(o1[0])) << kernels->name << ": " << o1[0];
  }
}

TEST(CpuKernels, TheBestComesFirstAndTheScalarLast) {
  const auto usable = cpu::usable_kernels();
  ASSERT_FALSE(usable.empty());
  EXPECT_STREQ(usable.back()->name, "scalar");
  for (const auto* kernels : usable) EXPECT_EQ(*cpu::kernels_by_name(kernels->name), kernels);
  const auto unknown = cpu::kernels_by_name("avx1024");
  ASSERT_FALSE(unknown);
  EXPECT_NE(unknown.error().message.find("scalar"), std::string::npos);
}

TEST(CpuKernels, TheEnvironmentChooses) {
  ::setenv("HALO_ISA", "scalar", 1);
  EXPECT_STREQ((*cpu::chosen_kernels())->name, "scalar");
  ::setenv("HALO_ISA", "mmx", 1);
  EXPECT_FALSE(cpu::chosen_kernels());
  ::unsetenv("HALO_ISA");
  EXPECT_EQ(*cpu::chosen_kernels(), cpu::usable_kernels().front());
}

}  // namespace
}  // namespace onebit
