// The GPU engine against gen-1: the same logits, bit for bit. On any machine its kernels run on the host; where
// $ONEBIT_TEST_GPU names a GPU ("cuda:0"), every test runs there, too.
#include "backend/gpu_backend.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <numeric>

#include "kernels/gpu/gpu_host.h"
#include "kernels/gpu/module_host.h"
#include "tests/backend/backend_models.h"

namespace onebit {
namespace {

#ifdef ONEBIT_SANITIZED
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

using test::config_of;
using test::Models;
using test::random_tokens;
using test::run;
using test::same_bits;
using test::Shape;

std::vector<Shape> shapes() {
  const auto long_config = [](auto... sizes) {
    auto config = config_of(sizes...);
    config.context = 2200;
    return config;
  };
  const auto plain = long_config(48, 4, 2, 16, 80);
  auto untied = plain;
  untied.tied_head = false;
  return {
      {"t2", plain, {}},
      {"t1_6", plain, {.ternary = Packing::kT1_6}},
      {"s1_25", plain, {.ternary = Packing::kS1_25}},
      {"kv_f32", plain, {}, KvType::kF32},
      {"kv_q8", plain, {.ternary = Packing::kT1_6}, KvType::kQ8},
      {"head_bf16", plain, {}, KvType::kF16, HeadChoice::kEmbedding},
      {"head_f16", untied, {.head = Packing::kF16}},
      {"one_head_many_queries", long_config(64, 9, 1, 32, 100), {}},
      {"as_wide_as_real_ones", long_config(640, 8, 2, 128, 1000), {.ternary = Packing::kT1_6}},
      {"s1_25_wide", long_config(320, 4, 4, 80, 600), {.ternary = Packing::kS1_25}},
      {"wide_q8", long_config(320, 4, 4, 80, 600), {.ternary = Packing::kT1_6}, KvType::kQ8},
  };
}

/// What computes: the host, or the GPU that the environment names.
class GpuBackendTest : public ::testing::TestWithParam<std::tuple<std::string, std::string>> {
 protected:
  void SetUp() override {
    if (std::get<0>(GetParam()) == "host") {
      module_ = {&gpu::host_module(), "host"};
      return;
    }
    const char* name = std::getenv("ONEBIT_TEST_GPU");
    if (name == nullptr) GTEST_SKIP() << "no GPU: $ONEBIT_TEST_GPU names none";
    const auto device = device_by_name(name);
    ASSERT_TRUE(device) << device.error().message;
    const auto module = load_gpu_module(device->module);
    ASSERT_TRUE(module) << module.error().message;
    module_ = *module;
    device_ = device->index;
  }

  static Shape shape() {
    for (auto& s : shapes())
      if (s.name == std::get<1>(GetParam())) return s;
    return {};
  }
  std::unique_ptr<Backend> gpu(uint64_t kv_bytes = 0) const {
    auto backend = make_gpu_backend(models_.weights(), module_,
                                    {.kv_type = models_.kv(), .device = device_, .kv_bytes = kv_bytes});
    EXPECT_TRUE(backend) << backend.error().message;
    return backend ? *std::move(backend) : nullptr;
  }
  /// Fibers are slow, more so under sanitizers: the host computes less of the same.
  bool slow() const { return module_.name == "host"; }

  Models models_{shape()};
  GpuModule module_;
  int device_ = 0;
};

TEST_P(GpuBackendTest, TokensOneByOneOrTogetherGiveTheReferencesBits) {
  const auto tokens = random_tokens(slow() ? 70 : 150, 300, 1);
  const auto expected = run(*models_.reference(), tokens, tokens.size());
  const auto backend = gpu();
  ASSERT_NE(backend, nullptr);
  for (const size_t chunk : {1u, 2u, 7u, 64u, 512u}) {
    const auto part = std::span(tokens).first(slow() && chunk < 7 ? 20 : tokens.size());
    const auto got = run(*backend, part, chunk);
    EXPECT_TRUE(same_bits(std::span(expected).first(got.size()), got)) << "steps of " << chunk;
  }
}

TEST_P(GpuBackendTest, LongContextsGiveTheReferencesBits) {
  const auto& name = std::get<1>(GetParam());
  if (slow() && name != "t2" && name != "kv_q8")
    GTEST_SKIP() << "fibers take their time: long contexts of two shapes are enough there, a GPU does all";
  const auto tokens = random_tokens(2120, 300, 2);  // past two super-blocks of 16 KV blocks
  const auto reference = models_.reference();
  const auto kv = reference->new_kv_cache();
  const auto expected = run(*reference, *kv, tokens, tokens.size());
  const auto backend = gpu();
  ASSERT_NE(backend, nullptr);
  const auto long_kv = backend->new_kv_cache();
  Logits none;
  for (size_t at = 0; at < 2117; at += 400) {
    const BatchItem item{long_kv.get(), std::span(tokens).subspan(at, std::min<size_t>(400, 2117 - at)),
                         LogitRows::kNone};
    const auto status = backend->forward({&item, 1}, none);
    ASSERT_TRUE(status) << status.error().message;
  }
  for (const size_t chunk : {1u, 3u}) {
    long_kv->truncate(2117);
    const auto last = run(*backend, *long_kv, std::span(tokens).subspan(2117), chunk);
    EXPECT_TRUE(same_bits(std::span(expected).last(last.size()), last)) << "in steps of " << chunk;
  }
}

TEST_P(GpuBackendTest, SequencesThatShareAStepOrAPrefixGiveTheReferencesBits) {
  if (slow() && kSanitized && std::get<1>(GetParam()) == "as_wide_as_real_ones")
    GTEST_SKIP() << "fibers take their time, sanitized a minute for this: wide rows have TokensOneByOneOrTogether…";
  const auto backend = gpu();
  ASSERT_NE(backend, nullptr);
  const auto reference = models_.reference();
  const auto prompt = random_tokens(100, 300, 3);
  const auto first = backend->new_kv_cache();
  run(*backend, *first, prompt, 100);
  std::vector<std::unique_ptr<KvCache>> caches;
  std::vector<std::vector<TokenId>> texts;
  std::vector<BatchItem> batch;
  for (const uint32_t kept : {70u, 100u, 64u, 0u}) {
    caches.push_back(first->prefix(kept));
    texts.push_back(random_tokens(1 + kept / 9, 300, kept));
  }
  for (size_t i = 0; i < texts.size(); ++i) batch.push_back({caches[i].get(), texts[i], LogitRows::kAll});
  Logits together;
  const auto status = backend->forward(batch, together);
  ASSERT_TRUE(status) << status.error().message;
  for (size_t i = 0; i < texts.size(); ++i) {
    const size_t kept = caches[i]->length() - texts[i].size();
    std::vector<TokenId> whole(prompt.begin(), prompt.begin() + static_cast<std::ptrdiff_t>(kept));
    whole.insert(whole.end(), texts[i].begin(), texts[i].end());
    const auto expected = run(*reference, whole, whole.size());
    EXPECT_TRUE(
        same_bits(std::span(expected).last(texts[i].size() * 300),
                  std::span(together.values).subspan(size_t{together.first_row[i]} * 300, texts[i].size() * 300)))
        << i;
  }
  // Nobody wrote into the pages of the first.
  const auto more = random_tokens(5, 300, 9);
  auto whole = prompt;
  whole.insert(whole.end(), more.begin(), more.end());
  const auto expected = run(*reference, whole, whole.size());
  EXPECT_TRUE(same_bits(std::span(expected).last(5 * 300), run(*backend, *first, more, 5)));
}

/// Steps of one shape follow each other while their sequences pass from one KV block to the next.
TEST_P(GpuBackendTest, StepsOfOneShapeGiveTheReferencesBitsAtEveryPosition) {
  const auto backend = gpu();
  ASSERT_NE(backend, nullptr);
  const auto reference = models_.reference();
  constexpr size_t kSteps = 12;
  std::vector<std::vector<TokenId>> texts;
  std::vector<std::vector<float>> expected;
  std::vector<std::unique_ptr<KvCache>> caches;
  for (const size_t prompt : {54u, 121u, 60u, 5u}) {
    texts.push_back(random_tokens(prompt + kSteps, 300, static_cast<uint32_t>(prompt)));
    expected.push_back(run(*reference, texts.back(), texts.back().size()));
    caches.push_back(backend->new_kv_cache());
    run(*backend, *caches.back(), std::span(texts.back()).first(prompt), prompt);
  }
  for (size_t i = 0; i < kSteps; ++i) {
    std::vector<BatchItem> batch;
    for (size_t s = 0; s < texts.size(); ++s)
      batch.push_back({caches[s].get(), std::span(texts[s]).subspan(texts[s].size() - kSteps + i, 1), LogitRows::kAll});
    Logits got;
    const auto status = backend->forward(batch, got);
    ASSERT_TRUE(status) << status.error().message;
    for (size_t s = 0; s < texts.size(); ++s)
      EXPECT_TRUE(same_bits(std::span(expected[s]).subspan((texts[s].size() - kSteps + i) * 300, 300), got.row(s)))
          << "sequence " << s << ", step " << i;
  }
}

TEST_P(GpuBackendTest, TheBestLogitsAreTheRowsLargest) {
  if (slow() && kSanitized && std::get<1>(GetParam()) == "as_wide_as_real_ones")
    GTEST_SKIP() << "fibers take their time, sanitized a minute for this: wide rows have TokensOneByOneOrTogether…";
  const auto backend = gpu();
  ASSERT_NE(backend, nullptr);
  const auto tokens = random_tokens(40, 300, 5);
  for (const size_t together : {1u, 3u})
    for (const uint32_t wanted : {1u, 5u, 64u}) {
      std::vector<std::unique_ptr<KvCache>> caches;
      std::vector<BatchItem> whole, best;
      for (size_t i = 0; i < 2 * together; ++i) {
        caches.push_back(backend->new_kv_cache());
        const auto text = std::span(tokens).subspan(i, together == 1 ? 1 : 1 + i);
        auto& batch = i % 2 == 0 ? whole : best;
        batch.push_back({caches.back().get(), text, LogitRows::kLast, i % 2 == 0 ? 0 : wanted});
      }
      for (size_t i = 0; i < together; ++i) best[i].tokens = whole[i].tokens;
      Logits rows, picked;
      ASSERT_TRUE(backend->forward(whole, rows));
      ASSERT_TRUE(backend->forward(best, picked));
      for (size_t i = 0; i < together; ++i) {
        std::vector<TokenId> order(300);
        std::iota(order.begin(), order.end(), 0);
        const auto row = rows.row(i);
        std::sort(order.begin(), order.end(), [&](TokenId a, TokenId b) {
          const float x = row[static_cast<size_t>(a)], y = row[static_cast<size_t>(b)];
          return x != y ? x > y : a < b;
        });
        const auto got = picked.best_of(i);
        ASSERT_EQ(got.size(), wanted);
        for (uint32_t j = 0; j < wanted; ++j) {
          EXPECT_EQ(got[j].id, order[j]);
          EXPECT_EQ(got[j].logit, row[static_cast<size_t>(order[j])]);
        }
      }
    }
}

TEST_P(GpuBackendTest, PagesThatRunOutAreAnErrorAndOthersGoOn) {
  const auto page = gpu()->kv_usage().page_bytes;
  const auto backend = gpu(3 * page);
  ASSERT_NE(backend, nullptr);
  EXPECT_EQ(backend->kv_usage().most_pages, 3u);
  const auto tokens = random_tokens(130, 300, 6);
  const auto one = backend->new_kv_cache(), two = backend->new_kv_cache();
  const auto expected = run(*models_.reference(), std::span(tokens).first(70), 70);
  EXPECT_TRUE(same_bits(std::span(expected).first(60 * 300), run(*backend, *one, std::span(tokens).first(60), 60)));
  Logits logits;
  const BatchItem item{two.get(), tokens, LogitRows::kLast};
  const auto status = backend->forward({&item, 1}, logits);
  ASSERT_FALSE(status);
  EXPECT_NE(status.error().message.find("KV pages"), std::string::npos) << status.error().message;
  EXPECT_EQ(two->length(), 0u);
  EXPECT_TRUE(
      same_bits(std::span(expected).last(10 * 300), run(*backend, *one, std::span(tokens).subspan(60, 10), 10)));
}

INSTANTIATE_TEST_SUITE_P(Shapes, GpuBackendTest,
                         ::testing::Combine(::testing::Values("host", "device"), ::testing::ValuesIn([] {
                                              std::vector<std::string> names;
                                              for (const auto& s : shapes()) names.push_back(s.name);
                                              return names;
                                            }())),
                         [](const auto& name) { return std::get<0>(name.param) + "_" + std::get<1>(name.param); });

TEST(GpuModules, NamesOfDevices) {
  EXPECT_EQ(device_by_name("auto")->kind, Device::Kind::kAuto);
  EXPECT_EQ(device_by_name("cpu")->kind, Device::Kind::kCpu);
  EXPECT_EQ(device_by_name("cuda")->index, 0);
  EXPECT_EQ(device_by_name("hip:3")->index, 3);
  EXPECT_EQ(device_by_name("hip:3")->module, "hip");
  for (const char* wrong : {"", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1x", "cuda1"})
    EXPECT_FALSE(device_by_name(wrong)) << wrong;
}

TEST(GpuModules, NamesOfSeveralDevices) {
  const auto two = devices_by_name("cuda:0,hip:1");
  ASSERT_TRUE(two);
  ASSERT_EQ(two->size(), 2u);
  EXPECT_EQ((*two)[1], *device_by_name("hip:1"));
  EXPECT_EQ(devices_by_name("cuda:all")->front().index, Device::kAll);
  EXPECT_EQ(devices_by_name("auto")->front(), Device{});
  for (const char* wrong : {"", "cuda:0,", ",cuda:0", "cuda:0,cuda:0", "cuda:all,cuda:1", "cpu,cuda:0", "auto,cuda:0"})
    EXPECT_FALSE(devices_by_name(wrong)) << wrong;
  EXPECT_FALSE(device_by_name("cuda:all")) << "one is wanted";
}

TEST(GpuModules, AModelThatTheEngineDoesNotTakeIsAnError) {
  const Models models({"narrow_heads", config_of(40, 6, 2, 6, 36), {}});
  const auto backend = make_gpu_backend(models.weights(), {&gpu::host_module(), "host"}, {});
  ASSERT_FALSE(backend);
  EXPECT_NE(backend.error().message.find("head_dim"), std::string::npos);
}

/// A backend on the host's device, and how much of the device's memory it took.
std::pair<std::unique_ptr<Backend>, uint64_t> on_host(const Models& models, bool shares_memory, bool in_place) {
  gpu::host::set_machine({.integrated = shares_memory});
  gpu::Outcome outcome;
  const uint64_t before = gpu::device_properties(0, outcome).free_bytes;
  auto backend = make_gpu_backend(models.weights(), {&gpu::host_module(), "host"},
                                  {.kv_type = models.kv(), .kv_bytes = 1 << 20, .in_place = in_place});
  EXPECT_TRUE(backend) << backend.error().message;
  const uint64_t taken = before - gpu::device_properties(0, outcome).free_bytes;
  gpu::host::set_machine({});
  return {*std::move(backend), taken};
}

TEST(GpuModules, WeightsAreReadInPlaceWhereMemoryIsShared) {
  for (const auto& shape : shapes()) {
    if (shape.name != "t2" && shape.name != "head_bf16" && shape.name != "head_f16") continue;  // all kinds of tensors
    const Models models(shape);
    const auto tokens = random_tokens(9, 300, 1);
    const auto expected = run(*models.reference(), tokens, tokens.size());
    const auto weights = models.weights();
    uint64_t bytes =
        weights.embedding.data.size_bytes() + weights.rope_cos.size_bytes() + weights.rope_sin.size_bytes();
    for (const auto& layer : weights.layers) bytes += layer.ffn_gate.data.size() + layer.attn_q.data.size();
    const auto [copied, much] = on_host(models, false, true);
    const auto [chosen, as_much] = on_host(models, true, false);
    const auto [in_place, little] = on_host(models, true, true);
    EXPECT_EQ(much, as_much) << shape.name;
    EXPECT_LE(little + bytes, much) << shape.name;
    for (auto* backend : {copied.get(), chosen.get(), in_place.get()})
      for (const size_t chunk : {1u, 9u})
        EXPECT_TRUE(same_bits(expected, run(*backend, tokens, chunk))) << shape.name << ", steps of " << chunk;
  }
}

TEST(GpuModules, AFileThatIsCutShortWhileItIsReadInPlaceIsAnError) {
  const Models models({"wide", config_of(640, 8, 2, 128, 1000), {}});
  const auto backend = on_host(models, true, true).first;
  const auto tokens = random_tokens(3, 300, 1);
  run(*backend, tokens, 3);
  std::filesystem::resize_file(models.path(), 4096);
  const auto kv = backend->new_kv_cache();
  Logits logits;
  const BatchItem item{kv.get(), tokens, LogitRows::kLast};
  EXPECT_FALSE(backend->forward({&item, 1}, logits));
  EXPECT_EQ(kv->length(), 0u);
}

TEST(GpuModules, ADeviceThatIsNotThereIsAnError) {
  const Models models({"plain", config_of(48, 4, 2, 16, 80), {}});
  const auto backend = make_gpu_backend(models.weights(), {&gpu::host_module(), "host"}, {.device = 7});
  ASSERT_FALSE(backend);
  EXPECT_NE(backend.error().message.find("no host device 7"), std::string::npos) << backend.error().message;
}

}  // namespace
}  // namespace onebit
