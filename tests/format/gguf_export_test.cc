// GGUF's ternary blocks, read back by their description in docs/h1b.md's sources.
#include "format/gguf_export.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "format/synth.h"
#include "tests/support/expect_error.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tiny_model.h"

namespace onebit {
namespace {

std::array<int8_t, 256> random_weights(uint32_t seed) {
  std::mt19937 random(seed);
  std::array<int8_t, 256> weights{};
  for (auto& w : weights) w = static_cast<int8_t>(random() % 3) - 1;
  return weights;
}

uint8_t byte_at(const std::string& block, size_t i) {
  return static_cast<uint8_t>(block[i]);
}

TEST(GgufExport, Tq2BlocksReadBack) {
  for (uint32_t seed = 0; seed < 50; ++seed) {
    const auto weights = random_weights(seed);
    const auto block = gguf_block(gguf::Type::kTq2_0, weights);
    ASSERT_EQ(block.size(), 66u);
    for (size_t e = 0; e < 256; ++e)
      EXPECT_EQ((byte_at(block, 32 * (e / 128) + e % 32) >> 2 * (e % 128 / 32) & 3) - 1, weights[e]);
    EXPECT_EQ(block.substr(64), std::string("\x00\x3c", 2)) << "a scale of 1 in half precision";
  }
}

TEST(GgufExport, Tq1BlocksReadBack) {
  // A reader takes digit n as the top of (byte · 3^n mod 256) · 3.
  const auto digit = [](uint8_t byte, unsigned n) {
    for (; n > 0; --n) byte = static_cast<uint8_t>(byte * 3);
    return static_cast<int>(byte * 3 >> 8) - 1;
  };
  for (uint32_t seed = 0; seed < 50; ++seed) {
    const auto weights = random_weights(seed);
    const auto block = gguf_block(gguf::Type::kTq1_0, weights);
    ASSERT_EQ(block.size(), 54u);
    for (unsigned n = 0; n < 5; ++n) {
      for (size_t m = 0; m < 32; ++m) EXPECT_EQ(digit(byte_at(block, m), n), weights[m + 32 * n]);
      for (size_t m = 0; m < 16; ++m) EXPECT_EQ(digit(byte_at(block, 32 + m), n), weights[160 + m + 16 * n]);
    }
    for (unsigned n = 0; n < 4; ++n)
      for (size_t j = 0; j < 4; ++j) EXPECT_EQ(digit(byte_at(block, 48 + j), n), weights[240 + j + 4 * n]);
  }
}

TEST(GgufExport, TensorsStandWhereTheHeaderSays) {
  test::TempFolder folder;
  auto config = test::tiny_config();
  config.hidden = config.ffn = 256;
  config.heads = config.kv_heads = 1;
  config.head_dim = 256;
  const auto path = folder.path("model.h1b");
  ASSERT_TRUE(write_synthetic_model(path, test::tiny_parts(config), {}, 1));
  const auto model = H1bFile::open(path);
  ASSERT_TRUE(model) << model.error().message;
  const auto target = folder.path("model.gguf");
  GgufOptions options;
  options.embedding = gguf::Type::kQ8_0;
  ASSERT_TRUE(export_gguf(*model, target, options));
  const auto bytes = test::read_file(target);
  EXPECT_EQ(bytes.substr(0, 4), "GGUF");
  uint64_t tensors = 0;
  std::memcpy(&tensors, bytes.data() + 8, sizeof tensors);
  EXPECT_EQ(tensors, 2 + uint64_t{config.layers} * (4 + 2 * 7));  // embedding and output norm; norms, products, scales
  // The embedding is first: blocks of 34 bytes, a half scale and 32 values, after the aligned header.
  const auto* embedding = model->find("token_embd");
  ASSERT_NE(embedding, nullptr);
  uint64_t total = uint64_t{config.vocabulary} * 256 / 32 * 34;
  EXPECT_EQ(bytes.size() % 32, 0u);
  EXPECT_GT(bytes.size(), total);
}

TEST(GgufExport, WhatGgufCannotHoldIsRefused) {
  test::TempFolder folder;
  const auto path = folder.path("model.h1b");
  ASSERT_TRUE(write_synthetic_model(path, test::tiny_parts(test::tiny_config()), {}, 1));
  const auto model = H1bFile::open(path);
  ASSERT_TRUE(model);
  test::expect_error(export_gguf(*model, folder.path("model.gguf"), {}), {path, "columns", "multiple of"});
  EXPECT_EQ(folder.names(), std::vector<std::string>{"model.h1b"});
}

}  // namespace
}  // namespace onebit
