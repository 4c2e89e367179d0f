// What every engine that computes the model offers: gen-1, the CPU's SIMD, GPUs. All give the same bits.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "format/model_config.h"

namespace onebit {

/// How keys and values are kept (docs/numerics.md, 5). Each type is a contract of its own.
enum class KvType : uint32_t { kF32, kF16, kQ8 };
std::string_view name_of(KvType type);
Result<KvType> kv_type_by_name(std::string_view name);

/// Keys and values of one sequence, made by a backend and only good for it.
class KvCache {
 public:
  virtual ~KvCache() = default;
  /// Positions held; the next token's position.
  virtual uint32_t length() const = 0;
  /// Forgets positions from `length` on; no effect where fewer are held.
  virtual void truncate(uint32_t length) = 0;
  /// A cache of its own that holds the first `length` positions (or all, if fewer). What both hold may be shared;
  /// neither sees what the other does later.
  virtual std::unique_ptr<KvCache> prefix(uint32_t length) const = 0;
};

/// Memory that the caches of a backend hold together.
struct KvUsage {
  uint64_t pages = 0;  // what several caches share counts once
  uint64_t page_bytes = 0;
  uint32_t page_positions = 1;  // of one sequence, in a page
  uint64_t most_pages = 0;      // that there can be; 0: as many as there is memory for
};

/// Of which of an item's tokens a forward pass returns a row.
enum class LogitRows { kNone, kLast, kAll };

/// The most that BatchItem::best may ask for.
constexpr uint32_t kMostBest = 64;

/// New tokens of one sequence in a step.
struct BatchItem {
  KvCache* kv = nullptr;
  std::span<const TokenId> tokens;  // at least one
  LogitRows rows = LogitRows::kLast;
  uint32_t best = 0;                    // with kLast: instead of the row, so many of its largest logits; 0: the row
  LogitRows states = LogitRows::kNone;  // rows of what the head is given; where the backend gives_states()
};

/// Logits of a step: the wanted rows of each item, or the best of its last row, in the order of the batch. Beside them
/// the states that were asked for.
struct Logits {
  struct Candidate {
    TokenId id;
    float logit;
  };

  std::vector<float> values;  // [rows][vocabulary]
  uint32_t vocabulary = 0;
  std::vector<uint32_t> first_row;   // of each item; one more entry at the end, the number of rows
  std::vector<Candidate> best;       // item by item
  std::vector<uint32_t> first_best;  // as first_row
  std::vector<float> states{};       // [rows][hidden]: the residual stream after the output norm
  std::vector<uint32_t> first_state{};
  uint32_t hidden = 0;

  std::span<const float> row(size_t item, size_t i = 0) const {
    return std::span(values).subspan((first_row[item] + i) * vocabulary, vocabulary);
  }
  /// Descending, ties to the lower id; as many as were asked for, or the whole vocabulary where it is smaller.
  std::span<const Candidate> best_of(size_t item) const {
    return std::span(best).subspan(first_best[item], first_best[item + 1] - first_best[item]);
  }
  std::span<const float> state(size_t item, size_t i = 0) const {
    return std::span(states).subspan((first_state[item] + i) * hidden, hidden);
  }
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual const ModelConfig& config() const = 0;
  /// Tokens of a long prompt worth computing in one step: enough to share each weight's unpacking, few enough to be
  /// interrupted soon.
  virtual uint32_t prefill_chunk() const = 0;
  /// An empty cache.
  virtual std::unique_ptr<KvCache> new_kv_cache() = 0;
  /// By any thread.
  virtual KvUsage kv_usage() const = 0;
  /// One step: appends every item's tokens to its cache and computes the wanted logits. Splitting tokens
  /// over steps or sharing a step with other sequences changes no bit. Errors leave the caches as they
  /// were: a token id outside the vocabulary, a sequence past the context length, more than kMostBest or the best of
  /// other rows than the last, states of a backend that gives none, a non-finite value in the residual stream or the
  /// logits (of all tokens, also where the best are wanted), a model file that was cut short while it is in use.
  virtual Status forward(std::span<const BatchItem> batch, Logits& logits) = 0;
  /// Whether BatchItem::states may be asked for.
  virtual bool gives_states() const { return false; }
  /// Pages of a cache as bytes, for files: how these are laid out, and page after page, each of kv_usage().page_bytes.
  /// A cache that is read must not be written to meanwhile. By any thread. Errors: this backend's pages are not for
  /// files (kv_page_layout() is 0), no memory, what `page` says.
  virtual uint64_t kv_page_layout() const { return 0; }
  virtual Status write_kv(const KvCache& kv, const std::function<Status(std::span<const std::byte> page)>& page) const;
  virtual Result<std::unique_ptr<KvCache>> read_kv(uint32_t length,
                                                   const std::function<Status(std::span<std::byte> page)>& page);
  /// The device is gone for good: forward() has failed and will from now on. What its caches held can be computed again
  /// by another backend, with the same bits. By any thread.
  virtual bool lost() const { return false; }
  /// Nothing comes for a while: memory that was kept for the next step goes back to the system.
  virtual void rest() {}
};

}  // namespace onebit
