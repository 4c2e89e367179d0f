#include "backend/paged_kv.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/hash.h"

namespace onebit {
namespace {

constexpr size_t kLine = 64, kSystemPage = 4096, kHugePage = size_t{2} << 20;
/// From here on the allocator is not asked: it would put small things between pages and then keep all of it.
constexpr size_t kLeastMapped = 64 << 10;
constexpr size_t kMostSpare = 32;

size_t round_up(size_t n, size_t to) {
  return (n + to - 1) / to * to;
}

size_t mapped_bytes_for(size_t page_bytes) {
  if (page_bytes < kLeastMapped) return 0;
  return round_up(page_bytes, page_bytes < kHugePage ? kSystemPage : kHugePage);
}

cpu::KvFormat format_of(KvType type) {
  switch (type) {
    case KvType::kF32:
      return cpu::KvFormat::kF32;
    case KvType::kF16:
      return cpu::KvFormat::kF16;
    case KvType::kQ8:
      return cpu::KvFormat::kQ8;
  }
  return cpu::KvFormat::kF32;
}

}  // namespace

KvLayout::KvLayout(const ModelConfig& config, KvType type)
    : format(format_of(type)), layers(config.layers), kv_heads(config.kv_heads), head_dim(config.head_dim) {
  const size_t element = type == KvType::kF32 ? 4 : type == KvType::kF16 ? 2 : 1;
  const size_t part = round_up(round_up(head_dim, 16) * kKvPagePositions * element, kLine);
  const size_t scales = type == KvType::kQ8 ? kKvPagePositions * sizeof(float) : 0;
  v_offset = part;
  k_scale_offset = 2 * part;
  v_scale_offset = k_scale_offset + scales;
  block_bytes = v_scale_offset + scales;
  page_bytes = block_bytes * layers * kv_heads;
  pool = std::make_shared<KvPagePool>(page_bytes);
}

uint64_t KvLayout::identity() const {
  constexpr uint64_t kVersion = 1;  // of how kernels fill a block
  const uint64_t all[] = {kVersion,       static_cast<uint64_t>(format),
                          layers,         kv_heads,
                          head_dim,       kKvPagePositions,
                          v_offset,       k_scale_offset,
                          v_scale_offset, block_bytes,
                          page_bytes};
  return xxh3(std::as_bytes(std::span(all)));
}

KvPagePool::KvPagePool(size_t page_bytes) : page_bytes_(page_bytes), mapped_bytes_(mapped_bytes_for(page_bytes)) {
  spare_.reserve(kMostSpare);
}

KvPagePool::~KvPagePool() {
  trim();
}

void KvPagePool::trim() {
  const std::lock_guard lock(mutex_);
  for (auto* page : spare_) unmap(page);
  spare_.clear();
}

/// Large ones from the system, which has zeroed them when they are first touched, on huge pages where it can.
std::byte* KvPagePool::map() const {
  if (mapped_bytes_ == 0) {
    auto* page = static_cast<std::byte*>(std::aligned_alloc(kLine, round_up(page_bytes_, kLine)));
    if (page != nullptr) std::memset(page, 0, page_bytes_);
    return page;
  }
  void* page = ::mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return nullptr;
  if (mapped_bytes_ >= kHugePage) ::madvise(page, mapped_bytes_, MADV_HUGEPAGE);  // a wish
  return static_cast<std::byte*>(page);
}

void KvPagePool::unmap(std::byte* page) const {
  if (mapped_bytes_ == 0)
    std::free(page);
  else
    ::munmap(page, mapped_bytes_);
}

std::byte* KvPagePool::take() {
  std::byte* page = nullptr;
  {
    const std::lock_guard lock(mutex_);
    if (!spare_.empty()) {
      page = spare_.back();
      spare_.pop_back();
    }
  }
  if (page != nullptr)
    std::memset(page, 0, page_bytes_);  // what padding adds is read, though its products are not used
  else
    page = map();
  if (page != nullptr) ++taken_;
  return page;
}

void KvPagePool::give_back(std::byte* page) {
  --taken_;
  const std::lock_guard lock(mutex_);
  if (spare_.size() < kMostSpare)
    spare_.push_back(page);
  else
    unmap(page);
}

std::shared_ptr<KvPage> KvPage::create(const KvLayout& layout) {
  auto* data = layout.pool->take();
  if (data == nullptr) return nullptr;
  auto page = std::make_shared<KvPage>();
  page->data_ = {data, Free{layout.pool}};
  return page;
}

std::shared_ptr<KvPage> KvPage::copy(const KvLayout& layout) const {
  auto page = create(layout);
  if (page) std::memcpy(page->data_.get(), data_.get(), layout.page_bytes);
  return page;
}

cpu::KvBlockView KvPage::view(const KvLayout& layout, uint32_t layer, uint32_t kv_head) const {
  const std::byte* data = block(layout, layer, kv_head);
  return {data, data + layout.v_offset, reinterpret_cast<const float*>(data + layout.k_scale_offset),
          reinterpret_cast<const float*>(data + layout.v_scale_offset)};
}

void PagedKv::truncate(uint32_t length) {
  length_ = std::min(length_, length);
  pages_.resize(std::min<size_t>(pages_.size(), (length_ + kKvPagePositions - 1) / kKvPagePositions));
}

std::unique_ptr<KvCache> PagedKv::prefix(uint32_t length) const {
  auto other = std::make_unique<PagedKv>(*this);
  other->truncate(length);
  return other;
}

Status PagedKv::reserve(uint32_t length) {
  const size_t first = length_ / kKvPagePositions, count = (length + kKvPagePositions - 1) / kKvPagePositions;
  for (size_t i = first; i < count; ++i) {
    const bool there = i < pages_.size();
    if (there && pages_[i].use_count() == 1) continue;
    auto page = there ? pages_[i]->copy(layout_) : KvPage::create(layout_);
    if (!page) return fail("no memory for a KV page of {} bytes", layout_.page_bytes);
    if (there) {
      pages_[i] = std::move(page);
    } else {
      pages_.push_back(std::move(page));
    }
  }
  return {};
}

}  // namespace onebit
