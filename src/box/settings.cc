#include "box/settings.h"

#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <initializer_list>
#include <iterator>
#include <sstream>
#include <vector>

#include "base/mapped_file.h"

namespace onebit::box {
namespace {

constexpr size_t kMostSettings = 1 << 20;

std::string without_space(std::string_view text) {
  const auto begin = text.find_first_not_of(" \t\r");
  return begin == std::string_view::npos ? std::string()
                                         : std::string(text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1));
}

using Variables = std::map<std::string, std::string>;

Variables read_environment(const std::string& path, std::string& unreadable) {
  struct stat file{};
  if (::stat(path.c_str(), &file) != 0 && errno == ENOENT) return {};
  const auto text = read_text_file(path, kMostSettings);
  if (text) return parse_environment(*text);
  unreadable = path;
  return {};
}

/// The value of an option among words, "--port 8081" or "--port=8081"; else of the variable; else `kept`.
void take(std::string& kept, const Variables& variables, const char* variable, const char* options,
          std::initializer_list<std::string_view> names) {
  if (const auto it = variables.find(variable); it != variables.end() && !it->second.empty()) kept = it->second;
  const auto it = variables.find(options);
  if (it == variables.end()) return;
  std::istringstream in(it->second);
  const std::vector<std::string> words{std::istream_iterator<std::string>(in), {}};
  for (size_t i = 0; i < words.size(); ++i)
    for (const auto name : names) {
      if (words[i] == name && i + 1 < words.size()) kept = words[i + 1];
      if (words[i].starts_with(name) && words[i].substr(name.size()).starts_with('='))
        kept = words[i].substr(name.size() + 1);
    }
}

void take(uint32_t& kept, const Variables& variables, const char* variable, const char* options,
          std::initializer_list<std::string_view> names) {
  std::string text;
  take(text, variables, variable, options, names);
  uint32_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error == std::errc() && end == text.data() + text.size() && port > 0 && port < 65536) kept = port;
}

std::string first_key(const std::string& path) {
  const auto text = read_text_file(path, kMostSettings);
  std::istringstream in(text.value_or(""));
  for (std::string line; std::getline(in, line);)
    if (const auto key = without_space(line); !key.empty() && key[0] != '#') return key;
  return {};
}

/// Where this machine reaches what listens at `host`.
std::string url_of(const std::string& host, uint32_t port) {
  const auto reached = host == "0.0.0.0" || host.empty() ? "127.0.0.1" : host == "::" ? "::1" : host;
  if (reached.find(':') == std::string::npos) return fmt::format("http://{}:{}", reached, port);
  return fmt::format("http://[{}]:{}", reached, port);
}

}  // namespace

std::map<std::string, std::string> parse_environment(std::string_view text) {
  Variables variables;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const auto line = without_space(text.substr(at, end - at));
    at = end + 1;
    const size_t equals = line.find('=');
    if (line.empty() || line[0] == '#' || line[0] == ';' || equals == std::string::npos) continue;
    auto value = without_space(std::string_view(line).substr(equals + 1));
    if (value.size() > 1 && (value[0] == '"' || value[0] == '\'') && value.back() == value[0])
      value = value.substr(1, value.size() - 2);
    variables[without_space(std::string_view(line).substr(0, equals))] = value;
  }
  return variables;
}

std::string ServiceSettings::server_url() const {
  return url_of(server_host, server_port);
}

std::string ServiceSettings::landing_url() const {
  return url_of(landing_host, landing_port);
}

ServiceSettings read_service_settings(const Roots& roots) {
  ServiceSettings s;
  const auto server = read_environment(roots.path("/etc/1bit/server.env"), s.unreadable);
  const auto landing = read_environment(roots.path("/etc/1bit/landing.env"), s.unreadable);
  constexpr const char *kServer = "ONEBIT_SERVER_OPTIONS", *kLanding = "ONEBIT_LANDING_OPTIONS";
  take(s.model, server, "ONEBIT_MODEL", kServer, {"--model", "-m"});
  take(s.server_host, server, "ONEBIT_HOST", kServer, {"--host"});
  take(s.server_port, server, "ONEBIT_PORT", kServer, {"--port", "-p"});
  take(s.api_key, server, "ONEBIT_API_KEY", kServer, {"--api-key"});
  std::string key_file;
  take(key_file, server, "ONEBIT_API_KEY_FILE", kServer, {"--api-key-file"});
  if (s.api_key.empty() && !key_file.empty()) s.api_key = first_key(roots.path(key_file));
  take(s.landing_host, landing, "ONEBIT_LANDING_HOST", kLanding, {"--host"});
  take(s.landing_port, landing, "ONEBIT_LANDING_PORT", kLanding, {"--port", "-p"});
  return s;
}

}  // namespace onebit::box
