#include "format/h1b_file.h"

#include <algorithm>
#include <cstring>

#include "base/hash.h"
#include "base/utf8.h"
#include "format/h1b_layout.h"

namespace onebit {
namespace {

template <class T>
T load(std::span<const std::byte> bytes, uint64_t offset = 0) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

bool all_zero(const uint8_t* bytes, size_t n) {
  return std::all_of(bytes, bytes + n, [](uint8_t b) { return b == 0; });
}

/// Everything before the section table that decides whether the rest can be believed.
Status check_header(const h1b::Header& h, uint64_t file_bytes) {
  if (h.version == 1 || h.version == 2)
    return fail("header: version {} belongs to an earlier program: convert the original model again (halo convert)",
                h.version);
  if (h.version != h1b::kVersion)
    return fail("header: version is {}, this program reads version {}: use a newer program", h.version, h1b::kVersion);
  if (h.header_bytes != sizeof(h1b::Header))
    return fail("header: header_bytes is {}, expected {}", h.header_bytes, sizeof(h1b::Header));
  if (h.file_bytes != file_bytes)
    return fail("header: file_bytes says {} but the file has {}: it is {}; convert or download it again", h.file_bytes,
                file_bytes, file_bytes < h.file_bytes ? "cut short" : "damaged");
  const uint64_t hash = xxh3(std::as_bytes(std::span(&h, 1)).first(offsetof(h1b::Header, xxh3)));
  if (hash != h.xxh3)
    return fail(
        "header: checksum mismatch (expected {:016x}, read {:016x}): the file is damaged; convert or download it again",
        h.xxh3, hash);
  if (h.reserved0 != 0 || !all_zero(h.reserved1, sizeof h.reserved1))
    return fail("header: a reserved field is not 0: the file needs a newer program");
  return {};
}

Status check_ids(const h1b::DirectoryEntry& e) {
  if (e.kind < 1 || e.kind > 4) return fail("kind is {}, this version knows 1 to 4", e.kind);
  const auto packing = static_cast<Packing>(e.packing);
  if (!is_known(packing)) return fail("packing is {}, which this version does not know", e.packing);
  if (e.tile != static_cast<uint32_t>(tile_of(packing)))
    return fail("tile is {}, expected {} for {}", e.tile, static_cast<uint32_t>(tile_of(packing)), name_of(packing));
  if (e.granularity > 3) return fail("granularity is {}, this version knows 0 to 3", e.granularity);
  const bool grouped = e.granularity == static_cast<uint32_t>(ScaleGranularity::kGroup);
  if (grouped ? (e.group != 32 && e.group != 64 && e.group != 128) : e.group != 0)
    return fail("group is {}, expected {}", e.group, grouped ? "32, 64 or 128" : "0");
  const bool scaled = tile_of(packing) == Tile::kRows16;
  if (scaled != (e.granularity != 0))
    return fail("granularity is {}, but {} has {}", e.granularity, name_of(packing), scaled ? "scales" : "none");
  if (e.reserved0 != 0 || !all_zero(e.reserved1, sizeof e.reserved1)) return fail("a reserved field is not 0");
  return {};
}

/// Shape and size, once the ids are known to be sound.
Status check_shape(const h1b::DirectoryEntry& e) {
  constexpr uint64_t kMax = 1u << 22;  // the largest width and vocabulary that a config may have
  if (e.rows < 1 || e.rows > kMax) return fail("rows is {}, expected 1 to {}", e.rows, kMax);
  if (e.columns < 1 || e.columns > kMax) return fail("columns is {}, expected 1 to {}", e.columns, kMax);
  const auto packing = static_cast<Packing>(e.packing);
  if (packing == Packing::kS1_25 && e.columns % 4 != 0)
    return fail("columns is {}, expected a multiple of 4 for s1_25", e.columns);
  if (e.padded_rows != padded_rows(packing, e.rows))
    return fail("padded_rows is {}, expected {}", e.padded_rows, padded_rows(packing, e.rows));
  if (e.padded_columns != padded_columns(packing, e.columns))
    return fail("padded_columns is {}, expected {}", e.padded_columns, padded_columns(packing, e.columns));
  return {};
}

/// The name of entry `i`, a view into the mapped names.
Result<std::string_view> read_name(const h1b::DirectoryEntry& e, std::span<const std::byte> names, uint64_t i) {
  if (e.name_bytes < 1 || e.name_bytes > h1b::kMaxNameBytes || e.name_offset > names.size() ||
      e.name_bytes > names.size() - e.name_offset)
    return fail("directory: entry {}: name at {} of {} bytes is not inside the {} bytes of names", i, e.name_offset,
                e.name_bytes, names.size());
  const auto bytes = names.subspan(e.name_offset, e.name_bytes);
  const std::string_view name(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (!std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c <= '~'; }))
    return fail("directory: entry {}: name is {}, expected printable ASCII without spaces", i, printable(name));
  if (xxh3(bytes) != e.name_hash) return fail("directory: entry {}: name_hash does not match the name", i);
  return name;
}

/// The tensor that an entry describes, its bytes inside `file`. Tensors lie in the directory's order,
/// each from `free_from` on, and so cannot overlap.
Result<Tensor> read_entry(const h1b::DirectoryEntry& e, std::string_view name, std::span<const std::byte> file,
                          uint64_t free_from) {
  RETURN_IF_ERROR(check_ids(e));
  RETURN_IF_ERROR(check_shape(e));
  Tensor t;
  t.name = name;
  t.kind = static_cast<TensorKind>(e.kind);
  t.packing = static_cast<Packing>(e.packing);
  t.granularity = static_cast<ScaleGranularity>(e.granularity);
  t.group = e.group;
  t.rows = e.rows;
  t.columns = e.columns;
  t.offset = e.offset;
  t.xxh3 = e.xxh3;
  if (e.bytes != t.bytes()) return fail("bytes is {}, expected {}", e.bytes, t.bytes());
  if (e.offset % h1b::kTensorAlignment != 0 || e.offset < free_from || e.offset > file.size() ||
      e.bytes > file.size() - e.offset)
    return fail("offset is {}, expected a multiple of {} from {} with room for {} bytes before {}", e.offset,
                h1b::kTensorAlignment, free_from, e.bytes, file.size());
  t.data = file.subspan(e.offset, e.bytes);
  t.matrix = t.data.first(t.matrix_bytes());
  if (t.scales() > 0)
    t.scale_values = {reinterpret_cast<const float*>(t.data.data() + scales_offset(t.matrix_bytes())), t.scales()};
  return t;
}

}  // namespace

Result<H1bFile> H1bFile::open(const std::string& path) {
  ASSIGN_OR_RETURN(auto mapped, MappedFile::open(path));
  H1bFile file(std::move(mapped));
  auto status = file.read_sections();
  RETURN_IF_ERROR(file.check_readable());  // the better explanation of what the sections say
  if (!status) return fail_in(path, status.error());
  return file;
}

Status H1bFile::read_sections() {
  const auto bytes = file_.bytes();
  if (bytes.size() < sizeof(h1b::kMagic) || std::memcmp(bytes.data(), h1b::kMagic, sizeof h1b::kMagic) != 0)
    return fail("header: magic: not an .h1b model file (make one from a Hugging Face folder with halo convert)");
  if (bytes.size() < sizeof(h1b::Header))
    return fail(
        "header: the file has {} bytes, fewer than the header's {}: it is cut short; convert or download it again",
        bytes.size(), sizeof(h1b::Header));
  const auto header = load<h1b::Header>(bytes);
  RETURN_IF_ERROR(check_header(header, bytes.size()));
  identity_ = header.xxh3;

  parts_ = {{0, sizeof(h1b::Header)}};
  const auto section = [&](const char* name, const h1b::Section& s) -> Result<std::span<const std::byte>> {
    if (s.offset % h1b::kSectionAlignment != 0)
      return fail("header: {}.offset is {}, expected a multiple of {}", name, s.offset, h1b::kSectionAlignment);
    if (s.offset < parts_.back().second || s.offset > bytes.size())
      return fail("header: {}.offset is {}, expected {} to {}", name, s.offset, parts_.back().second, bytes.size());
    if (s.bytes > bytes.size() - s.offset)
      return fail("header: {}.bytes is {}, expected at most {}", name, s.bytes, bytes.size() - s.offset);
    const auto part = bytes.subspan(s.offset, s.bytes);
    if (const uint64_t hash = xxh3(part); hash != s.xxh3)
      return fail(
          "section {}: checksum mismatch (expected {:016x}, read {:016x}): the file is damaged; convert or "
          "download it again",
          name, s.xxh3, hash);
    parts_.emplace_back(s.offset, s.offset + s.bytes);
    return part;
  };
  ASSIGN_OR_RETURN(const auto config, section("config", header.config));
  RETURN_IF_ERROR(read_config(config));
  ASSIGN_OR_RETURN(const auto directory, section("directory", header.directory));
  ASSIGN_OR_RETURN(tokenizer_, section("tokenizer", header.tokenizer));
  ASSIGN_OR_RETURN(const auto rope, section("rope", header.rope));
  const uint64_t rope_bytes = uint64_t{config_.context} * config_.head_dim * sizeof(float);
  if (rope.size() != rope_bytes)
    return fail("header: rope.bytes is {}, expected {} for {} positions of {} pairs", rope.size(), rope_bytes,
                config_.context, config_.head_dim / 2);
  rope_ = {reinterpret_cast<const float*>(rope.data()), rope.size() / sizeof(float)};
  ASSIGN_OR_RETURN(const auto provenance, section("provenance", header.provenance));
  RETURN_IF_ERROR(read_provenance(provenance));
  return read_directory(directory, header.data_offset);
}

Status H1bFile::read_config(std::span<const std::byte> bytes) {
  if (bytes.size() != sizeof(h1b::Config))
    return fail("header: config.bytes is {}, expected {}", bytes.size(), sizeof(h1b::Config));
  const auto c = load<h1b::Config>(bytes);
  if (c.architecture != h1b::kArchitectureBitnet && c.architecture != h1b::kArchitectureByFlags)
    return fail("config: architecture is {}, this version knows 1 (bitnet) and 2 (told by flags)", c.architecture);
  const bool bitnet = c.architecture == h1b::kArchitectureBitnet;
  constexpr uint32_t kNormBits = h1b::kConfigSubNorms | h1b::kConfigHeadNorms | h1b::kConfigProjectionNorms;
  if ((c.flags & ~(h1b::kConfigTiedHead | (bitnet ? 0 : kNormBits))) != 0 || !all_zero(c.reserved, sizeof c.reserved))
    return fail("config: a reserved field is not 0: the file needs a newer program");
  const auto has = [&](uint32_t bit) { return (c.flags & bit) != 0; };
  config_ = {.norms = {.sub = bitnet || has(h1b::kConfigSubNorms),
                       .heads = has(h1b::kConfigHeadNorms),
                       .projections = has(h1b::kConfigProjectionNorms)},
             .activation = static_cast<Activation>(c.activation),
             .layers = c.layers,
             .hidden = c.hidden,
             .heads = c.heads,
             .kv_heads = c.kv_heads,
             .head_dim = c.head_dim,
             .ffn = c.ffn,
             .vocabulary = c.vocabulary,
             .context = c.context,
             .rms_epsilon = c.rms_epsilon,
             .rope_theta = c.rope_theta,
             .tied_head = has(h1b::kConfigTiedHead),
             .pooling = static_cast<Pooling>(c.pooling)};
  return validate(config_);
}

Status H1bFile::read_provenance(std::span<const std::byte> bytes) {
  const auto damaged = [&] { return fail("provenance: an entry runs past the section's {} bytes", bytes.size()); };
  auto rest = bytes;
  if (rest.size() < sizeof(uint32_t)) return damaged();
  const auto count = load<uint32_t>(rest);
  rest = rest.subspan(sizeof count);
  for (uint32_t i = 0; i < count; ++i) {
    if (rest.size() < 2 * sizeof(uint32_t)) return damaged();
    const uint64_t key_bytes = load<uint32_t>(rest);
    const uint64_t value_bytes = load<uint32_t>(rest, sizeof(uint32_t));
    rest = rest.subspan(2 * sizeof(uint32_t));
    if (key_bytes + value_bytes > rest.size()) return damaged();
    const std::string_view text(reinterpret_cast<const char*>(rest.data()), key_bytes + value_bytes);
    if (!utf8_valid(text)) return fail("provenance: entry {} is not UTF-8", i);
    provenance_.emplace_back(text.substr(0, key_bytes), text.substr(key_bytes));
    rest = rest.subspan(text.size());
  }
  if (!rest.empty()) return fail("provenance: {} bytes after the last entry", rest.size());
  return {};
}

Status H1bFile::read_directory(std::span<const std::byte> bytes, uint64_t data_offset) {
  if (bytes.size() < sizeof(uint64_t))
    return fail("header: directory.bytes is {}, expected at least {}", bytes.size(), sizeof(uint64_t));
  const auto count = load<uint64_t>(bytes);
  const auto entries = bytes.subspan(sizeof count);
  if (count > entries.size() / sizeof(h1b::DirectoryEntry))
    return fail("directory: count is {}, but {} bytes hold at most {} entries", count, bytes.size(),
                entries.size() / sizeof(h1b::DirectoryEntry));
  const auto names = entries.subspan(count * sizeof(h1b::DirectoryEntry));
  const uint64_t file_bytes = file_.bytes().size();
  if (data_offset % h1b::kTensorAlignment != 0 || data_offset < parts_.back().second || data_offset > file_bytes)
    return fail("header: data_offset is {}, expected a multiple of {} from {} to {}", data_offset,
                h1b::kTensorAlignment, parts_.back().second, file_bytes);
  uint64_t free_from = data_offset;
  tensors_.reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    const auto entry = load<h1b::DirectoryEntry>(entries, i * sizeof(h1b::DirectoryEntry));
    ASSIGN_OR_RETURN(const auto name, read_name(entry, names, i));
    auto tensor = read_entry(entry, name, file_.bytes(), free_from);
    if (!tensor) return fail("tensor {}: {}", name, tensor.error().message);
    free_from = tensor->offset + tensor->data.size();
    parts_.emplace_back(tensor->offset, free_from);
    if (!by_name_.emplace(name, tensors_.size()).second) return fail("tensor {}: stands twice in the directory", name);
    tensors_.push_back(*std::move(tensor));
  }
  return {};
}

std::string_view H1bFile::provenance(std::string_view key) const {
  for (const auto& [k, v] : provenance_)
    if (k == key) return v;
  return {};
}

const Tensor* H1bFile::find(std::string_view name) const {
  const auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : &tensors_[it->second];
}

Result<TokenizerData> H1bFile::tokenizer() const {
  auto data = parse_tokenizer_data(tokenizer_);
  RETURN_IF_ERROR(check_readable());  // the better explanation, and zeros may have been taken for tokens
  if (!data) return fail("{}: tokenizer: {}", path(), data.error().message);
  if (data->tokens.size() != config_.vocabulary)
    return fail("{}: tokenizer: {} tokens, expected the config's vocabulary of {}", path(), data->tokens.size(),
                config_.vocabulary);
  return data;
}

}  // namespace onebit
