// Changes to the bytes of a model file, with its checksums made to fit again, so that what comes after
// the checksums is reached.
#pragma once

#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "format/h1b_layout.h"

namespace onebit::test {

/// One number of a fixed structure.
struct Field {
  const char* name;
  size_t offset;  // inside the structure
  size_t bytes;   // 1, 4 or 8
};

std::span<const Field> header_fields();
std::span<const Field> config_fields();
std::span<const Field> entry_fields();

/// `bytes` bytes of `file` at `offset` as a number, and the other way.
uint64_t get(const std::string& file, size_t offset, size_t bytes = 8);
void put(std::string& file, size_t offset, size_t bytes, uint64_t value);

/// Where things lie in a sound file.
h1b::Header header_of(const std::string& file);
size_t entry_count(const std::string& file);
size_t entry_at(const std::string& file, size_t index);
h1b::DirectoryEntry entry_of(const std::string& file, size_t index);
std::string name_of_entry(const std::string& file, size_t index);

/// Sets every checksum that can be computed without leaving the file: of tensors and names, of sections, of
/// the header. Takes any bytes at all.
void repair_checksums(std::string& file);

}  // namespace onebit::test
