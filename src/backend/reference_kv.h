// gen-1's KV cache: what was stored, position by position; attention gets it in blocks.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "backend/backend.h"
#include "kernels/reference.h"

namespace onebit {

/// Counts caches, copies among them.
class Counted {
 public:
  explicit Counted(std::shared_ptr<std::atomic<uint64_t>> count) : count_(std::move(count)) { ++*count_; }
  Counted(const Counted& other) : Counted(other.count_) {}
  Counted& operator=(const Counted&) = delete;
  ~Counted() { --*count_; }

 private:
  std::shared_ptr<std::atomic<uint64_t>> count_;
};

class ReferenceKv final : public KvCache {
 public:
  /// `caches` counts those that exist.
  ReferenceKv(const ModelConfig& config, KvType type, std::shared_ptr<std::atomic<uint64_t>> caches);

  uint32_t length() const override;
  void truncate(uint32_t length) override;
  std::unique_ptr<KvCache> prefix(uint32_t length) const override;

  /// The next position's key and value, [kv_heads · head_dim] each, rounded to the KV type. Every layer
  /// of a step appends as many positions.
  void append(uint32_t layer, std::span<const float> k, std::span<const float> v);

  /// The blocks that hold the first `positions` of one KV head, in ascending order.
  std::vector<reference::KvBlock> blocks(uint32_t layer, uint32_t kv_head, uint32_t positions) const;

 private:
  /// Keys or values of one layer: for each position and KV head, head_dim elements as float32 (already
  /// rounded to f16, or int8 values) and, for q8, a scale.
  struct Store {
    std::vector<float> elements;  // [positions][kv_heads][head_dim]
    std::vector<float> scales;    // [positions][kv_heads]; q8 only
  };
  void append(Store& store, std::span<const float> values) const;

  KvType type_;
  uint32_t kv_heads_, head_dim_;
  Counted counted_;
  std::vector<Store> k_, v_;  // per layer
};

}  // namespace onebit
