// Pages of keys and values in a GPU's memory, as their numbers; shared by reference, copied when somebody writes.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "backend/backend.h"
#include "kernels/gpu/engine.h"

namespace onebit {

/// Which pages of an engine are free. The numbers may be read by any thread.
class GpuPages {
 public:
  explicit GpuPages(uint32_t count);

  class Page {
   public:
    Page(std::shared_ptr<GpuPages> owner, uint32_t number) : owner_(std::move(owner)), number_(number) {}
    Page(const Page&) = delete;
    Page& operator=(const Page&) = delete;
    ~Page() { owner_->give_back(number_); }
    uint32_t number() const { return number_; }

   private:
    std::shared_ptr<GpuPages> owner_;
    uint32_t number_;
  };

  /// Null where all are taken.
  static std::shared_ptr<Page> take(const std::shared_ptr<GpuPages>& pages);
  uint32_t taken() const { return taken_; }
  uint32_t count() const { return count_; }

 private:
  void give_back(uint32_t number);

  const uint32_t count_;
  std::vector<uint32_t> free_;  // of the one thread that uses the backend
  std::atomic<uint32_t> taken_{0};
};

class GpuKv final : public KvCache {
 public:
  explicit GpuKv(std::shared_ptr<GpuPages> pool) : pool_(std::move(pool)) {}

  uint32_t length() const override { return length_; }
  void truncate(uint32_t length) override;
  std::unique_ptr<KvCache> prefix(uint32_t length) const override;

  /// Room for positions up to `length`, in pages that nobody else reads. Changes neither length() nor what is held.
  Status reserve(uint32_t length, gpu::Engine& engine);
  void extend(uint32_t length) { length_ = length; }
  uint32_t page(uint32_t index) const { return pages_[index]->number(); }

 private:
  std::shared_ptr<GpuPages> pool_;
  std::vector<std::shared_ptr<GpuPages::Page>> pages_;
  uint32_t length_ = 0;
};

}  // namespace onebit
