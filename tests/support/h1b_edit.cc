#include "tests/support/h1b_edit.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/hash.h"

namespace onebit::test {
namespace {

using h1b::Config;
using h1b::DirectoryEntry;
using h1b::Header;

#define ONEBIT_FIELD(structure, member)                             \
  Field {                                                           \
    #member, offsetof(structure, member), sizeof(structure::member) \
  }
#define ONEBIT_SECTION_FIELDS(section)                                                                                 \
  Field{#section ".offset", offsetof(Header, section), 8}, Field{#section ".bytes", offsetof(Header, section) + 8, 8}, \
      Field{#section ".xxh3", offsetof(Header, section) + 16, 8}

constexpr std::array kHeaderFields{
    ONEBIT_FIELD(Header, magic),        ONEBIT_FIELD(Header, version),
    ONEBIT_FIELD(Header, header_bytes), ONEBIT_FIELD(Header, reserved0),
    ONEBIT_FIELD(Header, file_bytes),   ONEBIT_SECTION_FIELDS(config),
    ONEBIT_SECTION_FIELDS(directory),   ONEBIT_SECTION_FIELDS(tokenizer),
    ONEBIT_SECTION_FIELDS(rope),        ONEBIT_SECTION_FIELDS(provenance),
    ONEBIT_FIELD(Header, data_offset),  Field{"reserved1", offsetof(Header, reserved1) + 88, 8},
    ONEBIT_FIELD(Header, xxh3)};

constexpr std::array kConfigFields{ONEBIT_FIELD(Config, architecture),
                                   ONEBIT_FIELD(Config, activation),
                                   ONEBIT_FIELD(Config, layers),
                                   ONEBIT_FIELD(Config, hidden),
                                   ONEBIT_FIELD(Config, heads),
                                   ONEBIT_FIELD(Config, kv_heads),
                                   ONEBIT_FIELD(Config, head_dim),
                                   ONEBIT_FIELD(Config, ffn),
                                   ONEBIT_FIELD(Config, vocabulary),
                                   ONEBIT_FIELD(Config, context),
                                   ONEBIT_FIELD(Config, rms_epsilon),
                                   ONEBIT_FIELD(Config, flags),
                                   ONEBIT_FIELD(Config, rope_theta),
                                   ONEBIT_FIELD(Config, pooling),
                                   Field{"reserved", offsetof(Config, reserved) + 188, 8}};

constexpr std::array kEntryFields{ONEBIT_FIELD(DirectoryEntry, name_hash),
                                  ONEBIT_FIELD(DirectoryEntry, name_offset),
                                  ONEBIT_FIELD(DirectoryEntry, name_bytes),
                                  ONEBIT_FIELD(DirectoryEntry, kind),
                                  ONEBIT_FIELD(DirectoryEntry, packing),
                                  ONEBIT_FIELD(DirectoryEntry, tile),
                                  ONEBIT_FIELD(DirectoryEntry, granularity),
                                  ONEBIT_FIELD(DirectoryEntry, group),
                                  ONEBIT_FIELD(DirectoryEntry, reserved0),
                                  ONEBIT_FIELD(DirectoryEntry, rows),
                                  ONEBIT_FIELD(DirectoryEntry, columns),
                                  ONEBIT_FIELD(DirectoryEntry, padded_rows),
                                  ONEBIT_FIELD(DirectoryEntry, padded_columns),
                                  ONEBIT_FIELD(DirectoryEntry, offset),
                                  ONEBIT_FIELD(DirectoryEntry, bytes),
                                  ONEBIT_FIELD(DirectoryEntry, xxh3),
                                  Field{"reserved1", offsetof(DirectoryEntry, reserved1) + 24, 8}};

#undef ONEBIT_SECTION_FIELDS
#undef ONEBIT_FIELD

template <class T>
T load(const std::string& file, size_t offset) {
  T value;
  std::memcpy(&value, file.data() + offset, sizeof value);
  return value;
}

template <class T>
void store(std::string& file, size_t offset, const T& value) {
  std::memcpy(file.data() + offset, &value, sizeof value);
}

/// The checksum of a stretch; none where it leaves the file.
std::optional<uint64_t> checksum(const std::string& file, uint64_t offset, uint64_t bytes) {
  if (offset > file.size() || bytes > file.size() - offset) return std::nullopt;
  return xxh3(std::as_bytes(std::span(file)).subspan(offset, bytes));
}

void repair_entries(std::string& file, const h1b::Section& directory) {
  if (!checksum(file, directory.offset, directory.bytes) || directory.bytes < sizeof(uint64_t)) return;
  const uint64_t room = (directory.bytes - sizeof(uint64_t)) / sizeof(DirectoryEntry);
  const uint64_t count = std::min(load<uint64_t>(file, directory.offset), room);
  const uint64_t entries = directory.offset + sizeof(uint64_t);
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t at = entries + i * sizeof(DirectoryEntry);
    auto entry = load<DirectoryEntry>(file, at);
    const uint64_t name = entries + count * sizeof(DirectoryEntry) + entry.name_offset;
    if (const auto hash = checksum(file, name, entry.name_bytes)) entry.name_hash = *hash;
    if (const auto hash = checksum(file, entry.offset, entry.bytes)) entry.xxh3 = *hash;
    store(file, at, entry);
  }
}

}  // namespace

std::span<const Field> header_fields() {
  return kHeaderFields;
}
std::span<const Field> config_fields() {
  return kConfigFields;
}
std::span<const Field> entry_fields() {
  return kEntryFields;
}

uint64_t get(const std::string& file, size_t offset, size_t bytes) {
  uint64_t value = 0;
  std::memcpy(&value, file.data() + offset, bytes);
  return value;
}

void put(std::string& file, size_t offset, size_t bytes, uint64_t value) {
  std::memcpy(file.data() + offset, &value, bytes);
}

Header header_of(const std::string& file) {
  return load<Header>(file, 0);
}

size_t entry_count(const std::string& file) {
  return get(file, header_of(file).directory.offset);
}

size_t entry_at(const std::string& file, size_t index) {
  return header_of(file).directory.offset + sizeof(uint64_t) + index * sizeof(DirectoryEntry);
}

DirectoryEntry entry_of(const std::string& file, size_t index) {
  return load<DirectoryEntry>(file, entry_at(file, index));
}

std::string name_of_entry(const std::string& file, size_t index) {
  const auto entry = entry_of(file, index);
  return file.substr(entry_at(file, entry_count(file)) + entry.name_offset, entry.name_bytes);
}

void repair_checksums(std::string& file) {
  if (file.size() < sizeof(Header)) return;
  auto header = header_of(file);
  repair_entries(file, header.directory);
  for (auto* s : {&header.config, &header.directory, &header.tokenizer, &header.rope, &header.provenance})
    if (const auto hash = checksum(file, s->offset, s->bytes)) s->xxh3 = *hash;
  header.xxh3 = xxh3(std::as_bytes(std::span(&header, 1)).first(offsetof(Header, xxh3)));
  store(file, 0, header);
}

}  // namespace onebit::test
