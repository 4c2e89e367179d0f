#include "base/utf8.h"

#include <fmt/format.h>

#include <algorithm>

namespace onebit {
namespace {

struct Lead {
  size_t length;       // of the whole character; 0: no character begins with this byte
  unsigned low, high;  // bounds of the second byte
};

Lead classify(unsigned char lead) {
  if (lead < 0x80) return {1, 0, 0};
  if (lead < 0xC2) return {0, 0, 0};
  if (lead < 0xE0) return {2, 0x80, 0xBF};
  if (lead < 0xF0) return {3, lead == 0xE0 ? 0xA0u : 0x80u, lead == 0xED ? 0x9Fu : 0xBFu};
  if (lead < 0xF5) return {4, lead == 0xF0 ? 0x90u : 0x80u, lead == 0xF4 ? 0x8Fu : 0xBFu};
  return {0, 0, 0};
}

/// How many bytes at the front agree with one well-formed character (its whole length if all do).
size_t matching_bytes(std::string_view text, const Lead& lead) {
  size_t n = 1;
  while (n < lead.length && n < text.size()) {
    const auto byte = static_cast<unsigned char>(text[n]);
    const unsigned low = n == 1 ? lead.low : 0x80u;
    const unsigned high = n == 1 ? lead.high : 0xBFu;
    if (byte < low || byte > high) break;
    ++n;
  }
  return n;
}

}  // namespace

Utf8Character utf8_front(std::string_view text) {
  if (text.empty()) return {};
  const auto first = static_cast<unsigned char>(text[0]);
  const Lead lead = classify(first);
  if (lead.length == 0 || matching_bytes(text, lead) < lead.length) return {};
  if (lead.length == 1) return {first, 1};
  char32_t code_point = first & (0x7Fu >> lead.length);
  for (size_t i = 1; i < lead.length; ++i) code_point = code_point << 6 | (static_cast<unsigned char>(text[i]) & 0x3Fu);
  return {code_point, lead.length};
}

size_t utf8_incomplete_suffix(std::string_view text) {
  for (size_t n = 1; n <= std::min<size_t>(3, text.size()); ++n) {
    const auto tail = text.substr(text.size() - n);
    const Lead lead = classify(static_cast<unsigned char>(tail[0]));
    if (lead.length > n && matching_bytes(tail, lead) == n) return n;
  }
  return 0;
}

bool utf8_valid(std::string_view text) {
  while (!text.empty()) {
    const auto character = utf8_front(text);
    if (character.length == 0) return false;
    text.remove_prefix(character.length);
  }
  return true;
}

void utf8_append(std::string& out, char32_t c) {
  const auto tail = [&](unsigned shift) { out += static_cast<char>(0x80u | ((c >> shift) & 0x3Fu)); };
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0u | (c >> 6));
    tail(0);
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0u | (c >> 12));
    tail(6);
    tail(0);
  } else {
    out += static_cast<char>(0xF0u | (c >> 18));
    tail(12);
    tail(6);
    tail(0);
  }
}

std::string utf8_replace_invalid(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    size_t n = utf8_front(text).length;
    if (n > 0) {
      out += text.substr(0, n);
    } else {
      const Lead lead = classify(static_cast<unsigned char>(text[0]));
      n = lead.length == 0 ? 1 : matching_bytes(text, lead);
      out += "\xEF\xBF\xBD";
    }
    text.remove_prefix(n);
  }
  return out;
}

std::string printable(std::string_view bytes, size_t limit) {
  std::string out;
  for (const char c : bytes) {
    const auto shown =
        c >= ' ' && c <= '~' ? std::string(1, c) : fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    if (out.size() + shown.size() > limit) return out + "…";
    out += shown;
  }
  return out;
}

bool is_white_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

std::string_view trim_white_space(std::string_view text) {
  while (!text.empty()) {
    const auto character = utf8_front(text);
    if (character.length == 0 || !is_white_space(character.code_point)) break;
    text.remove_prefix(character.length);
  }
  while (!text.empty()) {
    size_t n = 1;
    while (n < 4 && n < text.size() && (static_cast<unsigned char>(text[text.size() - n]) & 0xC0u) == 0x80u) ++n;
    const auto character = utf8_front(text.substr(text.size() - n));
    if (character.length != n || !is_white_space(character.code_point)) break;
    text.remove_suffix(n);
  }
  return text;
}

std::string percent_decoded(std::string_view text) {
  const auto digit = [&](size_t at) {
    const char c = at < text.size() ? text[at] : ' ';
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
  };
  std::string out;
  for (size_t i = 0; i < text.size(); ++i)
    if (text[i] == '%' && digit(i + 1) >= 0 && digit(i + 2) >= 0) {
      out += static_cast<char>(16 * digit(i + 1) + digit(i + 2));
      i += 2;
    } else {
      out += text[i];
    }
  return out;
}

}  // namespace onebit
