// gen-2's KV cache: pages of 64 positions, each the blocks of all layers and KV heads, shared by reference.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "backend/backend.h"
#include "kernels/cpu/cpu_kernels.h"

namespace onebit {

inline constexpr uint32_t kKvPagePositions = 64;

/// Memory of pages, all of one size. What was given back is kept for the next: the system takes about 10 ms to hand out
/// a page of the 2B shape, and sequences that began together ask for their next one in the same step.
class KvPagePool {
 public:
  explicit KvPagePool(size_t page_bytes);
  KvPagePool(const KvPagePool&) = delete;
  KvPagePool& operator=(const KvPagePool&) = delete;
  ~KvPagePool();

  /// Zeros, 64-byte aligned; null where there is no memory.
  std::byte* take();
  void give_back(std::byte* page);
  /// Gives back to the system what nobody has taken.
  void trim();
  uint64_t taken() const { return taken_; }

 private:
  std::byte* map() const;
  void unmap(std::byte* page) const;

  const size_t page_bytes_, mapped_bytes_;
  std::mutex mutex_;
  std::vector<std::byte*> spare_;
  std::atomic<uint64_t> taken_{0};
};

/// Where things lie in a page. A block is [k][v][k scales][v scales]; blocks are [layer][kv head].
struct KvLayout {
  KvLayout(const ModelConfig& config, KvType type);

  cpu::KvFormat format;
  uint32_t layers, kv_heads, head_dim;
  size_t v_offset, k_scale_offset, v_scale_offset;  // in a block
  size_t block_bytes, page_bytes;
  std::shared_ptr<KvPagePool> pool;

  /// Files that say the same have pages that are laid out like these.
  uint64_t identity() const;
  size_t block_offset(uint32_t layer, uint32_t kv_head) const {
    return (size_t{layer} * kv_heads + kv_head) * block_bytes;
  }
};

class KvPage {
 public:
  /// Null where there is no memory.
  static std::shared_ptr<KvPage> create(const KvLayout& layout);
  std::shared_ptr<KvPage> copy(const KvLayout& layout) const;
  std::span<std::byte> bytes(const KvLayout& layout) const { return {data_.get(), layout.page_bytes}; }

  std::byte* block(const KvLayout& layout, uint32_t layer, uint32_t kv_head) const {
    return data_.get() + layout.block_offset(layer, kv_head);
  }
  cpu::KvBlockView view(const KvLayout& layout, uint32_t layer, uint32_t kv_head) const;

 private:
  struct Free {
    std::shared_ptr<KvPagePool> pool;
    void operator()(std::byte* p) const { pool->give_back(p); }
  };
  std::unique_ptr<std::byte, Free> data_;
};

class PagedKv final : public KvCache {
 public:
  explicit PagedKv(const KvLayout& layout) : layout_(layout) {}

  uint32_t length() const override { return length_; }
  void truncate(uint32_t length) override;
  std::unique_ptr<KvCache> prefix(uint32_t length) const override;

  /// Room for positions up to `length`, in pages that nobody else reads: shared ones are copied first. Changes
  /// neither length() nor what is held.
  Status reserve(uint32_t length);
  /// Declares reserved positions up to `length` written.
  void extend(uint32_t length) { length_ = length; }

  const KvPage& page(uint32_t index) const { return *pages_[index]; }
  uint32_t pages() const { return static_cast<uint32_t>(pages_.size()); }

 private:
  const KvLayout& layout_;  // the backend's
  std::vector<std::shared_ptr<KvPage>> pages_;
  uint32_t length_ = 0;
};

}  // namespace onebit
