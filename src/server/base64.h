// Bytes in JSON's strings.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace onebit::server {

std::string base64(std::span<const std::byte> bytes);
/// Nothing where `text` is no base64 (RFC 4648, section 4); the padding may be left out.
std::optional<std::string> from_base64(std::string_view text);

}  // namespace onebit::server
