#include "landing/target.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

#include "base/utf8.h"

namespace onebit::landing {
namespace {

/// "::1", also with a zone: "fe80::1%eth0".
bool is_ipv6(std::string_view text) {
  const auto zone = text.find('%');
  if (zone != std::string_view::npos && zone + 1 == text.size()) return false;
  in6_addr address{};
  return ::inet_pton(AF_INET6, std::string(text.substr(0, zone)).c_str(), &address) == 1;
}

}  // namespace

Result<Target> parse_target(const std::string& url) {
  constexpr std::string_view kScheme = "http://";
  const auto wrong = [&] { return fail("'{}' is not http://HOST[:PORT][/PREFIX]", printable(url, 100)); };
  if (!url.starts_with(kScheme)) return wrong();
  if (!std::all_of(url.begin(), url.end(), [](char c) { return c > 0x20 && c < 0x7f && c != '?' && c != '#'; }))
    return wrong();
  auto rest = std::string_view(url).substr(kScheme.size());
  const auto slash = std::min(rest.find('/'), rest.size());
  auto authority = rest.substr(0, slash);
  auto prefix = rest.substr(slash);
  while (prefix.ends_with('/')) prefix.remove_suffix(1);
  Target target{.host = {}, .port = "80", .path = std::string(prefix) + "/metrics"};
  const auto bracket = authority.starts_with('[') ? authority.find(']') : std::string_view::npos;
  const auto colon = bracket == std::string_view::npos ? authority.find(':') : bracket + 1;
  if (colon < authority.size()) {
    target.port = authority.substr(colon + 1);
    uint16_t port = 0;
    const auto* end = target.port.data() + target.port.size();
    if (authority[colon] != ':' || std::from_chars(target.port.data(), end, port).ptr != end || port == 0)
      return wrong();
    authority = authority.substr(0, colon);
  }
  if (bracket != std::string_view::npos) {
    authority = authority.substr(1, bracket - 1);
    if (!is_ipv6(authority)) return wrong();
  }
  if (authority.empty() || authority.find_first_of("@[]") != std::string_view::npos) return wrong();
  target.host = authority;
  return target;
}

}  // namespace onebit::landing
