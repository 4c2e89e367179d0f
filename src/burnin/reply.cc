#include "burnin/reply.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

namespace onebit::burnin {
namespace {

using nlohmann::json;

constexpr std::array<std::string_view, kVerdicts> kNames{"exact", "prefix_only", "no_match", "a_unreachable",
                                                         "b_unreachable"};

std::string text_at(const json& object, const char* name) {
  const auto it = object.find(name);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

/// A chat's {"content": [{"token", "logprob"}]}, or a completion's {"tokens", "token_logprobs"}.
void read_logprobs(const json& choice, std::vector<TokenLogprob>& tokens) {
  const auto it = choice.find("logprobs");
  if (it == choice.end() || !it->is_object()) return;
  if (const auto content = it->find("content"); content != it->end() && content->is_array()) {
    for (const auto& entry : *content)
      if (entry.is_object() && entry.contains("logprob") && entry["logprob"].is_number())
        tokens.push_back({text_at(entry, "token"), entry["logprob"].get<double>()});
    return;
  }
  const auto names = it->find("tokens"), values = it->find("token_logprobs");
  if (names == it->end() || values == it->end() || !names->is_array() || !values->is_array()) return;
  for (size_t i = 0; i < std::min(names->size(), values->size()); ++i)
    if ((*names)[i].is_string() && (*values)[i].is_number())
      tokens.push_back({(*names)[i].get<std::string>(), (*values)[i].get<double>()});
}

/// Nothing where the choice says nothing that could be compared.
std::optional<std::string> text_of(const json& choice) {
  const auto message = choice.find("message");
  const bool chat = message != choice.end() && message->is_object();
  const auto& holder = chat ? *message : choice;
  if (const auto it = holder.find(chat ? "content" : "text"); it != holder.end() && it->is_string())
    return it->get<std::string>();
  if (const auto calls = holder.find("tool_calls"); calls != holder.end())
    return calls->dump(-1, ' ', false, json::error_handler_t::replace);
  return std::nullopt;
}

}  // namespace

std::string_view name_of(Verdict verdict) {
  return kNames[static_cast<size_t>(verdict)];
}

std::optional<Verdict> verdict_named(std::string_view name) {
  const auto it = std::find(kNames.begin(), kNames.end(), name);
  if (it == kNames.end()) return std::nullopt;
  return static_cast<Verdict>(it - kNames.begin());
}

Result<Reply> parse_reply(std::string_view body) {
  const auto root = json::parse(body, nullptr, false);
  if (!root.is_object()) return fail("the answer is no JSON object");
  if (const auto it = root.find("error"); it != root.end() && it->is_object())
    return fail("{}", text_at(*it, "message").substr(0, 200));
  const auto choices = root.find("choices");
  if (choices == root.end() || !choices->is_array() || choices->empty()) return fail("the answer has no choices");
  Reply reply;
  for (const auto& choice : *choices) {
    if (!choice.is_object()) return fail("a choice is no object");
    const auto text = text_of(choice);
    if (!text) return fail("a choice has no text");
    if (!reply.finish.empty()) reply.text += '\x1e';
    reply.text += *text;
    reply.finish += text_at(choice, "finish_reason") + ' ';
    read_logprobs(choice, reply.tokens);
  }
  return reply;
}

Comparison compare(const Reply& a, const Reply& b, bool logprobs) {
  Comparison result;
  const auto end = std::mismatch(a.text.begin(), a.text.end(), b.text.begin(), b.text.end()).first;
  result.prefix = static_cast<uint64_t>(end - a.text.begin());
  const size_t tokens = std::min(a.tokens.size(), b.tokens.size());
  size_t same = 0;
  while (same < tokens && a.tokens[same].token == b.tokens[same].token &&
         a.tokens[same].logprob == b.tokens[same].logprob)
    ++same;
  const bool both = !a.tokens.empty() && !b.tokens.empty();
  const bool missing = logprobs && (a.tokens.empty() || b.tokens.empty()) && !(a.text.empty() && b.text.empty());
  const bool tokens_agree = (!both && !missing) || (both && same == a.tokens.size() && same == b.tokens.size());
  if (same < tokens) result.divergence = Divergence{static_cast<uint32_t>(same), a.tokens[same], b.tokens[same]};
  if (a.text == b.text && a.finish == b.finish && tokens_agree) return result;
  result.verdict = result.prefix > 0 || (a.text == b.text) ? Verdict::kPrefixOnly : Verdict::kNoMatch;
  return result;
}

}  // namespace onebit::burnin
