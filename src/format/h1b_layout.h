// The fixed structures of an .h1b file, version 3, as they lie in it: little-endian, no implicit padding.
// docs/h1b.md tells the same byte by byte; h1b_writer.h and h1b_file.h write and read it.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace onebit::h1b {

static_assert(std::endian::native == std::endian::little, "the file is mapped as it is: a little-endian machine");

inline constexpr char kMagic[4] = {'H', '1', 'B', '\0'};
inline constexpr uint32_t kVersion = 3;
inline constexpr uint64_t kSectionAlignment = 64;
inline constexpr uint64_t kTensorAlignment = 4096;
/// Bytes of a tensor's name: more than any name needs, few enough for an error message.
inline constexpr uint32_t kMaxNameBytes = 64;

struct Section {
  uint64_t offset;  // from the beginning of the file, a multiple of 64
  uint64_t bytes;
  uint64_t xxh3;  // of these bytes
};

struct Header {
  char magic[4];
  uint32_t version;
  uint32_t header_bytes;  // 256
  uint32_t reserved0;     // 0
  uint64_t file_bytes;    // a file of another size is damaged
  Section config;
  Section directory;
  Section tokenizer;
  Section rope;
  Section provenance;
  uint64_t data_offset;   // of the first tensor, a multiple of 4096
  uint8_t reserved1[96];  // 0
  uint64_t xxh3;          // of the 248 bytes before
};
static_assert(sizeof(Header) == 256 && std::is_trivially_copyable_v<Header>);

/// Bits of Config::flags.
inline constexpr uint32_t kConfigTiedHead = 1, kConfigSubNorms = 2, kConfigHeadNorms = 4, kConfigProjectionNorms = 8;
/// Config::architecture: sub-norms and no others, no bit of norms set (all that early programs know); or the bits tell.
inline constexpr uint32_t kArchitectureBitnet = 1, kArchitectureByFlags = 2;

struct Config {
  uint32_t architecture;
  uint32_t activation;
  uint32_t layers;
  uint32_t hidden;
  uint32_t heads;
  uint32_t kv_heads;
  uint32_t head_dim;
  uint32_t ffn;
  uint32_t vocabulary;
  uint32_t context;
  float rms_epsilon;
  uint32_t flags;
  double rope_theta;
  uint32_t pooling;
  uint8_t reserved[196];  // 0
};
static_assert(sizeof(Config) == 256 && std::is_trivially_copyable_v<Config>);

/// The directory section: uint64 count, then `count` entries, then the names one after another.
struct DirectoryEntry {
  uint64_t name_hash;    // xxh3 of the name
  uint32_t name_offset;  // from the beginning of the names
  uint32_t name_bytes;
  uint32_t kind;         // TensorKind
  uint32_t packing;      // Packing
  uint32_t tile;         // Tile
  uint32_t granularity;  // ScaleGranularity
  uint32_t group;        // columns a scale serves; 0 unless granularity is kGroup
  uint32_t reserved0;    // 0
  uint64_t rows;
  uint64_t columns;
  uint64_t padded_rows;
  uint64_t padded_columns;
  uint64_t offset;        // a multiple of 4096
  uint64_t bytes;         // matrix, zeros to the next multiple of 64, scales
  uint64_t xxh3;          // of these bytes
  uint8_t reserved1[32];  // 0
};
static_assert(sizeof(DirectoryEntry) == 128 && std::is_trivially_copyable_v<DirectoryEntry>);

}  // namespace onebit::h1b
