#include "tokenizer/tokenizer.h"

#include <algorithm>
#include <array>
#include <utility>

#include "tokenizer/bpe.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/pre_tokenizer.h"

namespace onebit {
namespace {

struct NameMatch {
  size_t position = 0;
  TokenId id = -1;  // -1: none in the rest of the text
};

/// Names of tokens, to be looked for in text.
class TokenNames {
 public:
  TokenNames(const TokenizerData& data, std::vector<TokenId> ids) : data_(data), sorted_(std::move(ids)) {
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
  NameMatch find_in(std::string_view text, size_t position) const {
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

std::vector<TokenId> special_ids(const TokenizerData& data) {
  std::vector<TokenId> ids;
  for (size_t id = 0; id < data.tokens.size(); ++id)
    if (data.special[id]) ids.push_back(static_cast<TokenId>(id));
  return ids;
}

/// Both; where two have one name, the special one is found first.
std::vector<TokenId> joined(std::vector<TokenId> ids, const std::vector<TokenId>& more) {
  ids.insert(ids.end(), more.begin(), more.end());
  return ids;
}

constexpr std::string_view kLowerBlock = "\xe2\x96\x81";  // U+2581: SentencePiece's space

}  // namespace

struct Tokenizer::Impl {
  Impl(TokenizerData tokenizer_data, PieceSplitter piece_splitter)
      : data(std::move(tokenizer_data)),
        splitter(std::move(piece_splitter)),
        encoder(data),
        special(data, special_ids(data)),
        added(data, data.added),
        special_or_added(data, joined(special_ids(data), data.added)),
        added_after_nfc(data, data.added_after_nfc) {}

  bool is_added(TokenId id) const {
    return std::binary_search(data.added.begin(), data.added.end(), id) ||
           std::binary_search(data.added_after_nfc.begin(), data.added_after_nfc.end(), id);
  }

  TokenizerData data;
  PieceSplitter splitter;
  BytePairEncoder encoder;
  TokenNames special, added, special_or_added, added_after_nfc;
};

/// One call of encode().
class Tokenizer::Encoding {
 public:
  Encoding(const Tokenizer& tokenizer, std::vector<TokenId>& ids)
      : impl_(*tokenizer.impl_), ids_(ids), cursor_(impl_.splitter, {}), begins_(tokenizer.takes_space(ids)) {}

  void text(std::string_view text, SpecialTokens special) {
    split(special == SpecialTokens::kParse ? impl_.special_or_added : impl_.added, text,
          [&](std::string_view stretch) { normalize(stretch); });
  }

 private:
  /// Appends the tokens whose names stand in `text` and lets `plain` do so with the stretches around them.
  template <class Plain>
  void split(const TokenNames& names, std::string_view text, Plain plain) {
    size_t begin = 0;
    while (true) {
      const NameMatch match = names.find_in(text, begin);
      if (match.id < 0) break;
      plain(text.substr(begin, match.position - begin));
      ids_.push_back(match.id);
      begins_ = impl_.data.space_prefix == SpacePrefix::kStretch;
      begin = match.position + impl_.data.tokens[match.id].size();
    }
    plain(text.substr(begin));
  }

  void normalize(std::string_view stretch) {
    if (impl_.data.pre_tokenizer == PreTokenizer::kSentencePiece) return pieces(with_spaces(stretch));
    split(impl_.added_after_nfc, impl_.data.nfc ? to_nfc(stretch, buffer_) : stretch,
          [&](std::string_view plain) { pieces(plain); });
  }

  /// The spaces that SentencePiece's tokens are written with.
  std::string_view with_spaces(std::string_view stretch) {
    if (stretch.empty()) return stretch;
    const bool spaced = stretch.front() == ' ' || stretch.starts_with(kLowerBlock);
    const bool prefix = begins_ && !(impl_.data.prefix_unless_space && spaced);
    begins_ = false;
    size_t block = stretch.find(kLowerBlock);
    if (!prefix && block == std::string_view::npos) return stretch;
    buffer_ = prefix ? " " : "";
    for (; block != std::string_view::npos; block = stretch.find(kLowerBlock)) {
      buffer_.append(stretch.substr(0, block)) += ' ';
      stretch.remove_prefix(block + kLowerBlock.size());
    }
    return buffer_ += stretch;
  }

  void pieces(std::string_view plain) {
    cursor_.restart(plain);
    for (auto piece = cursor_.next(); !piece.empty(); piece = cursor_.next()) impl_.encoder.encode(piece, ids_);
  }

  const Impl& impl_;
  std::vector<TokenId>& ids_;
  PieceSplitter::Cursor cursor_;
  bool begins_;         // a space goes before the next stretch
  std::string buffer_;  // a stretch as its normalization left it
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
  Encoding(*this, ids).text(text, special);
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool skip_special) const {
  std::string text;
  bool begins = takes_space({});
  for (const TokenId id : ids) text += token_text(id, skip_special, begins);
  return text;
}

std::string_view Tokenizer::token_text(TokenId id, bool skip_special, bool& begins) const {
  auto bytes = token_bytes(id);
  const bool special = is_special(id);
  if (special && skip_special) return {};
  const SpacePrefix prefix = impl_->data.space_prefix;
  if (prefix == SpacePrefix::kNone || bytes.empty()) return bytes;
  const bool marker = special || impl_->is_added(id);
  if (begins && !marker && bytes.front() == ' ') bytes.remove_prefix(1);
  begins = marker && prefix == SpacePrefix::kStretch;
  return bytes;
}

bool Tokenizer::takes_space(std::span<const TokenId> before) const {
  switch (impl_->data.space_prefix) {
    case SpacePrefix::kNone:
      return false;
    case SpacePrefix::kText:
      return before.empty() || (before.size() == 1 && before[0] == impl_->data.bos);
    case SpacePrefix::kStretch:
      return before.empty() || is_special(before.back()) || impl_->is_added(before.back());
  }
  return false;
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
  return impl_->special.find(name);
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
