// Pages that a program carries within itself (web/CMakeLists.txt builds them).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace onebit {

/// A file of a page, compressed by gzip.
struct WebFile {
  std::string_view name;  // its path, without the '/' at the beginning; index.html is the page itself
  std::string_view type;  // for Content-Type
  std::string_view etag;  // in quotes; another one for other bytes
  std::span<const uint8_t> gzip;
};

/// Their files; none where the program was built without the page.
std::span<const WebFile> chat_page();
std::span<const WebFile> live_page();

}  // namespace onebit
