#include "tokenizer/bpe.h"

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <functional>
#include <span>

#include "base/hash.h"
#include "base/utf8.h"

namespace onebit {
namespace {

/// A number that who made the model file cannot know, so that no file can crowd a table's slots. No id
/// depends on it.
uint64_t random_seed() {
  uint64_t seed = 0;
  if (::getentropy(&seed, sizeof(seed)) != 0) seed = 0x9e3779b97f4a7c15u;
  return seed;
}

/// A power of two with room for `entries` at half full.
size_t table_size(size_t entries) {
  return std::bit_ceil(std::max<size_t>(2 * entries, 16));
}

}  // namespace

BytePairEncoder::BytePairEncoder(const TokenizerData& data)
    : data_(data), characters_(data.pre_tokenizer == PreTokenizer::kSentencePiece), seed_(random_seed()) {
  if (characters_) {
    std::copy(data.byte_tokens.begin(), data.byte_tokens.end(), byte_tokens_.begin());
    words_ = std::none_of(data.merges.begin(), data.merges.end(), [&](const TokenizerData::Merge& merge) {
      const std::string& token = data.tokens[merge.result];
      const auto word = std::find_if(token.begin(), token.end(), [](char c) { return c != ' '; });
      return std::find(word, token.end(), ' ') != token.end();
    });
  } else {
    for (size_t id = 0; id < data.tokens.size(); ++id) {
      const std::string& token = data.tokens[id];
      if (token.size() == 1 && !data.special[id])
        byte_tokens_[static_cast<unsigned char>(token[0])] = static_cast<TokenId>(id);
    }
  }
  index_pairs();
  if (data.ignore_merges || characters_) index_tokens();
}

uint64_t BytePairEncoder::hash(uint64_t key) const {
  key = (key ^ seed_) * 0x9e3779b97f4a7c15u;
  key = (key ^ (key >> 32)) * (seed_ | 1u);
  return key ^ (key >> 32);
}

void BytePairEncoder::index_pairs() {
  pairs_.resize(table_size(data_.merges.size()));
  const size_t mask = pairs_.size() - 1;
  size_t rank = 0;
  for (size_t i = 0; i < data_.merges.size(); ++i) {
    const auto& merge = data_.merges[i];
    if (!data_.rank_by_result || merge.result != data_.merges[rank].result) rank = i;
    size_t slot = hash(static_cast<uint64_t>(merge.left) << 32 | static_cast<uint32_t>(merge.right)) & mask;
    while (pairs_[slot].merge.rank != kNoRank) slot = (slot + 1) & mask;
    pairs_[slot] = {merge.left, merge.right, {static_cast<uint32_t>(rank), merge.result}};
  }
}

void BytePairEncoder::index_tokens() {
  std::vector<bool> wanted(data_.tokens.size());
  for (size_t id = 0; id < wanted.size(); ++id)
    wanted[id] = !data_.special[id] && !data_.tokens[id].empty() &&
                 (!characters_ || utf8_front(data_.tokens[id]).length == data_.tokens[id].size());
  for (const auto* ids : {&data_.added, &data_.added_after_nfc, &data_.byte_tokens})
    for (const TokenId id : *ids) wanted[id] = false;
  tokens_.assign(table_size(static_cast<size_t>(std::count(wanted.begin(), wanted.end(), true))), -1);
  const size_t mask = tokens_.size() - 1;
  for (size_t id = 0; id < data_.tokens.size(); ++id) {
    if (!wanted[id]) continue;
    size_t slot = hash(xxh3(std::as_bytes(std::span(data_.tokens[id])))) & mask;
    while (tokens_[slot] >= 0) slot = (slot + 1) & mask;
    tokens_[slot] = static_cast<TokenId>(id);
  }
}

BytePairEncoder::Merge BytePairEncoder::find(TokenId left, TokenId right) const {
  const size_t mask = pairs_.size() - 1;
  size_t slot = hash(static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right)) & mask;
  while (pairs_[slot].merge.rank != kNoRank) {
    if (pairs_[slot].left == left && pairs_[slot].right == right) return pairs_[slot].merge;
    slot = (slot + 1) & mask;
  }
  return {};
}

TokenId BytePairEncoder::find_token(std::string_view piece) const {
  const size_t mask = tokens_.size() - 1;
  size_t slot = hash(xxh3(std::as_bytes(std::span(piece)))) & mask;
  while (tokens_[slot] >= 0 && data_.tokens[tokens_[slot]] != piece) slot = (slot + 1) & mask;
  return tokens_[slot];
}

size_t BytePairEncoder::word_end(std::string_view piece) const {
  const size_t word = piece.find_first_not_of(' ');
  return std::min(word == std::string_view::npos ? word : piece.find(' ', word), piece.size());
}

inline size_t BytePairEncoder::begin(std::string_view piece, TokenId* out) const {
  if (characters_) return begin_with_characters(piece, out);
  for (size_t i = 0; i < piece.size(); ++i) out[i] = byte_tokens_[static_cast<unsigned char>(piece[i])];
  return piece.size();
}

size_t BytePairEncoder::begin_with_characters(std::string_view piece, TokenId* out) const {
  size_t count = 0;
  while (!piece.empty()) {
    const size_t length = std::max<size_t>(utf8_front(piece).length, 1);
    const auto character = piece.substr(0, length);
    if (const TokenId id = find_token(character); id >= 0) {
      out[count++] = id;
    } else {
      for (const char c : character) out[count++] = byte_tokens_[static_cast<unsigned char>(c)];
    }
    piece.remove_prefix(length);
  }
  return count;
}

void BytePairEncoder::encode(std::string_view piece, std::vector<TokenId>& ids) const {
  if (data_.ignore_merges) {
    if (const TokenId whole = find_token(piece); whole >= 0) return ids.push_back(whole);
  }
  while (words_ && !piece.empty()) {
    const auto word = piece.substr(0, word_end(piece));
    word.size() <= kShortPiece ? merge_short(word, ids) : merge_long(word, ids);
    piece.remove_prefix(word.size());
  }
  piece.size() <= kShortPiece ? merge_short(piece, ids) : merge_long(piece, ids);
}

void BytePairEncoder::merge_short(std::string_view piece, std::vector<TokenId>& ids) const {
  if (piece.empty()) return;
  std::array<TokenId, kShortPiece> symbols;
  std::array<Merge, kShortPiece> merges;  // [i]: of symbols i and i + 1; the last has none
  size_t count = begin(piece, symbols.data());
  for (size_t i = 0; i + 1 < count; ++i) merges[i] = find(symbols[i], symbols[i + 1]);
  merges[count - 1] = {};
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i)
      if (merges[i].rank < merges[best].rank) best = i;
    if (merges[best].rank == kNoRank) break;
    symbols[best] = merges[best].result;
    std::copy(symbols.begin() + best + 2, symbols.begin() + count, symbols.begin() + best + 1);
    std::copy(merges.begin() + best + 2, merges.begin() + count, merges.begin() + best + 1);
    --count;
    merges[best] = best + 1 < count ? find(symbols[best], symbols[best + 1]) : Merge{};
    if (best > 0) merges[best - 1] = find(symbols[best - 1], symbols[best]);
  }
  ids.insert(ids.end(), symbols.begin(), symbols.begin() + count);
}

void BytePairEncoder::merge_long(std::string_view piece, std::vector<TokenId>& ids) const {
  constexpr size_t kMaxPart = std::numeric_limits<uint32_t>::max();
  for (; !piece.empty(); piece.remove_prefix(std::min(piece.size(), kMaxPart)))
    merge_part(piece.substr(0, kMaxPart), ids);
}

void BytePairEncoder::merge_part(std::string_view part, std::vector<TokenId>& ids) const {
  constexpr uint32_t kEnd = std::numeric_limits<uint32_t>::max();
  struct Symbol {
    TokenId id;
    uint32_t previous, next;
    uint32_t rank;  // of the merge with `next`; kNoRank as well once merged into `previous`
  };
  std::vector<TokenId> first(part.size());
  const auto size = static_cast<uint32_t>(begin(part, first.data()));
  std::vector<Symbol> symbols(size);
  std::vector<uint64_t> heap;  // rank << 32 | place: the lowest is the merge to apply, if it still stands
  for (uint32_t i = 0; i < size; ++i)
    symbols[i] = {first[i], i == 0 ? kEnd : i - 1, i + 1 < size ? i + 1 : kEnd, kNoRank};
  const auto rank_at = [&](uint32_t place) {
    Symbol& symbol = symbols[place];
    symbol.rank = symbol.next == kEnd ? kNoRank : find(symbol.id, symbols[symbol.next].id).rank;
    if (symbol.rank != kNoRank) heap.push_back(static_cast<uint64_t>(symbol.rank) << 32 | place);
    return symbol.rank != kNoRank;
  };
  for (uint32_t i = 0; i < size; ++i) rank_at(i);
  std::make_heap(heap.begin(), heap.end(), std::greater<>());
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const auto place = static_cast<uint32_t>(heap.back());
    const auto rank = static_cast<uint32_t>(heap.back() >> 32);
    heap.pop_back();
    Symbol& left = symbols[place];
    if (left.rank != rank) continue;  // what stood here has been merged otherwise since
    Symbol& right = symbols[left.next];
    right.rank = kNoRank;
    left.id = data_.merges[rank].result;
    left.next = right.next;
    if (left.next != kEnd) symbols[left.next].previous = place;
    if (rank_at(place)) std::push_heap(heap.begin(), heap.end(), std::greater<>());
    if (left.previous != kEnd && rank_at(left.previous)) std::push_heap(heap.begin(), heap.end(), std::greater<>());
  }
  for (uint32_t i = 0; i != kEnd; i = symbols[i].next) ids.push_back(symbols[i].id);
}

}  // namespace onebit
