// RoPE's frequencies, held against values that transformers' formulas (modeling_rope_utils) gave in double precision.
#include "format/rope.h"

#include <gtest/gtest.h>

#include <cmath>
#include <utility>

namespace onebit {
namespace {

ModelConfig config_of(uint32_t head_dim, double theta) {
  ModelConfig config;
  config.head_dim = head_dim;
  config.rope_theta = theta;
  config.context = 5;
  return config;
}

void expect_frequencies(const ModelConfig& config, const RopeScaling& scaling,
                        std::initializer_list<std::pair<size_t, double>> expected) {
  const auto found = rope_frequencies(config, scaling);
  for (const auto& [pair, frequency] : expected) EXPECT_NEAR(found.at(pair), frequency, 1e-12 * frequency) << pair;
}

TEST(Rope, UnscaledTablesAreCosinesAndSines) {
  const auto config = config_of(4, 100.0);
  const auto tables = rope_tables(config);
  ASSERT_EQ(tables.size(), 2u * 5 * 2);
  for (size_t position = 0; position < 5; ++position)
    for (size_t i = 0; i < 2; ++i) {
      const double angle = static_cast<double>(position) * (i == 0 ? 1.0 : 0.1);
      EXPECT_FLOAT_EQ(tables[position * 2 + i], static_cast<float>(std::cos(angle)));
      EXPECT_FLOAT_EQ(tables[10 + position * 2 + i], static_cast<float>(std::sin(angle)));
    }
}

TEST(Rope, LinearScalingSlowsEveryPair) {
  expect_frequencies(config_of(4, 100.0), {.kind = RopeScaling::Kind::kLinear, .factor = 4}, {{0, 0.25}, {1, 0.025}});
}

TEST(Rope, Llama3ScalingStretchesLongWavesOnly) {
  expect_frequencies(config_of(64, 500000.0),
                     {.kind = RopeScaling::Kind::kLlama3, .factor = 8, .original_context = 8192},
                     {{0, 1.0},
                      {10, 0.016560440080994446},
                      {15, 0.0013718935677611381},
                      {17, 0.00017850781276799638},
                      {18, 7.78465527393245e-05},
                      {20, 3.428102195952591e-05},
                      {31, 3.7673226901739635e-07}});
}

TEST(Rope, YarnStretchesByTurnsAndEnlarges) {
  const auto config = config_of(128, 1000000.0);
  const RopeScaling yarn{.kind = RopeScaling::Kind::kYarn, .factor = 4, .original_context = 16384};
  expect_frequencies(config, yarn,
                     {{0, 1.0},
                      {10, 0.1154781984689458},
                      {20, 0.01333521432163324},
                      {23, 0.006054706545107663},
                      {30, 0.000860547176327363},
                      {38, 6.846049085660904e-05},
                      {40, 4.445698525097307e-05},
                      {63, 3.102344401879299e-07}});
  EXPECT_FLOAT_EQ(rope_tables(config, yarn)[0], 1.138629436111989f);  // cos 0 times the attention factor
  auto told = yarn;
  told.attention_factor = 0.5;
  EXPECT_FLOAT_EQ(rope_tables(config, told)[0], 0.5f);
}

}  // namespace
}  // namespace onebit
