#include "grammar/vocabulary.h"

#include <algorithm>

namespace onebit::grammar {

Vocabulary::Vocabulary(const Tokenizer& tokenizer) : tokenizer_(tokenizer), size_(tokenizer.vocabulary_size()) {
  constexpr size_t kLongest = 4096;  // a longer one is never allowed
  for (TokenId id = 0; static_cast<size_t>(id) < size_; ++id) {
    if (tokenizer.is_stop(id)) end_tokens_.push_back(id);
    const auto bytes = tokenizer.token_bytes(id);
    if (!tokenizer.is_special(id) && !tokenizer.is_stop(id) && !bytes.empty() && bytes.size() <= kLongest)
      tokens_.push_back(id);
  }
  std::sort(tokens_.begin(), tokens_.end(), [&](TokenId a, TokenId b) {
    const auto x = tokenizer.token_bytes(a), y = tokenizer.token_bytes(b);
    return x != y ? x < y : a < b;
  });
  std::vector<uint32_t> path{0};  // the last token's nodes
  std::string_view last;
  nodes_.push_back({0, 0, 0, 0});
  const auto close = [&](size_t depth) {
    for (; path.size() > depth + 1; path.pop_back()) nodes_[path.back()].end = static_cast<uint32_t>(nodes_.size());
  };
  for (uint32_t i = 0; i < tokens_.size(); ++i) {
    const auto bytes = tokenizer.token_bytes(tokens_[i]);
    const auto shared = std::mismatch(last.begin(), last.end(), bytes.begin(), bytes.end()).first - last.begin();
    close(static_cast<size_t>(shared));
    for (auto depth = static_cast<size_t>(shared); depth < bytes.size(); ++depth) {
      path.push_back(static_cast<uint32_t>(nodes_.size()));
      nodes_.push_back({0, i, static_cast<uint16_t>(depth + 1), static_cast<uint8_t>(bytes[depth])});
    }
    deepest_ = std::max(deepest_, static_cast<uint32_t>(bytes.size()));
    last = bytes;
  }
  close(0);
  nodes_[0].end = static_cast<uint32_t>(nodes_.size());
  nodes_.push_back({nodes_[0].end, static_cast<uint32_t>(tokens_.size()), 0, 0});
}

}  // namespace onebit::grammar
