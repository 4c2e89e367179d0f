#include "backend/reference_kv.h"

#include <algorithm>

#include "base/half.h"

namespace onebit {

using reference::kKvBlock;

std::string_view name_of(KvType type) {
  constexpr std::array<std::string_view, 3> names{"f32", "f16", "q8"};
  return names[static_cast<size_t>(type)];
}

Result<KvType> kv_type_by_name(std::string_view name) {
  for (const auto type : {KvType::kF32, KvType::kF16, KvType::kQ8})
    if (name_of(type) == name) return type;
  return fail("unknown KV type '{}': known are f32, f16, q8", name);
}

ReferenceKv::ReferenceKv(const ModelConfig& config, KvType type, std::shared_ptr<std::atomic<uint64_t>> caches)
    : type_(type),
      kv_heads_(config.kv_heads),
      head_dim_(config.head_dim),
      counted_(std::move(caches)),
      k_(config.layers),
      v_(config.layers) {}

uint32_t ReferenceKv::length() const {
  return static_cast<uint32_t>(k_.back().elements.size() / (size_t{kv_heads_} * head_dim_));
}

void ReferenceKv::truncate(uint32_t length) {
  for (auto* stores : {&k_, &v_})
    for (auto& store : *stores) {
      store.elements.resize(std::min(store.elements.size(), size_t{length} * kv_heads_ * head_dim_));
      store.scales.resize(std::min(store.scales.size(), size_t{length} * kv_heads_));
    }
}

std::unique_ptr<KvCache> ReferenceKv::prefix(uint32_t length) const {
  auto other = std::make_unique<ReferenceKv>(*this);
  other->truncate(length);
  return other;
}

void ReferenceKv::append(uint32_t layer, std::span<const float> k, std::span<const float> v) {
  append(k_[layer], k);
  append(v_[layer], v);
}

void ReferenceKv::append(Store& store, std::span<const float> values) const {
  if (type_ == KvType::kQ8) {
    std::vector<int8_t> q(head_dim_);
    for (uint32_t head = 0; head < kv_heads_; ++head) {
      store.scales.push_back(reference::quantize(values.subspan(size_t{head} * head_dim_, head_dim_), q));
      store.elements.insert(store.elements.end(), q.begin(), q.end());
    }
    return;
  }
  for (const float value : values)
    store.elements.push_back(type_ == KvType::kF16 ? half_to_float(float_to_half(value)) : value);
}

std::vector<reference::KvBlock> ReferenceKv::blocks(uint32_t layer, uint32_t kv_head, uint32_t positions) const {
  std::vector<reference::KvBlock> blocks((positions + kKvBlock - 1) / kKvBlock);
  for (auto& block : blocks) {
    block.k.resize(size_t{head_dim_} * kKvBlock);
    block.v.resize(size_t{head_dim_} * kKvBlock);
    block.quantized = type_ == KvType::kQ8;
    block.k_scale.resize(block.quantized ? kKvBlock : 0);
    block.v_scale.resize(block.quantized ? kKvBlock : 0);
  }
  for (uint32_t position = 0; position < positions; ++position) {
    auto& block = blocks[position / kKvBlock];
    const uint32_t t = position % kKvBlock;
    const size_t slot = size_t{position} * kv_heads_ + kv_head;
    for (uint32_t d = 0; d < head_dim_; ++d) {
      block.k[d * kKvBlock + t] = k_[layer].elements[slot * head_dim_ + d];
      block.v[t * head_dim_ + d] = v_[layer].elements[slot * head_dim_ + d];
    }
    if (!block.quantized) continue;
    block.k_scale[t] = k_[layer].scales[slot];
    block.v_scale[t] = v_[layer].scales[slot];
  }
  return blocks;
}

}  // namespace onebit
