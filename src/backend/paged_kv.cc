#include "backend/paged_kv.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace onebit {
namespace {

constexpr size_t kLine = 64, kHugePage = size_t{2} << 20;

size_t round_up(size_t n, size_t to) {
  return (n + to - 1) / to * to;
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
}

std::shared_ptr<KvPage> KvPage::create(const KvLayout& layout) {
  auto page = std::make_shared<KvPage>();
  const bool huge = layout.page_bytes >= kHugePage;
  const size_t bytes = round_up(layout.page_bytes, huge ? kHugePage : kLine);
  auto* data = static_cast<std::byte*>(std::aligned_alloc(huge ? kHugePage : kLine, bytes));
  if (data == nullptr) return nullptr;
  if (huge) ::madvise(data, bytes, MADV_HUGEPAGE);  // a wish
  std::memset(data, 0, bytes);  // elements that padding adds are read, though their products are not used
  page->data_ = {data, Free{layout.pages}};
  ++*layout.pages;
  return page;
}

void KvPage::Free::operator()(std::byte* p) const {
  std::free(p);
  --*pages;
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
