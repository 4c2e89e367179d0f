#include "burnin/prompts.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "burnin/builtin_prompts.h"

namespace onebit::burnin {
namespace {

using Json = nlohmann::ordered_json;

/// splitmix64 (Steele et al. 2014): a number that follows from another and looks like chance.
uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

void replace_all(std::string& text, std::string_view what, const std::string& by) {
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size()))
    text.replace(at, what.size(), by);
}

/// In every string of the request.
template <class Change>
void for_each_string(Json& value, const Change& change) {
  if (value.is_string()) change(value.get_ref<std::string&>());
  if (value.is_structured())
    for (auto& item : value) for_each_string(item, change);
}

Result<Prompt> parse_prompt(const std::string& line) {
  const auto value = Json::parse(line, nullptr, false);
  if (!value.is_object()) return fail("is not a JSON object");
  const auto word = [&](const char* name) {
    const auto it = value.find(name);
    return it != value.end() && it->is_string() ? it->get<std::string>() : std::string();
  };
  Prompt prompt{word("id"), word("kind"), value.contains("messages"), {}, word("text")};
  if (prompt.id.empty() || prompt.id.size() > 200 || prompt.id.find_first_of("\"\\") != std::string::npos)
    return fail("id must be a text of at most 200 bytes without quotes or backslashes");
  if (prompt.kind.empty()) return fail("kind must be a text");
  if (prompt.chat ? !value["messages"].is_array() : !value.contains("prompt"))
    return fail("has neither messages nor prompt");
  const auto times = value.find("text_times");
  if (times != value.end() && (!times->is_number_unsigned() || times->get<uint64_t>() > 100000))
    return fail("text_times must be a number up to 100000");
  if (times != value.end()) {
    const auto once = prompt.text;
    for (uint64_t i = 1; i < times->get<uint64_t>(); ++i) prompt.text += once;
  }
  auto request = value;
  for (const char* name : {"id", "kind", "text", "text_times"}) request.erase(name);
  prompt.request = request.dump();
  return prompt;
}

}  // namespace

Result<std::vector<Prompt>> parse_prompts(std::string_view lines, const std::string& name) {
  std::vector<Prompt> prompts;
  std::istringstream in{std::string(lines)};
  size_t number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    if (line.ends_with('\r')) line.pop_back();
    if (line.empty() || line.front() == '#') continue;
    auto prompt = parse_prompt(line);
    if (!prompt) return fail("{}: line {}: {}", name, number, prompt.error().message);
    const auto same = [&](const Prompt& other) { return other.id == prompt->id; };
    if (std::any_of(prompts.begin(), prompts.end(), same))
      return fail("{}: line {}: the id '{}' is taken", name, number, prompt->id);
    prompts.push_back(*std::move(prompt));
  }
  if (prompts.empty()) return fail("{}: has no prompts", name);
  return prompts;
}

Result<std::vector<Prompt>> read_prompts(const std::string& path) {
  std::ifstream file(path);
  if (!file) return fail("{}: cannot be read", path);
  std::ostringstream text;
  text << file.rdbuf();
  return parse_prompts(text.str(), path);
}

std::vector<Prompt> builtin_prompts() {
  return parse_prompts(kBuiltinPrompts, "built-in prompts").value_or(std::vector<Prompt>());  // a test parses them
}

std::string render(const Prompt& prompt, uint64_t variant, const RenderOptions& options) {
  auto request = Json::parse(prompt.request);
  const auto n = std::to_string(variant), a = std::to_string(mix(variant) % 1000),
             b = std::to_string(mix(~variant) % 1000);
  for_each_string(request, [&](std::string& text) {
    replace_all(text, "{text}", prompt.text);
    replace_all(text, "{n}", n);
    replace_all(text, "{a}", a);
    replace_all(text, "{b}", b);
  });
  if (!request.contains("temperature")) request["temperature"] = 0;
  if (request["temperature"] != 0 && !request.contains("seed")) request["seed"] = variant;
  if (!request.contains("max_tokens")) request["max_tokens"] = 32;
  if (options.max_tokens > 0 && request["max_tokens"].is_number_unsigned())
    request["max_tokens"] = std::min<uint64_t>(options.max_tokens, request["max_tokens"].get<uint64_t>());
  if (options.logprobs) request["logprobs"] = prompt.chat ? Json(true) : Json(0);
  return request.dump();
}

}  // namespace onebit::burnin
