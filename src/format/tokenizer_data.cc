// The tokenizer section of an .h1b file, little-endian, nothing aligned or padded inside it:
//
//   offset  bytes            what
//   0       4                pre-tokenizer: 1 LLaMA-3's pattern, 2 GPT-2's, 3 Qwen2's, 4 SentencePiece
//   4       4                chat layout: 0 none, 1 LLaMA-3, 2 BitNet 2B-4T, 3 ChatML, 4 Falcon3, 255 described
//   8       4                flags: bit 0 ignore_merges, 1 nfc, 2 a space before a text, 3 before a stretch (not
//                            both), 4 unless it has one, 5 rank_by_result; 2 to 5 SentencePiece's; the others 0
//   12      4                BOS token id, signed; -1: none
//   16      4                T: number of token ids, at least 256
//   20      4                M: number of merges
//   24      4                S: number of special tokens
//   28      4                E: number of stop tokens
//   32      4                B: bytes of all tokens together
//   36      4                F: bytes of the chat format; 0 unless the chat layout is 255
//   40      4                A: number of added tokens
//   44      4                N: number of those to be found after NFC
//   48      4                Y: number of byte tokens, 256 for SentencePiece, else 0
//   52      12               reserved, 0
//   64      4·T              for each id, where its bytes end in the blob (ascending; the last is B);
//                            they begin where the bytes of the id before end; no bytes: no such token
//   …       B                blob: the tokens' bytes one after another, in order of id
//   …       12·M             merges in order of rank: ids of left part, right part and result
//   …       4·S              ids of the special tokens, strictly ascending
//   …       4·E              ids of the stop tokens, strictly ascending
//   …       F                the chat format (format/chat_format.h)
//   …       4·A              ids of the added tokens, strictly ascending
//   …       4·N              ids of the added tokens to be found after NFC, strictly ascending
//   …       4·Y              id of the token of each byte
//
// The section ends there: bytes after it are refused, as is a value that this list does not name.
#include "format/tokenizer_data.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <optional>

#include "base/hash.h"
#include "base/utf8.h"

namespace onebit {
namespace {

static_assert(std::endian::native == std::endian::little, "the section is copied as it is: a little-endian machine");
static_assert(sizeof(TokenizerData::Merge) == 12, "merges are copied as they are");

constexpr uint32_t kFlagIgnoreMerges = 1;
constexpr uint32_t kFlagNfc = 2;
constexpr uint32_t kFlagSpaceBeforeText = 4;
constexpr uint32_t kFlagSpaceBeforeStretch = 8;
constexpr uint32_t kFlagUnlessSpace = 16;
constexpr uint32_t kFlagRankByResult = 32;
constexpr uint32_t kKnownFlags = 63;
constexpr size_t kMaxBlobBytes = std::numeric_limits<uint32_t>::max();
constexpr size_t kMaxMerges = std::numeric_limits<uint32_t>::max() - 1;  // ranks are 32 bits, with one to spare

struct Head {
  uint32_t pre_tokenizer;
  uint32_t chat_layout;
  uint32_t flags;
  int32_t bos;
  uint32_t tokens;
  uint32_t merges;
  uint32_t special;
  uint32_t stops;
  uint32_t blob_bytes;
  uint32_t chat_format_bytes;
  uint32_t added;
  uint32_t added_after_nfc;
  uint32_t byte_tokens;
  std::array<uint32_t, 3> reserved;
};
static_assert(sizeof(Head) == 64);

uint32_t flags_of(const TokenizerData& data) {
  return (data.ignore_merges ? kFlagIgnoreMerges : 0) | (data.nfc ? kFlagNfc : 0) |
         (data.space_prefix == SpacePrefix::kText ? kFlagSpaceBeforeText : 0) |
         (data.space_prefix == SpacePrefix::kStretch ? kFlagSpaceBeforeStretch : 0) |
         (data.prefix_unless_space ? kFlagUnlessSpace : 0) | (data.rank_by_result ? kFlagRankByResult : 0);
}

void take_flags(uint32_t flags, TokenizerData& data) {
  data.ignore_merges = (flags & kFlagIgnoreMerges) != 0;
  data.nfc = (flags & kFlagNfc) != 0;
  data.space_prefix = (flags & kFlagSpaceBeforeText) != 0      ? SpacePrefix::kText
                      : (flags & kFlagSpaceBeforeStretch) != 0 ? SpacePrefix::kStretch
                                                               : SpacePrefix::kNone;
  data.prefix_unless_space = (flags & kFlagUnlessSpace) != 0;
  data.rank_by_result = (flags & kFlagRankByResult) != 0;
}

Status check_kinds(uint32_t pre_tokenizer, uint32_t chat_layout) {
  if (pre_tokenizer < 1 || pre_tokenizer > 4)
    return fail("pre-tokenizer: found {}, this version knows 1 to 4 (llama3, gpt2, qwen2, sentencepiece)",
                pre_tokenizer);
  if (!is_known_chat_layout(chat_layout))
    return fail("chat layout: found {}, this version knows 0 to 4 ({}) and 255 (described)", chat_layout,
                chat_layout_names());
  return {};
}

/// A token in an error message.
std::string quoted(std::string_view bytes) {
  return fmt::format("'{}'", printable(bytes));
}

struct HashedToken {
  uint64_t hash;
  uint32_t id;
};

/// The later of the first two ids among `ids` whose bytes are the same, with the earlier one. Sorted, not
/// looked up in a hash table, so that no choice of tokens makes it slow.
std::optional<std::pair<uint32_t, uint32_t>> find_duplicate(const TokenizerData& data, std::vector<HashedToken>& ids) {
  std::sort(ids.begin(), ids.end(), [&](const HashedToken& a, const HashedToken& b) {
    if (a.hash != b.hash) return a.hash < b.hash;
    const int order = data.tokens[a.id].compare(data.tokens[b.id]);
    return order != 0 ? order < 0 : a.id < b.id;
  });
  for (size_t i = 1; i < ids.size(); ++i) {
    if (ids[i].hash == ids[i - 1].hash && data.tokens[ids[i].id] == data.tokens[ids[i - 1].id])
      return std::pair(ids[i - 1].id, ids[i].id);
  }
  return std::nullopt;
}

/// What a token is for: its bytes are unlike those of others of the same kind.
enum class TokenKind : uint8_t { kOrdinary, kSpecial, kAdded, kByte };

/// Of every token; the lists that say so must be valid.
std::vector<TokenKind> kinds_of(const TokenizerData& data) {
  std::vector<TokenKind> kinds(data.tokens.size());
  for (size_t id = 0; id < kinds.size(); ++id)
    if (data.special[id]) kinds[id] = TokenKind::kSpecial;
  for (const auto* ids : {&data.added, &data.added_after_nfc})
    for (const TokenId id : *ids) kinds[id] = TokenKind::kAdded;
  for (const TokenId id : data.byte_tokens) kinds[id] = TokenKind::kByte;
  return kinds;
}

/// Byte-level vocabularies: that each byte is an ordinary token.
Status check_single_bytes(const TokenizerData& data, std::span<const TokenKind> kinds) {
  std::array<bool, 256> present{};
  for (size_t id = 0; id < data.tokens.size(); ++id)
    if (data.tokens[id].size() == 1 && kinds[id] == TokenKind::kOrdinary)
      present[static_cast<unsigned char>(data.tokens[id][0])] = true;
  for (size_t byte = 0; byte < present.size(); ++byte)
    if (!present[byte]) return fail("tokens: none for the single byte {:#04x}; byte-level BPE needs all 256", byte);
  return {};
}

Status check_tokens(const TokenizerData& data, std::span<const TokenKind> kinds) {
  std::array<std::vector<HashedToken>, 3> groups;
  constexpr std::array kNames = {"tokens", "special tokens", "added tokens"};
  size_t total = 0;
  for (uint32_t id = 0; id < data.tokens.size(); ++id) {
    const std::string& token = data.tokens[id];
    if (token.empty() && data.special[id]) return fail("special token {}: has no name", id);
    if (token.empty() && kinds[id] == TokenKind::kAdded) return fail("added token {}: has no bytes", id);
    if (token.empty()) continue;
    if (token.size() > kMaxBlobBytes - total) return fail("tokens: more than {} bytes together", kMaxBlobBytes);
    total += token.size();
    if (kinds[id] != TokenKind::kByte)
      groups[static_cast<size_t>(kinds[id])].push_back({xxh3(std::as_bytes(std::span(token))), id});
  }
  if (data.pre_tokenizer != PreTokenizer::kSentencePiece) RETURN_IF_ERROR(check_single_bytes(data, kinds));
  for (size_t group = 0; group < groups.size(); ++group) {
    if (const auto same = find_duplicate(data, groups[group]))
      return fail("{} {} and {}: both are {}", kNames[group], same->first, same->second,
                  quoted(data.tokens[same->first]));
  }
  return {};
}

/// The lists of added tokens and of byte tokens, apart from the bytes.
Status check_lists(const TokenizerData& data) {
  std::vector<bool> used = data.special;
  const auto take = [&](std::string_view field, TokenId id) -> Status {
    if (id < 0 || static_cast<size_t>(id) >= data.tokens.size())
      return fail("{}: found token {}, but there are {} tokens", field, id, data.tokens.size());
    if (used[id])
      return fail("{}: token {} is {}, which is special or in another list", field, id, quoted(data.tokens[id]));
    used[id] = true;
    return {};
  };
  for (const auto* ids : {&data.added, &data.added_after_nfc}) {
    const std::string_view field = ids == &data.added ? "added tokens" : "added tokens after NFC";
    for (size_t i = 0; i < ids->size(); ++i) {
      RETURN_IF_ERROR(take(field, (*ids)[i]));
      if (i > 0 && (*ids)[i] <= (*ids)[i - 1])
        return fail("{}: found {} after {}, expected ascending ids", field, (*ids)[i], (*ids)[i - 1]);
    }
  }
  for (size_t byte = 0; byte < data.byte_tokens.size(); ++byte) {
    const TokenId id = data.byte_tokens[byte];
    RETURN_IF_ERROR(take("byte tokens", id));
    if (data.tokens[id] != std::string(1, static_cast<char>(byte)))
      return fail("byte tokens: token {} of byte {:#04x} is {}", id, byte, quoted(data.tokens[id]));
  }
  return {};
}

/// What goes with SentencePiece and what does not.
Status check_settings(const TokenizerData& data) {
  const bool characters = data.pre_tokenizer == PreTokenizer::kSentencePiece;
  const auto name = name_of(data.pre_tokenizer);
  if (data.byte_tokens.size() != (characters ? 256 : 0))
    return fail("byte tokens: found {}, expected {} with the {} pre-tokenizer", data.byte_tokens.size(),
                characters ? 256 : 0, name);
  if (characters ? data.ignore_merges || data.nfc || !data.added_after_nfc.empty()
                 : data.space_prefix != SpacePrefix::kNone || data.rank_by_result)
    return fail("flags: found some, or tokens to be found after NFC, that do not go with the {} pre-tokenizer", name);
  if (data.prefix_unless_space && data.space_prefix == SpacePrefix::kNone)
    return fail("flags: found when to leave out a space that is never put before a text");
  return {};
}

Status check_merge(const TokenizerData& data, std::span<const TokenKind> kinds, size_t rank) {
  const auto& merge = data.merges[rank];
  for (const auto& [name, id] :
       {std::pair{"left", merge.left}, std::pair{"right", merge.right}, std::pair{"result", merge.result}}) {
    if (id < 0 || static_cast<size_t>(id) >= data.tokens.size())
      return fail("merge {}: {} is token {}, but there are {} tokens", rank, name, id, data.tokens.size());
    if (data.special[id]) return fail("merge {}: {} is the special token {}", rank, name, quoted(data.tokens[id]));
    if (kinds[id] == TokenKind::kByte) return fail("merge {}: {} is token {}, which stands for a byte", rank, name, id);
    if (data.tokens[id].empty()) return fail("merge {}: {} is token {}, which has no bytes", rank, name, id);
  }
  const std::string& left = data.tokens[merge.left];
  const std::string& right = data.tokens[merge.right];
  const std::string& result = data.tokens[merge.result];
  if (result.size() != left.size() + right.size() || result.compare(0, left.size(), left) != 0 ||
      result.compare(left.size(), right.size(), right) != 0)
    return fail("merge {}: {} and {} do not make its result {}", rank, quoted(left), quoted(right), quoted(result));
  return {};
}

Status check_merges(const TokenizerData& data, std::span<const TokenKind> kinds) {
  if (data.merges.size() > kMaxMerges) return fail("merges: found {}, at most {} fit", data.merges.size(), kMaxMerges);
  std::vector<uint64_t> pairs;
  pairs.reserve(data.merges.size());
  for (size_t rank = 0; rank < data.merges.size(); ++rank) {
    RETURN_IF_ERROR(check_merge(data, kinds, rank));
    pairs.push_back(static_cast<uint64_t>(data.merges[rank].left) << 32 |
                    static_cast<uint32_t>(data.merges[rank].right));
  }
  std::sort(pairs.begin(), pairs.end());
  const auto twice = std::adjacent_find(pairs.begin(), pairs.end());
  if (twice != pairs.end())
    return fail("merges: {} and {} are given twice", quoted(data.tokens[*twice >> 32]),
                quoted(data.tokens[*twice & 0xffffffffu]));
  return {};
}

Status check_marker(const TokenizerData& data, std::string_view field, TokenId id) {
  if (id < 0 || static_cast<size_t>(id) >= data.tokens.size())
    return fail("{}: found token {}, but there are {} tokens", field, id, data.tokens.size());
  if (!data.special[id]) return fail("{}: token {} is {}, which is not special", field, id, quoted(data.tokens[id]));
  return {};
}

template <class T>
void append(std::string& out, std::span<const T> values) {
  const auto bytes = std::as_bytes(values);
  const size_t before = out.size();
  out.resize(before + bytes.size());
  if (!bytes.empty()) std::memcpy(out.data() + before, bytes.data(), bytes.size());
}

/// Takes arrays off the front of the section; each is checked against what is left before it is allocated.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  template <class T>
  Result<std::vector<T>> take(std::string_view field, size_t count) {
    if (count > bytes_.size() / sizeof(T))
      return fail("{}: {} of {} bytes each announced, but {} bytes are left", field, count, sizeof(T), bytes_.size());
    std::vector<T> out(count);
    if (count > 0) std::memcpy(out.data(), bytes_.data(), count * sizeof(T));
    bytes_ = bytes_.subspan(count * sizeof(T));
    return out;
  }

  size_t left() const { return bytes_.size(); }

 private:
  std::span<const std::byte> bytes_;
};

Result<Head> read_head(Reader& reader) {
  ASSIGN_OR_RETURN(const auto heads, reader.take<Head>("head", 1));
  const Head& head = heads[0];
  RETURN_IF_ERROR(check_kinds(head.pre_tokenizer, head.chat_layout));
  if ((head.flags & ~kKnownFlags) != 0)
    return fail("flags: found {:#x}, this version knows {:#x}", head.flags, kKnownFlags);
  constexpr uint32_t kBoth = kFlagSpaceBeforeText | kFlagSpaceBeforeStretch;
  if ((head.flags & kBoth) == kBoth) return fail("flags: found {:#x}, which says twice where a space goes", head.flags);
  if (std::any_of(head.reserved.begin(), head.reserved.end(), [](uint32_t word) { return word != 0; }))
    return fail("reserved words: found other than 0, this version knows no meaning of theirs");
  return head;
}

Result<std::vector<std::string>> read_tokens(Reader& reader, const Head& head) {
  ASSIGN_OR_RETURN(const auto ends, reader.take<uint32_t>("token ends", head.tokens));
  ASSIGN_OR_RETURN(const auto blob, reader.take<char>("token bytes", head.blob_bytes));
  std::vector<std::string> tokens(ends.size());
  uint32_t begin = 0;
  for (size_t id = 0; id < ends.size(); ++id) {
    if (ends[id] < begin || ends[id] > blob.size())
      return fail("token {}: ends at byte {}, not between {} and {}", id, ends[id], begin, blob.size());
    tokens[id].assign(blob.data() + begin, ends[id] - begin);
    begin = ends[id];
  }
  if (begin != blob.size()) return fail("token bytes: {} of {} belong to no token", blob.size() - begin, blob.size());
  return tokens;
}

Result<std::vector<bool>> read_special(Reader& reader, const Head& head) {
  ASSIGN_OR_RETURN(const auto ids, reader.take<uint32_t>("special tokens", head.special));
  std::vector<bool> special(head.tokens);
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= special.size())
      return fail("special tokens: found token {}, but there are {} tokens", ids[i], special.size());
    if (i > 0 && ids[i] <= ids[i - 1])
      return fail("special tokens: found {} after {}, expected ascending ids", ids[i], ids[i - 1]);
    special[ids[i]] = true;
  }
  return special;
}

}  // namespace

std::string_view name_of(PreTokenizer kind) {
  switch (kind) {
    case PreTokenizer::kLlama3:
      return "llama3";
    case PreTokenizer::kGpt2:
      return "gpt2";
    case PreTokenizer::kQwen2:
      return "qwen2";
    case PreTokenizer::kSentencePiece:
      return "sentencepiece";
  }
  return "unknown";
}

Status validate(const TokenizerData& data) {
  RETURN_IF_ERROR(check_kinds(static_cast<uint32_t>(data.pre_tokenizer), static_cast<uint32_t>(data.chat.layout)));
  constexpr size_t kMaxTokens = std::numeric_limits<TokenId>::max();
  if (data.tokens.size() < 256 || data.tokens.size() > kMaxTokens)
    return fail("tokens: found {}, expected 256 to {}", data.tokens.size(), kMaxTokens);
  if (data.special.size() != data.tokens.size())
    return fail("special: {} entries for {} tokens", data.special.size(), data.tokens.size());
  RETURN_IF_ERROR(check_settings(data));
  RETURN_IF_ERROR(check_lists(data));
  const auto kinds = kinds_of(data);
  RETURN_IF_ERROR(check_tokens(data, kinds));
  RETURN_IF_ERROR(check_merges(data, kinds));
  if (data.bos != -1) RETURN_IF_ERROR(check_marker(data, "BOS", data.bos));
  for (size_t i = 0; i < data.stop_tokens.size(); ++i) {
    RETURN_IF_ERROR(check_marker(data, "stop tokens", data.stop_tokens[i]));
    if (i > 0 && data.stop_tokens[i] <= data.stop_tokens[i - 1])
      return fail("stop tokens: found {} after {}, expected ascending ids", data.stop_tokens[i],
                  data.stop_tokens[i - 1]);
  }
  return {};
}

std::string serialize(const TokenizerData& data) {
  std::string blob;
  std::vector<uint32_t> ends;
  std::vector<uint32_t> special;
  ends.reserve(data.tokens.size());
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    blob += data.tokens[id];
    ends.push_back(static_cast<uint32_t>(blob.size()));
    if (data.special[id]) special.push_back(static_cast<uint32_t>(id));
  }
  Head head{};
  head.pre_tokenizer = static_cast<uint32_t>(data.pre_tokenizer);
  head.chat_layout = static_cast<uint32_t>(data.chat.layout);
  head.flags = flags_of(data);
  head.bos = data.bos;
  head.tokens = static_cast<uint32_t>(data.tokens.size());
  head.merges = static_cast<uint32_t>(data.merges.size());
  head.special = static_cast<uint32_t>(special.size());
  head.stops = static_cast<uint32_t>(data.stop_tokens.size());
  head.added = static_cast<uint32_t>(data.added.size());
  head.added_after_nfc = static_cast<uint32_t>(data.added_after_nfc.size());
  head.byte_tokens = static_cast<uint32_t>(data.byte_tokens.size());
  head.blob_bytes = static_cast<uint32_t>(blob.size());
  const auto format = data.chat.layout == ChatLayout::kDescribed ? serialize(data.chat.described) : std::string();
  head.chat_format_bytes = static_cast<uint32_t>(format.size());

  std::string out;
  append<Head>(out, {&head, 1});
  append<uint32_t>(out, ends);
  out += blob;
  append<TokenizerData::Merge>(out, data.merges);
  append<uint32_t>(out, special);
  append<TokenId>(out, data.stop_tokens);
  out += format;
  append<TokenId>(out, data.added);
  append<TokenId>(out, data.added_after_nfc);
  append<TokenId>(out, data.byte_tokens);
  return out;
}

Result<TokenizerData> parse_tokenizer_data(std::span<const std::byte> bytes) {
  Reader reader(bytes);
  ASSIGN_OR_RETURN(const Head head, read_head(reader));
  TokenizerData data;
  data.pre_tokenizer = static_cast<PreTokenizer>(head.pre_tokenizer);
  data.chat.layout = static_cast<ChatLayout>(head.chat_layout);
  take_flags(head.flags, data);
  data.bos = head.bos;
  ASSIGN_OR_RETURN(data.tokens, read_tokens(reader, head));
  ASSIGN_OR_RETURN(data.merges, reader.take<TokenizerData::Merge>("merges", head.merges));
  ASSIGN_OR_RETURN(data.special, read_special(reader, head));
  ASSIGN_OR_RETURN(data.stop_tokens, reader.take<TokenId>("stop tokens", head.stops));
  ASSIGN_OR_RETURN(const auto format, reader.take<std::byte>("chat format", head.chat_format_bytes));
  if (data.chat.layout == ChatLayout::kDescribed) {
    ASSIGN_OR_RETURN(data.chat.described, parse_chat_format(format));
  } else if (!format.empty()) {
    return fail("chat format: found {} bytes, expected none for the {} layout", format.size(),
                name_of(data.chat.layout));
  }
  ASSIGN_OR_RETURN(data.added, reader.take<TokenId>("added tokens", head.added));
  ASSIGN_OR_RETURN(data.added_after_nfc, reader.take<TokenId>("added tokens after NFC", head.added_after_nfc));
  ASSIGN_OR_RETURN(data.byte_tokens, reader.take<TokenId>("byte tokens", head.byte_tokens));
  if (reader.left() > 0) return fail("{} bytes after the end: the file is damaged or newer", reader.left());
  RETURN_IF_ERROR(validate(data));
  return data;
}

}  // namespace onebit
