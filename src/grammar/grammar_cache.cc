#include "grammar/grammar_cache.h"

namespace onebit::grammar {
namespace {

/// A first request with a grammar waits so much longer, so that no step of others does.
constexpr std::chrono::milliseconds kPreparation{100};

}  // namespace

std::shared_ptr<const Grammar> GrammarCache::find(const std::string& key) {
  const std::lock_guard lock(mutex_);
  const auto it = by_key_.find(key);
  if (it == by_key_.end()) return nullptr;
  ++stats_.hits;
  entries_.splice(entries_.begin(), entries_, it->second);
  return it->second->grammar;
}

void GrammarCache::keep(std::string key, std::shared_ptr<const Grammar> grammar) {
  const std::lock_guard lock(mutex_);
  ++stats_.compiled;
  if (by_key_.contains(key)) return;  // another thread was quicker
  const uint64_t bytes = key.size() + grammar->bytes();
  entries_.push_front({std::move(key), std::move(grammar), bytes});
  by_key_[entries_.front().key] = entries_.begin();
  stats_.bytes += bytes;
  while (stats_.bytes > limits_.grammar_bytes && entries_.size() > 1) {
    stats_.bytes -= entries_.back().bytes;
    by_key_.erase(entries_.back().key);
    entries_.pop_back();
  }
  stats_.grammars = entries_.size();
}

Result<std::shared_ptr<const Grammar>> GrammarCache::get(Language language, std::string_view source) {
  std::string key(1, static_cast<char>('0' + static_cast<int>(language)));
  key += source;
  if (auto known = find(key)) return known;
  ASSIGN_OR_RETURN(auto program, compile(language, source));
  std::call_once(prepared_, [&] {
    vocabulary_ = std::make_unique<Vocabulary>(tokenizer_);
    masks_ = std::make_unique<TokenMasks>(*vocabulary_, limits_.mask_bytes);
  });
  auto made = std::make_unique<Grammar>(std::move(program), *masks_);
  made->prepare_masks(kPreparation);
  const uint64_t bytes = made->bytes();
  *live_ += bytes;
  const std::shared_ptr<const Grammar> grammar(made.release(), [live = live_, bytes](const Grammar* g) {
    delete g;
    *live -= bytes;
  });
  keep(std::move(key), grammar);
  return grammar;
}

GrammarCache::Stats GrammarCache::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

}  // namespace onebit::grammar
