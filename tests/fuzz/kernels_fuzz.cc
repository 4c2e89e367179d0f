// Every instruction set's operations against the scalar ones, bit for bit, on shapes and values of the input's choice.
// The input's end chooses the operation and the shapes (FuzzedDataProvider reads numbers from there), its beginning
// is the values.
#include <fmt/format.h>
#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <random>
#include <variant>

#include "kernels/cpu/select.h"
#include "tests/support/kernel_cases.h"

namespace onebit {
namespace {

using cpu::Kernels;

const Kernels& scalar() {
  return *cpu::usable_kernels().back();
}

/// Sizes of the floats of a row: those that are neither zero nor denormal are about 2^(centre ± spread).
struct Sizes {
  int centre = 0, spread = 0;
  uint32_t mantissa = 0;  // the bits of it that may be set: with few, sums are exact and halves are met exactly
};

/// What the input says. Where it ends, numbers are their least and values go on as pseudorandom ones.
class Input {
 public:
  Input(const uint8_t* bytes, size_t size)
      : shapes_(bytes, size), bytes_(bytes), size_(size), random_(shapes_.ConsumeIntegral<uint32_t>()) {}

  /// From least to most.
  template <class T = uint32_t>
  T number(T least, T most) {
    return shapes_.ConsumeIntegralInRange(least, most);
  }
  bool flag() { return shapes_.ConsumeBool(); }

  /// The next four bytes. After the last they come again and again, each time mixed with other pseudorandom ones.
  uint32_t operator()() {
    uint32_t word = 0;
    if (size_ - at_ < sizeof word) {
      again_ = true;
      at_ = 0;
    }
    const size_t count = std::min(size_ - at_, sizeof word);
    if (count > 0) std::memcpy(&word, bytes_ + at_, count);
    at_ += count;
    return again_ ? word ^ static_cast<uint32_t>(random_()) : word;
  }

  /// Up to 2^±most. Half of them close together, so that one value does not drown all the others.
  Sizes sizes(int most) {
    const int spread = flag() ? number(0, std::min(3, most)) : number(0, most);
    return {number(-most, most), spread, 0x7fffffu & (0x7fffffu << number(0u, 23u))};
  }

  /// Finite, up to 2^±most; of 256 one is denormal, and some are zeros of either sign.
  std::vector<float> floats(size_t n, Sizes sizes, int most) {
    std::vector<float> x(n);
    for (auto& v : x) {
      const uint32_t word = (*this)(), exponent = word >> 23 & 0xffu;
      uint32_t bits = word & (0x80000000u | sizes.mantissa);
      if (exponent >= 8) {
        const int size = sizes.centre + static_cast<int>(exponent) % (2 * sizes.spread + 1) - sizes.spread;
        bits |= static_cast<uint32_t>(127 + std::clamp(size, -most, most)) << 23;
      } else if (exponent > 0) {
        bits &= 0x80000000u;
      }
      v = std::bit_cast<float>(bits);
    }
    return x;
  }
  std::vector<float> floats(size_t n, int most = 60) { return floats(n, sizes(most), most); }

 private:
  FuzzedDataProvider shapes_;
  const uint8_t* bytes_;
  size_t size_, at_ = 0;
  bool again_ = false;
  std::mt19937 random_;
};

/// What one table made of an operation's operands, by name.
struct Part {
  std::string name;
  std::variant<std::vector<float>, std::vector<int8_t>, std::vector<int32_t>, std::vector<std::byte>> values;
};
using Outcome = std::vector<Part>;

template <class T>
bool same(T a, T b) {
  return a == b;
}
bool same(float a, float b) {  // any NaN is as good as another
  return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b) || (std::isnan(a) && std::isnan(b));
}

template <class T>
std::string text_of(T x) {
  return fmt::format("{}", static_cast<int>(x));
}
std::string text_of(float x) {
  return fmt::format("{} ({:#010x})", x, std::bit_cast<uint32_t>(x));
}

template <class T>
void expect_same(std::string_view operation, const Kernels& kernels, std::string_view part, const std::vector<T>& found,
                 const std::vector<T>& expected) {
  if (found.size() != expected.size()) std::abort();
  for (size_t i = 0; i < found.size(); ++i) {
    if (same(found[i], expected[i])) continue;
    fmt::print(stderr, "{}: {}[{}] is {} with {}, but {} with {}\n", operation, part, i, text_of(found[i]),
               kernels.name, text_of(expected[i]), scalar().name);
    std::abort();
  }
}

/// Ends the program where `run` gives something else with one table than with the scalar one.
template <class Run>
void compare(std::string_view operation, Run run) {
  const auto tables = cpu::usable_kernels();
  const Outcome expected = run(scalar());
  for (const auto* kernels : tables.first(tables.size() - 1)) {
    const Outcome found = run(*kernels);
    for (size_t i = 0; i < expected.size(); ++i) {
      const auto one = [&]<class T>(const std::vector<T>& values) {
        expect_same(operation, *kernels, expected[i].name, std::get<std::vector<T>>(found[i].values), values);
      };
      std::visit(one, expected[i].values);
    }
  }
}

/// Mostly a few vectors with a rest; sometimes more than a panel of `multiply` holds.
uint32_t any_columns(Input& in) {
  return in.number(0, 7) == 7 ? in.number(401u, 1000u) : in.number(1u, 400u);
}

/// A row for `quantize`: sizes as elsewhere, ties of the rounding, anything finite, or any bits at all.
std::vector<float> any_row(Input& in, uint32_t n) {
  enum { kSized, kTies, kFinite, kAnyBits };
  const int kind = in.number<int>(kSized, kAnyBits);
  if (kind == kSized) return in.floats(n, 126);
  std::vector<float> x(n);
  if (kind == kTies) {  // the factor is a power of two, and all are multiples of its half
    const int power = in.number(-23, 120);
    for (auto& v : x) v = std::ldexp(static_cast<float>(static_cast<int>(in() % 255) - 127), power - 1);
    x[in() % n] = std::ldexp(in.flag() ? 127.0f : -127.0f, power);
    return x;
  }
  for (auto& v : x) {
    uint32_t bits = in();
    if (kind == kFinite && (bits & 0x7f800000u) == 0x7f800000u) bits ^= 0x00800000u;
    v = std::bit_cast<float>(bits);
  }
  return x;
}

void check_quantize(Input& in) {
  const uint32_t n = any_columns(in);
  const size_t stride = (n + 63) / 64 * 64 + size_t{64} * in.number(0u, 2u);
  const auto x = any_row(in, n);
  compare("quantize", [&](const Kernels& kernels) {
    std::vector<int8_t> q(stride, 7);
    float scale = 0;
    int32_t sum = 0;
    kernels.quantize(x.data(), n, q.data(), stride, &scale, &sum);
    return Outcome{{"q", q}, {"scale", std::vector{scale}}, {"sum", std::vector{sum}}};
  });
}

void check_largest_magnitude(Input& in) {
  const auto x = any_row(in, any_columns(in));
  compare("largest_magnitude", [&](const Kernels& kernels) {
    const uint32_t bits = kernels.largest_magnitude(x.data(), static_cast<uint32_t>(x.size()));
    return Outcome{{"bits", std::vector{static_cast<int32_t>(bits)}}};
  });
}

Packing any_packing(Input& in) {
  return std::array{Packing::kT2, Packing::kT1_6, Packing::kQ8, Packing::kS1_25}[in.number(0u, 3u)];
}

test::RandomMatrix any_matrix(Input& in, Packing packing, ScaleGranularity granularity, uint32_t columns) {
  test::RandomMatrix w(packing, granularity, in.number(1u, 70u), columns, in);
  const auto scales = in.floats(w.scales.size());
  std::copy(scales.begin(), scales.end(), w.scales.begin());  // which w.view points to
  return w;
}

cpu::Output any_output(Input& in) {
  return in.flag() ? cpu::Output::kAdd : cpu::Output::kStore;
}

void check_matvec(Input& in) {
  const auto packing = any_packing(in);
  const auto columns = test::columns_for(packing, any_columns(in));
  const bool grouped = packing == Packing::kT2 || packing == Packing::kT1_6;  // by group of columns too
  const auto granularity = std::array{ScaleGranularity::kTensor, ScaleGranularity::kRow,
                                      ScaleGranularity::kGroup}[in.number(0u, grouped ? 2u : 1u)];
  const auto w = any_matrix(in, packing, granularity, columns);
  const auto begin = in.number(0u, w.view.groups), end = in.number(begin, w.view.groups);
  const auto output = any_output(in);
  test::Quantized x(scalar(), in.floats(columns), columns, packing);
  const auto before = in.floats(w.view.rows);
  compare("matvec", [&](const Kernels& kernels) {
    auto y = before;
    kernels.matvec(w.view, begin, end, x.rows(), y.data(), output);
    return Outcome{{"y", y}};
  });
}

void check_multiply(Input& in) {
  const auto granularity =
      std::array{ScaleGranularity::kTensor, ScaleGranularity::kRow, ScaleGranularity::kGroup}[in.number(0u, 2u)];
  const auto packing = any_packing(in);
  const auto columns = test::columns_for(packing, any_columns(in)), tokens = in.number(1u, 40u);
  const auto w = any_matrix(in, packing, granularity, columns);
  const auto begin = in.number(0u, w.view.groups), end = in.number(begin, w.view.groups);
  const size_t y_stride = w.view.rows + in.number(0u, 20u);
  const auto output = any_output(in);
  test::Quantized x(scalar(), in.floats(size_t{tokens} * columns), columns, packing);
  const auto before = in.floats(tokens * y_stride);
  compare("multiply", [&](const Kernels& kernels) {
    auto y = before;
    const test::Scratch scratch(kernels.multiply_scratch(w.view, tokens));
    kernels.multiply(w.view, begin, end, x.rows(), y.data(), y_stride, output, scratch.get());
    return Outcome{{"y", y}};
  });
}

void check_half_rows(Input& in) {
  const auto columns = any_columns(in), rows = in.number(1u, 12u);
  const auto begin = in.number(0u, rows), end = in.number(begin, rows);
  const bool bf16 = in.flag();
  std::vector<uint16_t> w(size_t{rows} * columns);
  if (bf16) {
    const auto wide = in.floats(w.size());
    for (size_t i = 0; i < w.size(); ++i) w[i] = static_cast<uint16_t>(std::bit_cast<uint32_t>(wide[i]) >> 16);
  } else {
    for (auto& half : w) {
      half = static_cast<uint16_t>(in());
      if ((half & 0x7c00u) == 0x7c00u) half = half & 0xfbffu;  // keeps it finite
    }
  }
  const auto x = in.floats(columns);
  compare(bf16 ? "half_rows of bf16" : "half_rows of f16", [&](const Kernels& kernels) {
    std::vector<float> y(rows);
    kernels.half_rows(w.data(), bf16, columns, begin, end, x.data(), y.data());
    return Outcome{{"y", y}};
  });
}

void check_widen_bf16(Input& in) {
  std::vector<uint16_t> x(any_columns(in));
  for (auto& v : x) v = static_cast<uint16_t>(in());
  compare("widen_bf16", [&](const Kernels& kernels) {
    std::vector<float> y(x.size());
    kernels.widen_bf16(x.data(), static_cast<uint32_t>(x.size()), y.data());
    return Outcome{{"y", y}};
  });
}

void check_rms_norm(Input& in) {
  const auto n = any_columns(in);
  const auto x = in.floats(n), weight = in.floats(n);
  const float epsilon = std::ldexp(1.0f, in.number(-40, 0));
  const bool in_place = in.flag();
  compare("rms_norm", [&](const Kernels& kernels) {
    auto y = x;
    kernels.rms_norm(in_place ? y.data() : x.data(), weight.data(), epsilon, n, y.data());
    return Outcome{{"y", y}};
  });
}

void check_rope(Input& in) {
  const auto heads = in.number(1u, 4u), half = in.number(1u, 80u);
  const auto x = in.floats(size_t{heads} * half * 2), cos = in.floats(half), sin = in.floats(half);
  compare("rope", [&](const Kernels& kernels) {
    auto y = x;
    kernels.rope(y.data(), heads, 2 * half, cos.data(), sin.data());
    return Outcome{{"y", y}};
  });
}

void check_squared_relu_gate(Input& in) {
  const auto n = any_columns(in);
  const auto gate = in.floats(n), up = in.floats(n);
  compare("squared_relu_gate", [&](const Kernels& kernels) {
    std::vector<float> y(n);
    kernels.squared_relu_gate(gate.data(), up.data(), n, y.data());
    return Outcome{{"y", y}};
  });
}

void check_silu_gate(Input& in) {
  const auto n = any_columns(in);
  const auto gate = in.floats(n), up = in.floats(n);
  compare("silu_gate", [&](const Kernels& kernels) {
    std::vector<float> y(n);
    kernels.silu_gate(gate.data(), up.data(), n, y.data());
    return Outcome{{"y", y}};
  });
}

cpu::KvFormat any_format(Input& in) {
  return std::array{cpu::KvFormat::kF32, cpu::KvFormat::kF16, cpu::KvFormat::kQ8}[in.number(0u, 2u)];
}

std::string_view name_of(cpu::KvFormat format) {
  return format == cpu::KvFormat::kF32 ? "f32" : format == cpu::KvFormat::kF16 ? "f16" : "q8";
}

void check_append(Input& in) {
  const auto format = any_format(in);
  const auto head_dim = 2 * in.number(1u, 80u), positions = in.number(1u, 64u);
  const auto keys = in.floats(size_t{positions} * head_dim), values = in.floats(size_t{positions} * head_dim);
  compare(fmt::format("append_key and append_value to {}", name_of(format)), [&](const Kernels& kernels) {
    const test::TestBlock block(kernels, format, head_dim, keys, values);
    return Outcome{{"k", block.k}, {"v", block.v}, {"k_scale", block.k_scale}, {"v_scale", block.v_scale}};
  });
}

/// Of scores of 0 and -0 either may be the largest: m only meets others in differences of which exp is taken.
float without_sign_of_zero(float m) {
  return m + 0.0f;
}

void check_attend(Input& in) {
  constexpr int kMost = 63;  // scores may become infinite, and their answers NaN, but no score is NaN itself
  const auto format = any_format(in);
  const auto head_dim = 2 * in.number(1u, 80u), queries = in.number(1u, 10u);
  const auto query_sizes = in.sizes(kMost);
  auto key_sizes = in.sizes(kMost);
  if (in.flag()) {  // scores between which e^x has something to do
    const int most_of_query = std::min(query_sizes.centre + query_sizes.spread, kMost);
    key_sizes.centre = std::clamp(in.number(-10, 5) - most_of_query - key_sizes.spread, -kMost, kMost);
  }
  const auto q = in.floats(size_t{queries} * head_dim, query_sizes, kMost);
  const auto keys = in.floats(size_t{64} * head_dim, key_sizes, kMost), values = in.floats(size_t{64} * head_dim);
  std::vector<uint32_t> count(queries);
  for (auto& c : count) c = in.number(1u, 64u);
  const test::TestBlock block(scalar(), format, head_dim, keys, values);
  compare(fmt::format("attend to {}", name_of(format)), [&](const Kernels& kernels) {
    test::TestQueries gathered(scalar(), head_dim, q, count);
    gathered.attend(kernels, format, block);
    for (auto& m : gathered.m) m = without_sign_of_zero(m);
    Outcome out{{"m", gathered.m}, {"l", gathered.l}};
    for (uint32_t i = 0; i < queries; ++i) out.push_back({fmt::format("o of query {} ", i), gathered.o[i]});
    return out;
  });
}

void check_fold(Input& in) {
  const auto head_dim = in.number(1u, 160u);
  const size_t width = test::padded_head_dim(head_dim);
  const auto m = in.floats(2, in.flag() ? 6 : 60), l = in.floats(2);
  auto o1 = in.floats(width), o2 = in.floats(width);
  std::fill(o1.begin() + head_dim, o1.end(), 0.0f);
  std::fill(o2.begin() + head_dim, o2.end(), 0.0f);
  compare("fold", [&](const Kernels& kernels) {
    float m1 = m[0], l1 = l[0];
    auto o = o1;
    kernels.fold(&m1, &l1, o.data(), &m[1], &l[1], o2.data(), head_dim);
    return Outcome{{"m", std::vector{without_sign_of_zero(m1)}}, {"l", std::vector{l1}}, {"o", o}};
  });
}

void check_divide(Input& in) {
  const auto o = in.floats(in.number(1u, 400u)), l = in.floats(1);
  compare("divide", [&](const Kernels& kernels) {
    std::vector<float> y(o.size());
    kernels.divide(o.data(), l.data(), static_cast<uint32_t>(o.size()), y.data());
    return Outcome{{"y", y}};
  });
}

constexpr std::array kChecks{check_quantize,
                             check_largest_magnitude,
                             check_matvec,
                             check_multiply,
                             check_half_rows,
                             check_widen_bf16,
                             check_rms_norm,
                             check_rope,
                             check_squared_relu_gate,
                             check_silu_gate,
                             check_append,
                             check_attend,
                             check_fold,
                             check_divide};

}  // namespace
}  // namespace onebit

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace onebit;
  Input in(bytes, size);
  kChecks[in.number<size_t>(0, kChecks.size() - 1)](in);
  return 0;
}
