#include "backend/gpu_kv.h"

namespace onebit {
namespace {

uint32_t pages_for(uint32_t positions) {
  return (positions + gpu::kPagePositions - 1) / gpu::kPagePositions;
}

}  // namespace

GpuPages::GpuPages(uint32_t count) : count_(count) {
  for (uint32_t i = count; i > 0; --i) free_.push_back(i - 1);
}

std::shared_ptr<GpuPages::Page> GpuPages::take(const std::shared_ptr<GpuPages>& pages) {
  if (pages->free_.empty()) return nullptr;
  const uint32_t number = pages->free_.back();
  pages->free_.pop_back();
  ++pages->taken_;
  return std::make_shared<Page>(pages, number);
}

void GpuPages::give_back(uint32_t number) {
  free_.push_back(number);
  --taken_;
}

void GpuKv::truncate(uint32_t length) {
  if (length > length_) return;
  length_ = length;
  pages_.resize(pages_for(length));
}

std::unique_ptr<KvCache> GpuKv::prefix(uint32_t length) const {
  auto other = std::make_unique<GpuKv>(pool_);
  other->length_ = std::min(length, length_);
  other->pages_.assign(pages_.begin(), pages_.begin() + pages_for(other->length_));
  return other;
}

Status GpuKv::reserve(uint32_t length, gpu::Engine& engine) {
  for (uint32_t i = length_ / gpu::kPagePositions; i < pages_for(length); ++i) {
    const bool there = i < pages_.size();
    if (there && pages_[i].use_count() == 1) continue;
    auto page = GpuPages::take(pool_);
    if (!page) return fail("all {} KV pages of the GPU are in use", pool_->count());
    if (there) {
      engine.copy_page(pages_[i]->number(), page->number());
      pages_[i] = std::move(page);
    } else {
      pages_.push_back(std::move(page));
    }
  }
  return {};
}

}  // namespace onebit
