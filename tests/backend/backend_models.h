// Small models of many shapes, and the logits that backends make of them, for comparing engines bit for bit.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backend/reference_backend.h"
#include "format/synth.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tiny_model.h"

namespace onebit::test {

struct Shape {
  std::string name;
  ModelConfig config;
  ModelPackings packings;
  KvType kv = KvType::kF16;
  HeadChoice head = HeadChoice::kStored;
};

inline ModelConfig config_of(uint32_t hidden, uint32_t heads, uint32_t kv_heads, uint32_t head_dim, uint32_t ffn) {
  auto config = tiny_config();
  config.hidden = hidden;
  config.heads = heads;
  config.kv_heads = kv_heads;
  config.head_dim = head_dim;
  config.ffn = ffn;
  config.context = 1100;
  return config;
}

/// A model in a temporary file.
class Models {
 public:
  explicit Models(const Shape& shape) : shape_(shape) {
    const auto path = folder_.path("model.h1b");
    const auto written = write_synthetic_model(path, tiny_parts(shape.config), shape.packings, 1);
    EXPECT_TRUE(written) << written.error().message;
    auto file = H1bFile::open(path);
    EXPECT_TRUE(file) << file.error().message;
    file_ = std::make_unique<H1bFile>(*std::move(file));
  }

  std::unique_ptr<Backend> reference() const { return make_reference_backend(weights(), shape_.kv); }
  ModelWeights weights() const {
    auto bound = bind_weights(*file_, shape_.head);
    EXPECT_TRUE(bound) << bound.error().message;
    return *std::move(bound);
  }
  KvType kv() const { return shape_.kv; }

 private:
  Shape shape_;
  TempFolder folder_;
  std::unique_ptr<H1bFile> file_;
};

inline std::vector<TokenId> random_tokens(size_t n, uint32_t vocabulary, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<TokenId> ids(n);
  for (auto& id : ids) id = static_cast<TokenId>(random() % vocabulary);
  return ids;
}

/// Logits of every token, fed in steps of at most `chunk`.
inline std::vector<float> run(Backend& backend, KvCache& kv, std::span<const TokenId> tokens, size_t chunk) {
  std::vector<float> all;
  Logits logits;
  for (size_t at = 0; at < tokens.size(); at += chunk) {
    const BatchItem item{&kv, tokens.subspan(at, std::min(chunk, tokens.size() - at)), LogitRows::kAll};
    const auto status = backend.forward({&item, 1}, logits);
    EXPECT_TRUE(status) << status.error().message;
    all.insert(all.end(), logits.values.begin(), logits.values.end());
  }
  return all;
}
inline std::vector<float> run(Backend& backend, std::span<const TokenId> tokens, size_t chunk) {
  return run(backend, *backend.new_kv_cache(), tokens, chunk);
}

inline bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

}  // namespace onebit::test
