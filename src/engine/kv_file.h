// A conversation's keys and values as a file, for the model that computed them and no other.
//
//   0  magic "1bitkv\0\0"      32  u32 tokens, a multiple of page_positions
//   8  u32 version, 1          36  u32 page_positions
//  12  u32 0                   40  u64 page_bytes
//  16  u64 the model's hash    48  u64 XXH3 of the tokens' bytes
//  24  u64 layout of a page    56  u64 XXH3 of the bytes before
//  64  i32 tokens, then each page and the XXH3 of its bytes; little-endian, no padding, nothing after.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"

namespace onebit {

/// `kv` holds whole pages of `tokens` only, and nobody writes to it meanwhile. The file appears whole or not at all.
/// Returns its size. Errors: the disk is full, …, the backend's pages are not for files.
Result<uint64_t> write_kv_file(const std::string& path, uint64_t model, const Backend& backend,
                               std::span<const TokenId> tokens, const KvCache& kv);

struct KvFile {
  std::vector<TokenId> tokens;
  std::unique_ptr<KvCache> kv;
};
/// Errors, before any page is read: it is no such file, of another model or another kind of pages, longer than the
/// model's context or than `most_pages`, cut short; then: a checksum that does not fit, no memory.
Result<KvFile> read_kv_file(const std::string& path, uint64_t model, Backend& backend, uint64_t most_pages);

}  // namespace onebit
