#include "server/api_format.h"

#include <nlohmann/json.hpp>

#include "base/utf8.h"
#include "server/json_body.h"

namespace onebit::server {
namespace {

using Json = nlohmann::ordered_json;

std::string event(const Json& json) {
  return "data: " + dump(json) + "\n\n";
}

size_t characters(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; }));
}

/// A token's text; bytes that are no character by themselves as bytes:\xe2\x80, which OpenAI's clients know.
std::string token_text(const Tokenizer& tokenizer, TokenId id) {
  const auto bytes = tokenizer.token_bytes(id);
  if (utf8_valid(bytes)) return std::string(bytes);
  std::string text = "bytes:";
  for (const char c : bytes) text += fmt::format("\\x{:02x}", static_cast<uint8_t>(c));
  return text;
}

Json chat_logprob(const Tokenizer& tokenizer, TokenId id, float logprob) {
  const auto bytes = tokenizer.token_bytes(id);
  return {{"token", token_text(tokenizer, id)},
          {"logprob", logprob},
          {"bytes", std::vector<uint8_t>(bytes.begin(), bytes.end())}};
}

Json chat_logprobs(const Tokenizer& tokenizer, const std::vector<GeneratedToken>& tokens) {
  return {{"content", logprobs_json(tokenizer, tokens)}};
}

/// The logprobs of /v1/completions. A NaN stands for "none": the first token of an echoed prompt.
Json legacy_logprobs(const Tokenizer& tokenizer, const ChoiceText& choice, size_t& offset) {
  Json result{{"tokens", Json::array()},
              {"token_logprobs", Json::array()},
              {"top_logprobs", Json::array()},
              {"text_offset", Json::array()}};
  for (size_t i = 0; i < choice.tokens.size(); ++i) {
    const auto& token = choice.tokens[i];
    const bool known = token.logprob == token.logprob;
    result["tokens"].push_back(token_text(tokenizer, token.id));
    result["token_logprobs"].push_back(known ? Json(token.logprob) : Json());
    Json top = Json::object();
    for (const auto& t : token.top) top[token_text(tokenizer, t.id)] = t.logprob;
    result["top_logprobs"].push_back(known ? std::move(top) : Json());
    result["text_offset"].push_back(offset);
    const bool told = i < choice.echoed || !tokenizer.is_special(token.id);  // an answer's text has no markers
    if (told) offset += characters(tokenizer.token_bytes(token.id));
  }
  return result;
}

Json timings(const ApiUsage& u) {
  const auto rate = [](uint64_t tokens, double ms) { return ms > 0 ? static_cast<double>(tokens) * 1000.0 / ms : 0.0; };
  return {{"prompt_n", u.prompt_tokens - u.cached_tokens},
          {"cached_n", u.cached_tokens},
          {"prompt_ms", u.prompt_ms},
          {"prompt_per_second", rate(u.prompt_tokens - u.cached_tokens, u.prompt_ms)},
          {"time_to_first_token_ms", u.first_token_ms},
          {"predicted_n", u.answer_tokens},
          {"predicted_ms", u.answer_ms},
          {"predicted_per_second", rate(u.answer_tokens, u.answer_ms)}};
}

Json usage_json(const ApiUsage& u) {
  return {{"prompt_tokens", u.prompt_tokens},
          {"completion_tokens", u.answer_tokens},
          {"total_tokens", u.prompt_tokens + u.answer_tokens},
          {"prompt_tokens_details", {{"cached_tokens", u.cached_tokens}}}};
}

Json head_json(const ApiHead& head, const char* object) {
  return {{"id", head.id},
          {"object", object},
          {"created", head.created},
          {"model", head.model},
          {"system_fingerprint", head.fingerprint}};
}

/// A chat's answer, its calls of tools taken out of the text.
Json message_json(const std::string& text, const ApiCall& call_of, bool& called) {
  Json message{{"role", "assistant"}, {"content", text}, {"refusal", nullptr}};
  if (!call_of.may_call()) return message;
  const auto [content, calls] = split_calls(text, call_of.calls_in);
  called = !calls.empty();
  message["content"] = content.empty() && called ? Json() : Json(content);
  for (const auto& call : calls)
    message["tool_calls"].push_back(
        {{"id", call.id}, {"type", "function"}, {"function", {{"name", call.name}, {"arguments", call.arguments}}}});
  return message;
}

const char* stream_object(const ApiCall& call) {
  return call.kind == ApiCall::Kind::kChat ? "chat.completion.chunk" : "text_completion";
}

}  // namespace

Json logprobs_json(const Tokenizer& tokenizer, const std::vector<GeneratedToken>& tokens) {
  Json content = Json::array();
  for (const auto& token : tokens) {
    auto entry = chat_logprob(tokenizer, token.id, token.logprob);
    entry["top_logprobs"] = Json::array();
    for (const auto& top : token.top) entry["top_logprobs"].push_back(chat_logprob(tokenizer, top.id, top.logprob));
    content.push_back(std::move(entry));
  }
  return content;
}

void ApiUsage::add(const Outcome& o, bool with_prompt) {
  if (with_prompt) {
    prompt_tokens += o.prompt_tokens;
    cached_tokens += o.cached_tokens;
  }
  answer_tokens += o.answer_tokens;
  prompt_ms = std::max(prompt_ms, o.prompt_seconds * 1e3);
  first_token_ms = std::max(first_token_ms, (o.queued_seconds + o.prompt_seconds) * 1e3);
  answer_ms = std::max(answer_ms, o.answer_seconds * 1e3);
}

void ApiUsage::add(const ApiUsage& other) {
  prompt_tokens += other.prompt_tokens;
  cached_tokens += other.cached_tokens;
  answer_tokens += other.answer_tokens;
  prompt_ms += other.prompt_ms;
  first_token_ms += other.first_token_ms;
  answer_ms += other.answer_ms;
}

ChoiceText ApiFormat::echo(uint32_t choice, std::vector<GeneratedToken> prompt_logprobs) const {
  ChoiceText echoed;
  const uint32_t hidden = call_.hidden_prompt_tokens[choice];
  const auto ids = std::span(call_.requests[choice].prompt).subspan(hidden);
  echoed.text = utf8_replace_invalid(tokenizer_.decode(ids, false));
  if (!call_.logprobs || ids.empty()) return echoed;
  echoed.tokens.push_back({ids.front(), std::numeric_limits<float>::quiet_NaN(), {}});
  for (size_t i = hidden; i < prompt_logprobs.size(); ++i) echoed.tokens.push_back(std::move(prompt_logprobs[i]));
  echoed.echoed = echoed.tokens.size();
  return echoed;
}

std::string ApiFormat::whole(const std::vector<ChoiceText>& choices, const std::vector<Outcome>& outcomes,
                             const ApiUsage& usage) const {
  const bool chat = call_.kind == ApiCall::Kind::kChat;
  auto root = head_json(head_, chat ? "chat.completion" : "text_completion");
  auto& list = root["choices"] = Json::array();
  for (size_t i = 0; i < choices.size(); ++i) {
    Json choice{{"index", i}};
    bool called_tools = false;
    if (chat)
      choice["message"] = message_json(choices[i].text, call_, called_tools);
    else
      choice["text"] = choices[i].text;
    size_t offset = 0;
    choice["logprobs"] = !call_.logprobs ? Json()
                         : chat          ? chat_logprobs(tokenizer_, choices[i].tokens)
                                         : legacy_logprobs(tokenizer_, choices[i], offset);
    choice["finish_reason"] = finish_reason(outcomes[i], called_tools);
    list.push_back(std::move(choice));
  }
  root["usage"] = usage_json(usage);
  root["timings"] = timings(usage);
  return dump(root);
}

/// Of a chat, the role.
std::string ApiFormat::begin(uint32_t choice) {
  if (call_.kind != ApiCall::Kind::kChat) return {};
  auto root = head_json(head_, stream_object(call_));
  root["choices"] = Json::array({{{"index", choice},
                                  {"delta", {{"role", "assistant"}, {"content", ""}}},
                                  {"logprobs", nullptr},
                                  {"finish_reason", nullptr}}});
  if (call_.include_usage) root["usage"] = nullptr;
  return event(root);
}

std::string ApiFormat::piece(uint32_t choice, const ChoiceText& piece) {
  const bool chat = call_.kind == ApiCall::Kind::kChat;
  Json c{{"index", choice}};
  if (chat)
    c["delta"] = {{"content", piece.text}};
  else
    c["text"] = piece.text;
  c["logprobs"] = !call_.logprobs ? Json()
                  : chat          ? chat_logprobs(tokenizer_, piece.tokens)
                                  : legacy_logprobs(tokenizer_, piece, offsets_[choice]);
  c["finish_reason"] = nullptr;
  auto root = head_json(head_, stream_object(call_));
  root["choices"] = Json::array({std::move(c)});
  if (call_.include_usage) root["usage"] = nullptr;
  return event(root);
}

std::string_view ApiFormat::finish_reason(const Outcome& outcome, bool called_tools) const {
  const bool by_calls = called_tools && outcome.reason == FinishReason::kStop && !call_.named_tool;
  return by_calls ? "tool_calls" : name_of(outcome.reason);
}

std::string ApiFormat::calls(uint32_t choice, const ToolCallSplitter::Piece& piece,
                             const std::vector<GeneratedToken>& tokens) {
  Json delta = Json::object();
  for (const auto& call : piece.calls) {
    Json part{{"index", call.index}};
    if (call.begins) {
      part["id"] = call.part.id;
      part["type"] = "function";
      part["function"] = {{"name", call.part.name}, {"arguments", ""}};
    } else {
      part["function"] = {{"arguments", call.part.arguments}};
    }
    delta["tool_calls"].push_back(std::move(part));
  }
  if (!piece.content.empty()) delta["content"] = piece.content;
  Json c{{"index", choice}, {"delta", std::move(delta)}};
  c["logprobs"] = call_.logprobs ? chat_logprobs(tokenizer_, tokens) : Json();
  c["finish_reason"] = nullptr;
  auto root = head_json(head_, stream_object(call_));
  root["choices"] = Json::array({std::move(c)});
  if (call_.include_usage) root["usage"] = nullptr;
  return event(root);
}

std::string ApiFormat::end(uint32_t choice, const Outcome& outcome, bool called_tools, const ApiUsage* with_timings) {
  Json c{{"index", choice}};
  if (call_.kind == ApiCall::Kind::kChat)
    c["delta"] = Json::object();
  else
    c["text"] = "";
  c["logprobs"] = nullptr;
  c["finish_reason"] = finish_reason(outcome, called_tools);
  auto root = head_json(head_, stream_object(call_));
  root["choices"] = Json::array({std::move(c)});
  if (call_.include_usage) root["usage"] = nullptr;
  if (with_timings != nullptr) root["timings"] = timings(*with_timings);
  return event(root);
}

std::string ApiFormat::error(const ApiError& error) const {
  return "data: " + error.json() + "\n\n";
}

std::string ApiFormat::finish(const ApiUsage& usage) {
  constexpr const char* kDone = "data: [DONE]\n\n";
  if (!call_.include_usage) return kDone;
  auto root = head_json(head_, stream_object(call_));
  root["choices"] = Json::array();
  root["usage"] = usage_json(usage);
  root["timings"] = timings(usage);
  return event(root) + kDone;
}

}  // namespace onebit::server
