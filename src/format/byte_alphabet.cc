#include "format/byte_alphabet.h"

#include <array>
#include <cstdint>

#include "base/utf8.h"

namespace onebit {
namespace {

struct AlphabetTables {
  std::array<std::string, 256> character;
  std::array<int16_t, 0x100 + 68> byte{};  // 68 bytes are not printable; -1: none

  AlphabetTables() {
    byte.fill(-1);
    char32_t next = 0x100;
    for (char32_t value = 0; value < 256; ++value) {
      const bool printable = (value >= 0x21 && value <= 0x7e) || (value >= 0xa1 && value != 0xad);
      const char32_t stands = printable ? value : next++;
      utf8_append(character[value], stands);
      byte[stands] = static_cast<int16_t>(value);
    }
  }
};

const AlphabetTables& alphabet() {
  static const AlphabetTables instance;
  return instance;
}

}  // namespace

std::string bytes_to_alphabet(std::string_view bytes) {
  std::string out;
  for (const char byte : bytes) out += alphabet().character[static_cast<unsigned char>(byte)];
  return out;
}

std::optional<std::string> alphabet_to_bytes(std::string_view text) {
  const auto& byte = alphabet().byte;
  std::string out;
  while (!text.empty()) {
    const auto character = utf8_front(text);
    if (character.length == 0 || character.code_point >= byte.size() || byte[character.code_point] < 0)
      return std::nullopt;
    out += static_cast<char>(byte[character.code_point]);
    text.remove_prefix(character.length);
  }
  return out;
}

}  // namespace onebit
