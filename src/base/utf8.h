// UTF-8 as Unicode 15, table 3-7, defines it: no overlong forms, no surrogates, nothing past U+10FFFF.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace onebit {

struct Utf8Character {
  char32_t code_point = 0;
  size_t length = 0;  // bytes; 0: the bytes at hand do not begin a valid character
};

/// The character at the front of `text`; length 0 where it is invalid, cut short or absent.
Utf8Character utf8_front(std::string_view text);

/// Bytes at the end of `text` that begin a character which further bytes could complete (0 to 3).
size_t utf8_incomplete_suffix(std::string_view text);

bool utf8_valid(std::string_view text);

void utf8_append(std::string& out, char32_t code_point);

/// A copy in which each maximal invalid part became U+FFFD, as WHATWG's decoder does it.
std::string utf8_replace_invalid(std::string_view text);

/// `bytes` for an error message: other than printable ASCII as \x1b, cut with … where it would pass `limit` characters.
std::string printable(std::string_view bytes, size_t limit = 40);

/// The Unicode property White_Space, plus U+001C..1F, which Python's str.strip() removes too.
bool is_white_space(char32_t code_point);

/// Without white space at either end (the chat templates' `trim` filter).
std::string_view trim_white_space(std::string_view text);

/// Of a URL's part: %XX is a byte (RFC 3986); what is not well-formed stays as it is.
std::string percent_decoded(std::string_view text);

}  // namespace onebit
