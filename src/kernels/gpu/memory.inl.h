// A model's weights and an engine's buffers on the device.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>

#include "kernels/gpu/model.inl.h"

namespace onebit::gpu {
namespace {

/// Allocations that end together. The first failure stays in `outcome`.
class Arena {
 public:
  Arena() = default;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena() {
    for (void* p : device_) free_device(p);
    for (void* p : pinned_) free_pinned(p);
  }

  template <class T>
  T* device(uint64_t count, Outcome& outcome) {
    void* p = allocate_device(std::max<uint64_t>(count, 1) * sizeof(T), outcome);
    if (p != nullptr) device_.push_back(p);
    return static_cast<T*>(p);
  }
  template <class T>
  T* pinned(uint64_t count, Outcome& outcome) {
    void* p = allocate_pinned(std::max<uint64_t>(count, 1) * sizeof(T), outcome);
    if (p != nullptr) pinned_.push_back(p);
    return static_cast<T*>(p);
  }

 private:
  std::vector<void*> device_, pinned_;
};

/// A device buffer that grows; what it held is lost then.
template <class T>
class Growing {
 public:
  Growing() = default;
  Growing(const Growing&) = delete;
  Growing& operator=(const Growing&) = delete;
  ~Growing() { free_device(data_); }

  /// Room for `count`; a larger buffer is waited for, since kernels may still use the old one.
  T* reserve(uint64_t count, Stream stream, Outcome& outcome) {
    if (count <= room_) return data_;
    wait_for(stream, outcome);
    free_device(data_);
    room_ = 0;
    data_ = static_cast<T*>(allocate_device(count * sizeof(T), outcome));
    if (data_ != nullptr) room_ = count;
    return data_;
  }

 private:
  T* data_ = nullptr;
  uint64_t room_ = 0;
};

/// Copies from pageable memory (a mapped file) through two pinned buffers: one is read into while the other travels.
class Uploader {
 public:
  Uploader(Arena& arena, Stream stream, Outcome& outcome) : stream_(stream), outcome_(outcome) {
    for (auto& b : buffer_) b = arena.pinned<unsigned char>(kBytes, outcome);
    for (auto& e : event_) e = new_event(outcome);
  }
  Uploader(const Uploader&) = delete;
  Uploader& operator=(const Uploader&) = delete;
  ~Uploader() {
    wait_for(stream_, outcome_);
    for (auto& e : event_) end_event(e);
  }

  void copy(void* to, const void* from, uint64_t bytes) {
    for (uint64_t at = 0; at < bytes && outcome_.ok(); at += kBytes) {
      const uint64_t n = std::min<uint64_t>(kBytes, bytes - at);
      if (used_[next_]) wait_for_event(event_[next_], outcome_);
      if (!outcome_.ok()) return;
      std::memcpy(buffer_[next_], static_cast<const unsigned char*>(from) + at, n);
      copy_to_device(static_cast<unsigned char*>(to) + at, buffer_[next_], n, stream_, outcome_);
      record(event_[next_], stream_, outcome_);
      used_[next_] = true;
      next_ ^= 1u;
    }
  }

 private:
  static constexpr uint64_t kBytes = uint64_t{8} << 20;
  Stream stream_;
  Outcome& outcome_;
  unsigned char* buffer_[2] = {};
  Event event_[2] = {};
  bool used_[2] = {};
  uint32_t next_ = 0;
};

/// A model file in the host's memory, as a device reads it there. Nothing is in it until it is mapped.
class HostMapping {
 public:
  HostMapping() = default;
  HostMapping(const HostMapping&) = delete;
  HostMapping& operator=(const HostMapping&) = delete;
  ~HostMapping() {
    if (device_ != nullptr) unmap_host(host_.data());
  }

  /// No effect where the device cannot.
  void map(std::span<const std::byte> host, int device) {
    if (host.empty()) return;
    device_ = static_cast<const unsigned char*>(map_host(host.data(), host.size(), device));
    host_ = host;
  }

  /// The device's address of a tensor; null where it is not in the file, or not as kernels read: by 16 bytes.
  const void* find(std::span<const std::byte> tensor) const {
    if (device_ == nullptr || tensor.data() < host_.data() ||
        tensor.data() + tensor.size() > host_.data() + host_.size())
      return nullptr;
    const auto* there = device_ + (tensor.data() - host_.data());
    return reinterpret_cast<uintptr_t>(there) % 16 == 0 ? there : nullptr;
  }

 private:
  std::span<const std::byte> host_;
  const unsigned char* device_ = nullptr;
};

/// Brings a model's tensors to the device, by copying what it does not read in place; pointers in what comes back are
/// the device's.
class ModelUpload {
 public:
  ModelUpload(Arena& arena, const HostMapping& file, Stream stream, Outcome& outcome)
      : arena_(arena), file_(file), outcome_(outcome), uploader_(arena, stream, outcome) {}

  template <class T>
  const T* bring(std::span<const T> from) {
    if (const void* there = file_.find(std::as_bytes(from)); there != nullptr) return static_cast<const T*>(there);
    T* to = arena_.device<T>(from.size(), outcome_);
    if (to != nullptr) uploader_.copy(to, from.data(), from.size_bytes());
    return to;
  }

  DeviceMatrix matrix(const MatrixView& w) {
    DeviceMatrix m{};
    m.data = reinterpret_cast<const unsigned char*>(bring(w.data));
    m.rows = w.rows;
    m.columns = w.columns;
    m.groups = w.groups;
    m.blocks = w.blocks;
    if (w.granularity == Scales::kRow) {
      m.scales = bring(w.scales);
    } else {
      m.one_scale = w.scales[0];
    }
    return m;
  }

  DeviceLayer layer(const LayerView& w) {
    return {.attn_norm = bring(w.attn_norm),
            .attn_sub_norm = bring(w.attn_sub_norm),
            .ffn_norm = bring(w.ffn_norm),
            .ffn_sub_norm = bring(w.ffn_sub_norm),
            .attn_q = matrix(w.attn_q),
            .attn_k = matrix(w.attn_k),
            .attn_v = matrix(w.attn_v),
            .attn_output = matrix(w.attn_output),
            .ffn_gate = matrix(w.ffn_gate),
            .ffn_up = matrix(w.ffn_up),
            .ffn_down = matrix(w.ffn_down)};
  }

  /// layers: what the device's copy of them says.
  DeviceModel model(const ModelView& view, std::vector<DeviceLayer>& layers) {
    DeviceModel m{};
    m.shape = view.shape;
    m.embedding = reinterpret_cast<const uint16_t*>(bring(view.embedding.data));
    for (const auto& w : view.layers) layers.push_back(layer(w));
    m.layers = bring(std::span<const DeviceLayer>(layers));
    m.output_norm = bring(view.output_norm);
    if (view.head.code == Code::kQ8) {
      m.head = matrix(view.head);
    } else {
      const bool shared = view.head.data.data() == view.embedding.data.data();
      m.half_head = shared ? m.embedding : reinterpret_cast<const uint16_t*>(bring(view.head.data));
      m.half_is_bf16 = view.head.code == Code::kBf16 ? 1 : 0;
      m.head.blocks = (view.shape.hidden + 3) / 4;  // of the row that the norm quantises all the same
    }
    m.rope_cos = bring(view.rope_cos);
    m.rope_sin = bring(view.rope_sin);
    return m;
  }

 private:
  Arena& arena_;
  const HostMapping& file_;
  Outcome& outcome_;
  Uploader uploader_;
};

/// Why this engine cannot take a model; empty where it can.
inline std::string unfit(const ModelView& view) {
  const auto& first = view.layers.front().attn_q;
  for (const auto& w : view.layers)
    for (const auto* m : {&w.attn_q, &w.attn_k, &w.attn_v, &w.attn_output, &w.ffn_gate, &w.ffn_up, &w.ffn_down}) {
      if (m->code != first.code) return "its layers are packed in different ways";
      if (m->granularity == Scales::kGroup) return "its scales are by group of columns";
    }
  const auto& c = view.shape;
  if (c.heads / c.kv_heads > 16) return "more than 16 query heads share a KV head";
  if (c.head_dim % 16 != 0 || c.head_dim > 512) return "its head_dim is no multiple of 16, or above 512";
  if (c.vocabulary > 262144) return "its vocabulary is larger than 262144";
  return {};
}

inline KvPlan kv_plan(const Shape& c, KvFormat format) {
  KvPlan p{};
  const uint32_t element = format == KvFormat::kF32 ? 4 : format == KvFormat::kF16 ? 2 : 1;
  p.v_offset = kPagePositions * c.head_dim * element;
  p.k_scale_offset = 2 * p.v_offset;
  p.v_scale_offset = p.k_scale_offset + kPagePositions * 4;
  p.block_bytes = p.k_scale_offset + (format == KvFormat::kQ8 ? 2 * kPagePositions * 4 : 0);
  p.kv_heads = c.kv_heads;
  p.page_bytes = static_cast<uint64_t>(c.layers) * c.kv_heads * p.block_bytes;
  return p;
}

}  // namespace
}  // namespace onebit::gpu
