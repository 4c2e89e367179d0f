#include "server/written_order.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "grammar/json_value.h"

namespace onebit::server {
namespace {

using grammar::JsonValue;

std::string_view take_name(std::string_view& path) {
  const auto name = path.substr(0, path.find('/'));
  path.remove_prefix(std::min(path.size(), name.size() + 1));
  return name;
}

/// Follows both paths up to their end or to a `*`. What is not there stays as it is.
void move_in(JsonValue& to, std::string_view to_path, const JsonValue& from, std::string_view from_path) {
  auto* target = &to;
  const auto* source = &from;
  while (!to_path.empty() && !to_path.starts_with('*')) {
    const auto name = take_name(to_path);
    const auto it =
        std::find_if(target->members.begin(), target->members.end(), [&](auto& m) { return m.first == name; });
    if (it == target->members.end()) return;
    target = &it->second;
  }
  while (!from_path.empty() && !from_path.starts_with('*'))
    if (source = source->find(take_name(from_path)); source == nullptr) return;
  if (to_path.empty()) {
    *target = *source;
    return;
  }
  take_name(to_path);
  take_name(from_path);
  if (target->items.size() != source->items.size()) return;
  for (size_t i = 0; i < target->items.size(); ++i) move_in(target->items[i], to_path, source->items[i], from_path);
}

/// As clients of chat completions write a tool.
void order_tool(JsonValue& tool) {
  constexpr std::string_view kOrder[] = {"type", "function", "name", "description", "parameters"};
  const auto rank = [&](const auto& member) {
    return std::pair(std::find(std::begin(kOrder), std::end(kOrder), member.first), std::string_view(member.first));
  };
  std::sort(tool.members.begin(), tool.members.end(), [&](const auto& a, const auto& b) { return rank(a) < rank(b); });
  for (auto& [name, value] : tool.members)
    if (name == "function") order_tool(value);
}

}  // namespace

std::string in_written_order(const nlohmann::json& chat, std::string_view body, std::span<const Moved> moved) {
  auto text = chat.dump();
  if (!chat.contains("tools") && !chat.contains("response_format")) return text;
  auto ordered = grammar::parse_json(text);
  const auto written = grammar::parse_json(body);
  if (!ordered || !written) return text;  // too deep: whoever reads the text says so
  for (auto& [name, value] : ordered->members)
    if (name == "tools") std::for_each(value.items.begin(), value.items.end(), order_tool);
  for (const auto& [to, from] : moved) move_in(*ordered, to, *written, from);
  return to_json(*ordered);
}

}  // namespace onebit::server
