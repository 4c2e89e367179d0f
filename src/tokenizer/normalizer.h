// Unicode's normalization form C.
#pragma once

#include <string>
#include <string_view>

namespace onebit {

/// NFC of `text` (Unicode Standard Annex 15): `text` itself where it has no code point from U+0300 on, otherwise
/// `buffer`. Bytes that are not UTF-8 stay as they are, and the valid stretches between them are texts of their own.
/// O(n log n) whatever the text. By Unicode's stability policy the version of utf8proc's tables makes no difference to
/// characters that were assigned in it: only combining characters younger than Unicode 15 could.
std::string_view to_nfc(std::string_view text, std::string& buffer);

}  // namespace onebit
