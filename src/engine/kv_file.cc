#include "engine/kv_file.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/atomic_file.h"
#include "base/hash.h"
#include "base/mapped_file.h"

namespace onebit {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr char kMagic[8] = {'1', 'b', 'i', 't', 'k', 'v', 0, 0};

struct Header {
  char magic[8];
  uint32_t version = 1, zero = 0;
  uint64_t model = 0, layout = 0;
  uint32_t tokens = 0, page_positions = 0;
  uint64_t page_bytes = 0;
  uint64_t tokens_hash = 0, header_hash = 0;
};
static_assert(sizeof(Header) == 64 && offsetof(Header, header_hash) == 56);

std::span<const std::byte> bytes_of(const Header& header) {
  return std::as_bytes(std::span(&header, 1));
}

uint64_t hash_of(const Header& header) {
  return xxh3(bytes_of(header).first(offsetof(Header, header_hash)));
}

Header header_for(uint64_t model, const Backend& backend, std::span<const TokenId> tokens) {
  const auto usage = backend.kv_usage();
  Header h{.magic = {},
           .model = model,
           .layout = backend.kv_page_layout(),
           .tokens = static_cast<uint32_t>(tokens.size()),
           .page_positions = usage.page_positions,
           .page_bytes = usage.page_bytes,
           .tokens_hash = xxh3(std::as_bytes(tokens))};
  std::memcpy(h.magic, kMagic, sizeof(kMagic));
  h.header_hash = hash_of(h);
  return h;
}

/// What is wrong with a header, and with the size of its file.
Status check(const Header& h, uint64_t file_bytes, uint64_t model, const Backend& backend, uint64_t most_pages) {
  if (std::memcmp(h.magic, kMagic, sizeof(kMagic)) != 0) return fail("this is no saved conversation");
  if (h.version != 1 || h.zero != 0) return fail("its version is {}, and this program reads 1", h.version);
  if (h.header_hash != hash_of(h)) return fail("its header is damaged");
  if (h.model != model) return fail("it is of another model");
  const auto usage = backend.kv_usage();
  if (h.layout != backend.kv_page_layout() || h.page_bytes != usage.page_bytes ||
      h.page_positions != usage.page_positions)
    return fail("its keys and values are kept in another way (--kv, --device)");
  if (h.tokens == 0 || h.tokens % h.page_positions != 0 || h.tokens > backend.config().context)
    return fail("it has {} tokens, and this model's context holds {}", h.tokens, backend.config().context);
  const uint64_t pages = h.tokens / h.page_positions;
  if (pages > most_pages) return fail("it has {} KV pages, and there is room for {}", pages, most_pages);
  const uint64_t expected = sizeof(Header) + h.tokens * sizeof(TokenId) + pages * (h.page_bytes + sizeof(uint64_t));
  if (file_bytes != expected) return fail("it has {} bytes, and {} were expected", file_bytes, expected);
  return {};
}

Result<KvFile> read(std::span<const std::byte> bytes, uint64_t model, Backend& backend, uint64_t most_pages) {
  Header h;
  if (bytes.size() < sizeof(h)) return fail("this is no saved conversation");
  std::memcpy(&h, bytes.data(), sizeof(h));
  RETURN_IF_ERROR(check(h, bytes.size(), model, backend, most_pages));
  KvFile file;
  file.tokens.resize(h.tokens);
  const auto tokens = bytes.subspan(sizeof(h), h.tokens * sizeof(TokenId));
  std::memcpy(file.tokens.data(), tokens.data(), tokens.size());
  if (h.tokens_hash != xxh3(std::as_bytes(std::span(file.tokens)))) return fail("its tokens are damaged");
  const auto in_vocabulary = [&](TokenId id) {
    return id >= 0 && static_cast<uint32_t>(id) < backend.config().vocabulary;
  };
  if (!std::all_of(file.tokens.begin(), file.tokens.end(), in_vocabulary))
    return fail("a token is outside the vocabulary");
  auto rest = bytes.subspan(sizeof(h) + tokens.size());
  ASSIGN_OR_RETURN(file.kv, backend.read_kv(h.tokens, [&](std::span<std::byte> page) -> Status {
    uint64_t hash = 0;
    std::memcpy(page.data(), rest.data(), page.size());
    std::memcpy(&hash, rest.data() + page.size(), sizeof(hash));
    rest = rest.subspan(page.size() + sizeof(hash));
    if (hash != xxh3(page)) return fail("its keys and values are damaged");
    return {};
  }));
  return file;
}

}  // namespace

Result<uint64_t> write_kv_file(const std::string& path, uint64_t model, const Backend& backend,
                               std::span<const TokenId> tokens, const KvCache& kv) {
  if (tokens.empty() || tokens.size() != kv.length() || kv.length() % backend.kv_usage().page_positions != 0)
    return fail("{}: whole pages of a conversation are kept, and these are {} tokens", path, kv.length());
  ASSIGN_OR_RETURN(auto file, AtomicFile::create(path, 0600));  // what was said in a conversation can be read from it
  const auto header = header_for(model, backend, tokens);
  RETURN_IF_ERROR(file.write(bytes_of(header)));
  RETURN_IF_ERROR(file.write(std::as_bytes(tokens)));
  auto written = backend.write_kv(kv, [&](std::span<const std::byte> page) -> Status {
    const uint64_t hash = xxh3(page);
    RETURN_IF_ERROR(file.write(page));
    return file.write(std::as_bytes(std::span(&hash, 1)));
  });
  if (!written) return tl::unexpected(std::move(written).error());
  const uint64_t bytes = file.position();
  RETURN_IF_ERROR(file.commit());
  return bytes;
}

Result<KvFile> read_kv_file(const std::string& path, uint64_t model, Backend& backend, uint64_t most_pages) {
  ASSIGN_OR_RETURN(const auto mapped, MappedFile::open(path));
  auto file = read(mapped.bytes(), model, backend, most_pages);
  if (auto readable = mapped.check_readable(); !readable) return tl::unexpected(std::move(readable).error());
  if (!file) return fail_in(path, file.error());
  return file;
}

}  // namespace onebit
