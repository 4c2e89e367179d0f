#include "engine/prefix_cache.h"

#include <algorithm>

namespace onebit {

PrefixCache::Place PrefixCache::locate(Node* root, std::span<const TokenId> tokens) const {
  Place place{root};
  while (true) {
    const auto rest = tokens.subspan(place.length);
    place.child = nullptr;
    place.in_the_child = 0;
    for (const auto& child : place.node->children) {
      const auto end = std::mismatch(child->tokens.begin(), child->tokens.end(), rest.begin(), rest.end()).first;
      const auto same = static_cast<uint32_t>(end - child->tokens.begin());
      if (same <= place.in_the_child) continue;
      place.child = child.get();
      place.in_the_child = same;
    }
    if (place.child == nullptr || place.in_the_child < page_positions_) return place;
    place.node = place.child;
    place.length += page_positions_;
  }
}

uint32_t PrefixCache::known(std::span<const TokenId> tokens, uint32_t tenant) const {
  const std::lock_guard lock(mutex_);
  const auto root = roots_.find(tenant);
  if (root == roots_.end()) return 0;
  const auto place = locate(root->second.get(), tokens);
  return place.length + place.in_the_child;
}

std::unique_ptr<KvCache> PrefixCache::find(std::span<const TokenId> tokens, uint32_t tenant) {
  const std::lock_guard lock(mutex_);
  const auto root = roots_.find(tenant);
  if (root == roots_.end()) return nullptr;
  const auto place = locate(root->second.get(), tokens);
  Node* node = place.child != nullptr ? place.child : place.node;
  if (node->parent == nullptr) return nullptr;
  touch(node);
  return node->kv->prefix(place.length + place.in_the_child);
}

void PrefixCache::insert(std::span<const TokenId> tokens, const KvCache& kv, uint32_t tenant) {
  const std::lock_guard lock(mutex_);
  auto& root = roots_[tenant];
  if (root == nullptr) root = std::make_unique<Node>();
  const uint32_t held = std::min(static_cast<uint32_t>(tokens.size()), kv.length()) / page_positions_ * page_positions_;
  auto place = locate(root.get(), tokens.first(held));
  for (uint32_t at = place.length; at < held; at += page_positions_) {
    auto node = std::make_unique<Node>();
    const auto page = tokens.subspan(at, page_positions_);
    node->tokens.assign(page.begin(), page.end());
    node->kv = kv.prefix(at + page_positions_);
    node->parent = place.node;
    node->use = least_recent_.insert(least_recent_.end(), node.get());
    place.node->children.push_back(std::move(node));
    place.node = place.node->children.back().get();
  }
  touch(place.node);
}

void PrefixCache::touch(Node* node) {
  for (; node->parent != nullptr; node = node->parent)
    least_recent_.splice(least_recent_.end(), least_recent_, node->use);
}

bool PrefixCache::evict() {
  const std::lock_guard lock(mutex_);
  if (least_recent_.empty()) return false;
  Node* node = least_recent_.front();
  least_recent_.pop_front();
  auto& siblings = node->parent->children;
  siblings.erase(std::find_if(siblings.begin(), siblings.end(), [&](const auto& n) { return n.get() == node; }));
  return true;
}

}  // namespace onebit
