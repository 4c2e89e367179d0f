#include "landing/words.h"

#include <algorithm>

#include "base/utf8.h"

namespace onebit::landing {
namespace {

struct Range {
  char32_t first, last;
};

/// Controls, marks of direction and other invisible ones but the joiners that some scripts need; private use; what is
/// never a character.
constexpr Range kUnfit[] = {
    {0, 0x1f},          {0x7f, 0x9f},       {0xad, 0xad},        {0x61c, 0x61c},   {0x115f, 0x1160}, {0x180e, 0x180e},
    {0x200b, 0x200b},   {0x200e, 0x200f},   {0x2028, 0x202e},    {0x2060, 0x206f}, {0x3164, 0x3164}, {0xe000, 0xf8ff},
    {0xfdd0, 0xfdef},   {0xfeff, 0xfeff},   {0xffa0, 0xffa0},    {0xfff0, 0xfffb}, {0xfffd, 0xffff}, {0x1fffe, 0x1ffff},
    {0x2fffe, 0x2ffff}, {0x3fffe, 0x3ffff}, {0xe0000, 0x10ffff},
};

bool fit(char32_t c) {
  return std::none_of(std::begin(kUnfit), std::end(kUnfit),
                      [&](const Range& range) { return c >= range.first && c <= range.last; });
}

}  // namespace

std::string fit_to_show(std::string_view text, size_t limit) {
  constexpr std::string_view kMark = "\xEF\xBF\xBD";
  std::string shown;
  while (!text.empty()) {
    const auto character = utf8_front(text);
    const bool good = character.length > 0 && fit(character.code_point);
    const auto piece = good ? text.substr(0, character.length) : shown.ends_with(kMark) ? std::string_view() : kMark;
    if (shown.size() + piece.size() > limit) break;
    shown += piece;
    text.remove_prefix(std::max<size_t>(character.length, 1));
  }
  return shown;
}

}  // namespace onebit::landing
