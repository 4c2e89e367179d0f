// Grammars of one model by their content, so that the same schema is compiled once.
#pragma once

#include <atomic>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "grammar/grammar.h"

namespace onebit::grammar {

/// Any thread may call it. The least recently used go where memory ends; answers keep what they use.
class GrammarCache {
 public:
  struct Limits {
    uint64_t grammar_bytes = 64 << 20;
    uint64_t mask_bytes = 128 << 20;
    uint64_t live_bytes = 512 << 20;  // of grammars that answers use, whether they are remembered or not
  };
  /// `tokenizer` must outlive it and every grammar.
  explicit GrammarCache(const Tokenizer& tokenizer) : GrammarCache(tokenizer, Limits()) {}
  GrammarCache(const Tokenizer& tokenizer, const Limits& limits) : tokenizer_(tokenizer), limits_(limits) {}

  /// Errors: as compile().
  Result<std::shared_ptr<const Grammar>> get(Language language, std::string_view source);

  struct Stats {
    uint64_t grammars = 0, bytes = 0, hits = 0, compiled = 0;
  };
  Stats stats() const;
  /// False while answers use more than there is for grammars: none should be asked for.
  bool has_room() const { return *live_ < limits_.live_bytes; }

 private:
  struct Entry {
    std::string key;
    std::shared_ptr<const Grammar> grammar;
    uint64_t bytes;
  };
  std::shared_ptr<const Grammar> find(const std::string& key);
  void keep(std::string key, std::shared_ptr<const Grammar> grammar);

  const Tokenizer& tokenizer_;
  const Limits limits_;
  std::once_flag prepared_;  // the vocabulary is only needed where there are grammars
  std::unique_ptr<Vocabulary> vocabulary_;
  std::unique_ptr<TokenMasks> masks_;
  mutable std::mutex mutex_;
  std::list<Entry> entries_;  // the most recently used first
  std::unordered_map<std::string_view, std::list<Entry>::iterator> by_key_;
  Stats stats_;
  std::shared_ptr<std::atomic<uint64_t>> live_ = std::make_shared<std::atomic<uint64_t>>(0);
};

}  // namespace onebit::grammar
