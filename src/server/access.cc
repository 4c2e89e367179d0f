#include "server/access.h"

#include <arpa/inet.h>

#include <algorithm>
#include <fstream>

namespace onebit::server {
namespace {

/// Takes the same time for every `given` of one length.
bool same(std::string_view given, std::string_view key) {
  unsigned difference = given.size() == key.size() ? 0u : 1u;
  for (size_t i = 0; i < given.size(); ++i)
    difference |= static_cast<unsigned char>(given[i]) ^ static_cast<unsigned char>(key[i % key.size()]);
  return difference == 0;
}

}  // namespace

Result<AccessKeys> AccessKeys::load(std::vector<std::string> fixed, std::string path) {
  AccessKeys access;
  std::erase(fixed, "");
  access.fixed_ = std::move(fixed);
  access.path_ = std::move(path);
  RETURN_IF_ERROR(access.reload());
  return access;
}

Result<std::vector<std::string>> AccessKeys::read() const {
  auto keys = fixed_;
  if (path_.empty()) return keys;
  std::ifstream file(path_);
  if (!file) return fail("{}: the file of API keys cannot be read", path_);
  size_t found = 0;
  for (std::string line; std::getline(file, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.empty() || line.front() == '#') continue;
    keys.push_back(line);
    ++found;
  }
  if (file.bad()) return fail("{}: the file of API keys cannot be read", path_);
  if (found == 0) return fail("{}: holds no API key; without a key file nobody would need one", path_);
  return keys;
}

Status AccessKeys::reload() {
  ASSIGN_OR_RETURN(const auto texts, read());
  const std::lock_guard lock(*mutex_);
  Keys keys;
  for (const auto& text : texts)
    keys.push_back({text, numbers_.try_emplace(text, static_cast<uint32_t>(numbers_.size() + 1)).first->second});
  keys_ = std::make_shared<const Keys>(std::move(keys));
  return {};
}

std::shared_ptr<const AccessKeys::Keys> AccessKeys::keys() const {
  const std::lock_guard lock(*mutex_);
  return keys_;
}

bool AccessKeys::allow(std::string_view key) const {
  const auto all = keys();
  bool allowed = all->empty();
  for (const auto& one : *all) allowed |= same(key, one.text);  // every one, found or not
  return allowed;
}

uint32_t AccessKeys::number_of(std::string_view key) const {
  uint32_t number = 0;
  for (const auto& one : *keys())
    if (same(key, one.text)) number = one.number;
  return number;
}

bool AccessKeys::required() const {
  return !keys()->empty();
}

bool is_loopback(const std::string& host) {
  in_addr address{};
  const bool v4 = ::inet_pton(AF_INET, host.c_str(), &address) == 1;
  return host == "localhost" || host == "::1" || (v4 && host.starts_with("127."));
}

namespace {

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  while (result.ends_with('.')) result.pop_back();  // of a name that is whole
  return result;
}

}  // namespace

bool names_this_machine(std::string_view host, const std::vector<std::string>& names) {
  if (host.empty()) return true;
  if (host.starts_with('[')) {
    in6_addr address{};
    return ::inet_pton(AF_INET6, std::string(host.substr(1, host.find(']') - 1)).c_str(), &address) == 1;
  }
  const auto name = lower(host.substr(0, host.find(':')));
  in_addr address{};
  return name == "localhost" || name.ends_with(".localhost") || ::inet_pton(AF_INET, name.c_str(), &address) == 1 ||
         std::any_of(names.begin(), names.end(), [&](const std::string& own) { return lower(own) == name; });
}

std::string_view key_of(std::string_view authorization, std::string_view x_api_key) {
  constexpr std::string_view kBearer = "Bearer ";
  const auto lower = [](char c) { return static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c); };
  bool bearer = authorization.size() >= kBearer.size();
  for (size_t i = 0; bearer && i < kBearer.size(); ++i) bearer = lower(authorization[i]) == lower(kBearer[i]);
  return bearer ? authorization.substr(kBearer.size()) : x_api_key;
}

}  // namespace onebit::server
