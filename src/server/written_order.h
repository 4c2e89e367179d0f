// The order of members in a request of another protocol, which its translation has lost.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>

namespace onebit::server {

/// Where a chat completion's value was in the body it was translated from: names and '/', where `*` is every item of an
/// array, the same here and there.
struct Moved {
  std::string_view to, from;
};

/// `chat` as text, in which the values that moved have their members as `body` has them: a model fills a schema in its
/// own order, and reads the same of a tool under each protocol. A body without schemas and tools is not read for it.
std::string in_written_order(const nlohmann::json& chat, std::string_view body, std::span<const Moved> moved);

}  // namespace onebit::server
