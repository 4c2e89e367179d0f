// The tokenizer section of an .h1b file, little-endian, nothing aligned or padded inside it:
//
//   offset  bytes            what
//   0       4                pre-tokenizer: 1 = LLaMA-3's pattern
//   4       4                chat layout: 0 none, 1 LLaMA-3, 2 BitNet 2B-4T, 3 ChatML, 4 Falcon3, 255 described
//   8       4                flags: bit 0 ignore_merges; the others 0
//   12      4                BOS token id, signed; -1: none
//   16      4                T: number of token ids, at least 256
//   20      4                M: number of merges
//   24      4                S: number of special tokens
//   28      4                E: number of stop tokens
//   32      4                B: bytes of all tokens together
//   36      4                F: bytes of the chat format; 0 unless the chat layout is 255
//   40      24               reserved, 0
//   64      4·T              for each id, where its bytes end in the blob (ascending; the last is B);
//                            they begin where the bytes of the id before end; no bytes: no such token
//   …       B                blob: the tokens' bytes one after another, in order of id
//   …       12·M             merges in order of rank: ids of left part, right part and result
//   …       4·S              ids of the special tokens, strictly ascending
//   …       4·E              ids of the stop tokens, strictly ascending
//   …       F                the chat format (format/chat_format.h)
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
constexpr uint32_t kKnownFlags = kFlagIgnoreMerges;
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
  std::array<uint32_t, 6> reserved;
};
static_assert(sizeof(Head) == 64);

Status check_kinds(uint32_t pre_tokenizer, uint32_t chat_layout) {
  if (pre_tokenizer != static_cast<uint32_t>(PreTokenizer::kLlama3))
    return fail("pre-tokenizer: found {}, this version knows 1 (llama3)", pre_tokenizer);
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

Status check_tokens(const TokenizerData& data) {
  std::array<bool, 256> byte_present{};
  std::vector<HashedToken> ordinary;
  std::vector<HashedToken> special;
  ordinary.reserve(data.tokens.size());
  size_t total = 0;
  for (uint32_t id = 0; id < data.tokens.size(); ++id) {
    const std::string& token = data.tokens[id];
    if (token.empty() && data.special[id]) return fail("special token {}: has no name", id);
    if (token.empty()) continue;
    if (token.size() > kMaxBlobBytes - total) return fail("tokens: more than {} bytes together", kMaxBlobBytes);
    total += token.size();
    (data.special[id] ? special : ordinary).push_back({xxh3(std::as_bytes(std::span(token))), id});
    if (token.size() == 1 && !data.special[id]) byte_present[static_cast<unsigned char>(token[0])] = true;
  }
  for (size_t byte = 0; byte < byte_present.size(); ++byte)
    if (!byte_present[byte])
      return fail("tokens: none for the single byte {:#04x}; byte-level BPE needs all 256", byte);
  for (auto* group : {&ordinary, &special}) {
    if (const auto same = find_duplicate(data, *group))
      return fail("{} {} and {}: both are {}", group == &special ? "special tokens" : "tokens", same->first,
                  same->second, quoted(data.tokens[same->first]));
  }
  return {};
}

Status check_merge(const TokenizerData& data, size_t rank) {
  const auto& merge = data.merges[rank];
  for (const auto& [name, id] :
       {std::pair{"left", merge.left}, std::pair{"right", merge.right}, std::pair{"result", merge.result}}) {
    if (id < 0 || static_cast<size_t>(id) >= data.tokens.size())
      return fail("merge {}: {} is token {}, but there are {} tokens", rank, name, id, data.tokens.size());
    if (data.special[id]) return fail("merge {}: {} is the special token {}", rank, name, quoted(data.tokens[id]));
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

Status check_merges(const TokenizerData& data) {
  if (data.merges.size() > kMaxMerges) return fail("merges: found {}, at most {} fit", data.merges.size(), kMaxMerges);
  std::vector<uint64_t> pairs;
  pairs.reserve(data.merges.size());
  for (size_t rank = 0; rank < data.merges.size(); ++rank) {
    RETURN_IF_ERROR(check_merge(data, rank));
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

Status validate(const TokenizerData& data) {
  RETURN_IF_ERROR(check_kinds(static_cast<uint32_t>(data.pre_tokenizer), static_cast<uint32_t>(data.chat.layout)));
  constexpr size_t kMaxTokens = std::numeric_limits<TokenId>::max();
  if (data.tokens.size() < 256 || data.tokens.size() > kMaxTokens)
    return fail("tokens: found {}, expected 256 to {}", data.tokens.size(), kMaxTokens);
  if (data.special.size() != data.tokens.size())
    return fail("special: {} entries for {} tokens", data.special.size(), data.tokens.size());
  RETURN_IF_ERROR(check_tokens(data));
  RETURN_IF_ERROR(check_merges(data));
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
  head.flags = data.ignore_merges ? kFlagIgnoreMerges : 0;
  head.bos = data.bos;
  head.tokens = static_cast<uint32_t>(data.tokens.size());
  head.merges = static_cast<uint32_t>(data.merges.size());
  head.special = static_cast<uint32_t>(special.size());
  head.stops = static_cast<uint32_t>(data.stop_tokens.size());
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
  return out + format;
}

Result<TokenizerData> parse_tokenizer_data(std::span<const std::byte> bytes) {
  Reader reader(bytes);
  ASSIGN_OR_RETURN(const Head head, read_head(reader));
  TokenizerData data;
  data.pre_tokenizer = static_cast<PreTokenizer>(head.pre_tokenizer);
  data.chat.layout = static_cast<ChatLayout>(head.chat_layout);
  data.ignore_merges = (head.flags & kFlagIgnoreMerges) != 0;
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
  if (reader.left() > 0) return fail("{} bytes after the end: the file is damaged or newer", reader.left());
  RETURN_IF_ERROR(validate(data));
  return data;
}

}  // namespace onebit
