// How a fuzz input describes a model file: a short one, though every tensor begins on a page of its own.
//
//   offset  bytes
//   0       1        flags: bit 0: the checksums are made to fit; bit 1: the last page is not filled up
//   then for each page of 4096 bytes
//           2        n, little-endian; taken modulo 4097
//           n        its first bytes, as far as the input goes; the others are 0
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>

namespace onebit::fuzz {

inline constexpr size_t kPage = 4096;
inline constexpr uint8_t kRepairChecksums = 1;
inline constexpr uint8_t kOpenEnd = 2;

inline std::string unfold(std::span<const uint8_t> input) {
  constexpr size_t kMaxPages = 64;
  std::string file;
  if (input.empty()) return file;
  const bool open_end = (input[0] & kOpenEnd) != 0;
  input = input.subspan(1);
  for (size_t page = 1; input.size() >= 2 && page <= kMaxPages; ++page) {
    const size_t wanted = static_cast<size_t>(input[0] | input[1] << 8) % (kPage + 1);
    input = input.subspan(2);
    const auto bytes = input.first(std::min(wanted, input.size()));
    file.append(bytes.begin(), bytes.end());
    input = input.subspan(bytes.size());
    if (input.size() >= 2 || !open_end) file.resize(page * kPage);
  }
  return file;
}

/// The inverse for a file of whole pages.
inline std::string fold(const std::string& file, uint8_t flags) {
  std::string out(1, static_cast<char>(flags));
  for (size_t at = 0; at < file.size(); at += kPage) {
    auto page = file.substr(at, kPage);
    page.erase(page.find_last_not_of('\0') + 1);
    out += static_cast<char>(page.size() & 0xffu);
    out += static_cast<char>(page.size() >> 8);
    out += page;
  }
  return out;
}

}  // namespace onebit::fuzz
