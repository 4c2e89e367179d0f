// Keys and values of prompts that were computed before, by their tokens: a radix tree whose edges are the tokens of one
// KV page (RadixAttention, Zheng et al. 2023). What is found is shared by reference, not copied.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "backend/backend.h"

namespace onebit {

/// For one thread, but for known(). Tenants, by numbers, have nothing in common but the memory: one finds nothing that
/// another's prompts left, and cannot tell that they did.
class PrefixCache {
 public:
  /// `page_positions`: of the backend (KvUsage).
  explicit PrefixCache(uint32_t page_positions) : page_positions_(page_positions) {}

  /// A cache that holds the longest known beginning of `tokens`; null where nothing of it is known.
  std::unique_ptr<KvCache> find(std::span<const TokenId> tokens, uint32_t tenant = 0);
  /// How many tokens find() would hold. By any thread.
  uint32_t known(std::span<const TokenId> tokens, uint32_t tenant = 0) const;
  /// Remembers the whole pages of `kv`, which holds `tokens`.
  void insert(std::span<const TokenId> tokens, const KvCache& kv, uint32_t tenant = 0);
  /// Forgets the page that was not used for longest; false where there is none.
  bool evict();
  /// Pages that are remembered.
  size_t pages() const { return least_recent_.size(); }

 private:
  struct Node {
    std::vector<TokenId> tokens;  // of this page
    std::unique_ptr<KvCache> kv;  // of this page and all before it
    Node* parent = nullptr;       // null: a tenant's root
    std::vector<std::unique_ptr<Node>> children;
    std::list<Node*>::iterator use;
  };
  /// The deepest node on the way of `tokens`, and how many tokens of one of its children follow.
  struct Place {
    Node* node;
    Node* child = nullptr;
    uint32_t length = 0;  // of tokens on the way to the node
    uint32_t in_the_child = 0;
  };
  Place locate(Node* root, std::span<const TokenId> tokens) const;
  /// Parents after their children: so the least recently used node never has any.
  void touch(Node* node);

  const uint32_t page_positions_;
  mutable std::mutex mutex_;                         // of all below
  std::map<uint32_t, std::unique_ptr<Node>> roots_;  // by tenant
  std::list<Node*> least_recent_;                    // first
};

}  // namespace onebit
