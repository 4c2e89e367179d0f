#include "tokenizer/tokenizer.h"

#include <algorithm>
#include <array>
#include <utility>

#include "tokenizer/bpe.h"
#include "tokenizer/pre_tokenizer.h"

namespace onebit {
namespace {

struct SpecialMatch {
  size_t position = 0;
  TokenId id = -1;  // -1: none in the rest of the text
};

/// The names of the special tokens, to be looked for in text.
class SpecialNames {
 public:
  explicit SpecialNames(const TokenizerData& data) : data_(data) {
    for (size_t id = 0; id < data.tokens.size(); ++id)
      if (data.special[id]) sorted_.push_back(static_cast<TokenId>(id));
    std::sort(sorted_.begin(), sorted_.end(), [&](TokenId a, TokenId b) { return data.tokens[a] < data.tokens[b]; });
    for (const TokenId id : sorted_) {
      const char first = data.tokens[id][0];
      if (first_bytes_.find(first) == std::string::npos) first_bytes_ += first;
    }
  }

  std::optional<TokenId> find(std::string_view name) const {
    const auto at = std::lower_bound(sorted_.begin(), sorted_.end(), name,
                                     [&](TokenId id, std::string_view value) { return data_.tokens[id] < value; });
    if (at == sorted_.end() || data_.tokens[*at] != name) return std::nullopt;
    return *at;
  }

  /// The leftmost name in `text` from `position` on, the longest of those that begin there.
  SpecialMatch find_in(std::string_view text, size_t position) const {
    while ((position = find_first_byte(text, position)) != std::string_view::npos) {
      if (const TokenId id = longest_at(text.substr(position)); id >= 0) return {position, id};
      ++position;
    }
    return {};
  }

 private:
  /// The usual vocabulary begins all its names with '<', which memchr finds many times quicker.
  size_t find_first_byte(std::string_view text, size_t position) const {
    return first_bytes_.size() == 1 ? text.find(first_bytes_[0], position) : text.find_first_of(first_bytes_, position);
  }

  /// Narrows the sorted names, byte by byte, to those that agree with `text`.
  TokenId longest_at(std::string_view text) const {
    TokenId longest = -1;
    auto low = sorted_.begin();
    auto high = sorted_.end();
    for (size_t depth = 0; low != high; ++depth) {
      if (data_.tokens[*low].size() == depth) longest = *low++;
      if (depth == text.size()) break;
      const auto byte = static_cast<unsigned char>(text[depth]);
      const auto at_depth = [&](TokenId id) { return static_cast<unsigned char>(data_.tokens[id][depth]); };
      low = std::partition_point(low, high, [&](TokenId id) { return at_depth(id) < byte; });
      high = std::partition_point(low, high, [&](TokenId id) { return at_depth(id) == byte; });
    }
    return longest;
  }

  const TokenizerData& data_;
  std::vector<TokenId> sorted_;  // by name
  std::string first_bytes_;
};

}  // namespace

struct Tokenizer::Impl {
  Impl(TokenizerData tokenizer_data, PieceSplitter piece_splitter)
      : data(std::move(tokenizer_data)), splitter(std::move(piece_splitter)), encoder(data), names(data) {}

  TokenizerData data;
  PieceSplitter splitter;
  BytePairEncoder encoder;
  SpecialNames names;
};

Result<Tokenizer> Tokenizer::create(TokenizerData data) {
  ASSIGN_OR_RETURN(auto splitter, PieceSplitter::create(data.pre_tokenizer));
  return Tokenizer(std::make_unique<Impl>(std::move(data), std::move(splitter)));
}

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

std::vector<TokenId> Tokenizer::encode(std::string_view text, SpecialTokens special) const {
  std::vector<TokenId> ids;
  encode(text, special, ids);
  return ids;
}

void Tokenizer::encode(std::string_view text, SpecialTokens special, std::vector<TokenId>& ids) const {
  PieceSplitter::Cursor cursor(impl_->splitter, {});
  const auto encode_plain = [&](std::string_view plain) {
    cursor.restart(plain);
    for (auto piece = cursor.next(); !piece.empty(); piece = cursor.next()) impl_->encoder.encode(piece, ids);
  };
  size_t begin = 0;
  while (special == SpecialTokens::kParse) {
    const SpecialMatch match = impl_->names.find_in(text, begin);
    if (match.id < 0) break;
    encode_plain(text.substr(begin, match.position - begin));
    ids.push_back(match.id);
    begin = match.position + impl_->data.tokens[match.id].size();
  }
  encode_plain(text.substr(begin));
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool skip_special) const {
  std::string text;
  for (const TokenId id : ids)
    if (!skip_special || !is_special(id)) text += token_bytes(id);
  return text;
}

std::string_view Tokenizer::token_bytes(TokenId id) const {
  if (id < 0 || static_cast<size_t>(id) >= impl_->data.tokens.size()) return {};
  return impl_->data.tokens[id];
}

size_t Tokenizer::vocabulary_size() const {
  return impl_->data.tokens.size();
}

bool Tokenizer::is_special(TokenId id) const {
  return id >= 0 && static_cast<size_t>(id) < impl_->data.special.size() && impl_->data.special[id];
}

bool Tokenizer::is_stop(TokenId id) const {
  return std::binary_search(impl_->data.stop_tokens.begin(), impl_->data.stop_tokens.end(), id);
}

std::optional<TokenId> Tokenizer::special_token(std::string_view name) const {
  return impl_->names.find(name);
}

std::optional<TokenId> Tokenizer::bos() const {
  if (impl_->data.bos < 0) return std::nullopt;
  return impl_->data.bos;
}

ChatLayout Tokenizer::chat_layout() const {
  return impl_->data.chat.layout;
}

const ChatFormat& Tokenizer::chat_format() const {
  return impl_->data.chat.format();
}

}  // namespace onebit
