#include "server/messages_api.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/utf8.h"
#include "server/fields.h"
#include "server/json_body.h"
#include "server/protocol.h"
#include "server/written_order.h"

namespace onebit::server {
namespace {

using nlohmann::json;
using Json = nlohmann::ordered_json;

std::string string_in(const json& object, const char* name) {
  const auto it = object.find(name);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

class MessagesTranslation {
 public:
  explicit MessagesTranslation(const json& root) : fields_(root) {}

  ApiResult<json> chat(bool counts_only) {
    if (!counts_only && fields_.find("max_tokens") == nullptr) fields_.fault("max_tokens", "max_tokens is missing");
    for (const char* name : {"model", "max_tokens", "temperature", "top_p", "top_k", "stream", "seed", "ignore_eos"})
      if (const auto* value = fields_.find(name)) chat_[name] = *value;
    const auto stops = fields_.strings("stop_sequences", 16);
    if (!stops.empty()) chat_["stop"] = stops;
    refuse_unsupported();
    system();
    messages();
    tools();
    if (const auto* error = fields_.error()) return tl::unexpected(*error);
    return std::move(chat_);
  }

 private:
  void refuse_unsupported() {
    if (const auto* thinking = fields_.find("thinking"))
      if (!thinking->is_object() || string_in(*thinking, "type") != "disabled")
        fields_.fault("thinking", "thinking is not supported by this server");
    for (const char* name : {"mcp_servers", "container"})
      if (const auto* value = fields_.find(name); value != nullptr && !value->empty())
        fields_.fault(name, fmt::format("{} is not supported by this server", name));
  }

  /// A text, or blocks of the type text; the fault names `name`.
  std::string text_of(const json& content, const std::string& name) {
    if (content.is_string()) return content.get<std::string>();
    std::string text;
    if (!content.is_array()) fields_.fault(name, name + " must be a text or an array of blocks");
    for (size_t i = 0; content.is_array() && i < content.size() && !fields_.error(); ++i) {
      const auto& block = content[i];
      const auto at = fmt::format("{}.{}", name, i);
      if (!block.is_object() || string_in(block, "type") != "text")
        fields_.fault(at, at + " must be a block of the type text");
      else
        text += text_in(block, at);
    }
    return text;
  }

  std::string text_in(const json& block, const std::string& at) {
    const auto it = block.find("text");
    if (it != block.end() && it->is_string()) return it->get<std::string>();
    fields_.fault(at + ".text", at + ".text must be a string");
    return {};
  }

  void system() {
    auto& list = chat_["messages"] = json::array();
    const auto* system = fields_.find("system");
    if (system == nullptr) return;
    const auto text = text_of(*system, "system");
    if (!text.empty()) list.push_back({{"role", "system"}, {"content", text}});
  }

  void messages() {
    const auto* list = fields_.find("messages");
    if (list == nullptr || !list->is_array() || list->empty())
      return fields_.fault("messages", "messages must be an array of at least one message");
    for (size_t i = 0; i < list->size() && !fields_.error(); ++i) message((*list)[i], fmt::format("messages.{}", i));
    // A last message of the assistant's is the beginning of the answer.
    if (!fields_.error() && chat_["messages"].back()["role"] == "assistant") chat_["continue_final_message"] = true;
  }

  void message(const json& message, const std::string& name) {
    if (!message.is_object()) return fields_.fault(name, name + " must be an object");
    const auto role = string_in(message, "role");
    if (role != "user" && role != "assistant")
      return fields_.fault(name + ".role", name + ".role must be \"user\" or \"assistant\"");
    const auto content = message.find("content");
    if (content == message.end()) return fields_.fault(name + ".content", name + ".content is missing");
    if (!content->is_array()) {
      chat_["messages"].push_back({{"role", role}, {"content", text_of(*content, name + ".content")}});
      return;
    }
    text_.clear();
    calls_ = json::array();
    bool results = false;
    for (size_t i = 0; i < content->size() && !fields_.error(); ++i)
      results = block((*content)[i], role, fmt::format("{}.content.{}", name, i)) || results;
    if (text_.empty() && calls_.empty() && results) return;
    json one{{"role", role}, {"content", text_}};
    if (!calls_.empty()) one["tool_calls"] = std::move(calls_);
    chat_["messages"].push_back(std::move(one));
  }

  /// True where it was what a tool said, which is a message of its own, before what the user says.
  bool block(const json& block, const std::string& role, const std::string& at) {
    const auto type = block.is_object() ? string_in(block, "type") : std::string();
    if (type == "text") {
      text_ += text_in(block, at);
    } else if (type == "tool_use" && role == "assistant") {
      const auto input = block.find("input");
      const auto arguments = input == block.end() ? std::string("{}") : dump(Json(*input));
      calls_.push_back({{"id", string_in(block, "id")},
                        {"type", "function"},
                        {"function", {{"name", string_in(block, "name")}, {"arguments", arguments}}}});
    } else if (type == "tool_result" && role == "user") {
      const auto content = block.find("content");
      const auto text = content == block.end() ? std::string() : text_of(*content, at + ".content");
      chat_["messages"].push_back(
          {{"role", "tool"}, {"tool_call_id", string_in(block, "tool_use_id")}, {"content", text}});
      return true;
    } else if (type != "thinking" && type != "redacted_thinking") {  // what a model said to itself is not told again
      fields_.fault(at,
                    fmt::format("{}: blocks of the type '{}' are not supported by this server", at, printable(type)));
    }
    return false;
  }

  void tools() {
    if (const auto* list = fields_.find("tools"); list != nullptr) {
      if (!list->is_array()) return fields_.fault("tools", "tools must be an array");
      for (const auto& tool : *list) {
        if (!tool.is_object() || !tool.contains("name") || !tool.contains("input_schema"))
          return fields_.fault("tools", "tools: each must have a name and an input_schema");
        json function{{"name", tool["name"]}, {"parameters", tool["input_schema"]}};
        if (tool.contains("description")) function["description"] = tool["description"];
        chat_["tools"].push_back({{"type", "function"}, {"function", std::move(function)}});
      }
    }
    const auto* choice = fields_.find("tool_choice");
    if (choice == nullptr) return;
    const auto type = choice->is_object() ? string_in(*choice, "type") : std::string();
    if (type == "auto" || type == "none")
      chat_["tool_choice"] = type;
    else if (type == "any")
      chat_["tool_choice"] = "required";
    else if (type == "tool")
      chat_["tool_choice"] = {{"type", "function"}, {"function", {{"name", string_in(*choice, "name")}}}};
    else
      return fields_.fault("tool_choice", "tool_choice.type must be auto, any, tool or none");
    if (choice->value("disable_parallel_tool_use", json(false)) == true) chat_["parallel_tool_calls"] = false;
  }

  Fields fields_;
  json chat_ = json::object();
  std::string text_;  // of the message at hand
  json calls_;
};

ApiResult<ApiCall> read(std::string_view body, const ApiContext& context, bool counts_only) {
  const auto root = parse_body(body);
  if (!root) return tl::unexpected(root.error());
  const auto chat = MessagesTranslation(*root).chat(counts_only);
  if (!chat) return tl::unexpected(chat.error());
  constexpr Moved kMoved[] = {{"tools/*/function/parameters", "tools/*/input_schema"}};
  return read_chat_object(*chat, context, in_written_order(*chat, body, kMoved));
}

const char* reason_word(const Outcome& outcome, bool called) {
  if (outcome.reason == FinishReason::kLength) return "max_tokens";
  if (called) return "tool_use";
  return outcome.stop_string.empty() ? "end_turn" : "stop_sequence";
}

Json stop_sequence(const Outcome& outcome) {
  return outcome.stop_string.empty() ? Json() : Json(outcome.stop_string);
}

/// `prompt` counts what was computed, as theirs does; what was remembered stands beside it.
Json message_usage(uint64_t prompt, uint64_t cached, uint64_t answer) {
  return {{"input_tokens", prompt},
          {"cache_creation_input_tokens", 0},
          {"cache_read_input_tokens", cached},
          {"output_tokens", answer}};
}

Json message_usage(const ApiUsage& u) {
  return message_usage(u.prompt_tokens - u.cached_tokens, u.cached_tokens, u.answer_tokens);
}

Json message_json(const ApiHead& head, Json content, Json reason, Json sequence, Json usage) {
  return {{"id", head.id},
          {"type", "message"},
          {"role", "assistant"},
          {"model", head.model},
          {"content", std::move(content)},
          {"stop_reason", std::move(reason)},
          {"stop_sequence", std::move(sequence)},
          {"usage", std::move(usage)}};
}

std::string event(const char* type, Json fields) {
  Json all{{"type", type}};
  all.update(fields);
  return fmt::format("event: {}\ndata: {}\n\n", type, dump(all));
}

}  // namespace

ApiResult<json> chat_of_messages(const json& root) {
  return MessagesTranslation(root).chat(false);
}

ApiResult<ApiCall> read_messages_call(std::string_view body, const ApiContext& context) {
  return read(body, context, false);
}

ApiResult<std::string> count_tokens(std::string_view body, const ApiContext& context) {
  auto config = context.config;
  config.context = UINT32_MAX;
  const auto call = read(body, context.with(config), true);
  if (!call) return tl::unexpected(call.error());
  return dump(Json{{"input_tokens", call->requests.front().prompt.size()}});
}

std::string messages_error(const ApiError& error) {
  const auto type = [&]() -> std::string {
    switch (error.status) {
      case 401:
        return "authentication_error";
      case 403:
        return "permission_error";
      case 404:
        return "not_found_error";
      case 413:
        return "request_too_large";
      case 429:
        return "rate_limit_error";
      case 503:
        return "overloaded_error";
      case 504:
        return "timeout_error";
      default:
        return error.status >= 500 ? "api_error" : "invalid_request_error";
    }
  }();
  return dump(Json{{"type", "error"}, {"error", {{"type", type}, {"message", error.message}}}});
}

const Protocol kMessagesProtocol{"msg_", read_messages_call, make_format<MessagesFormat>, "text/event-stream",
                                 "event: ping\ndata: {\"type\":\"ping\"}\n\n"};

std::string MessagesFormat::whole(const std::vector<ChoiceText>& choices, const std::vector<Outcome>& outcomes,
                                  const ApiUsage& usage) const {
  auto said = call_.may_call() ? split_calls(choices[0].text, call_.calls_in) : SaidAndCalled{choices[0].text, {}};
  Json content = Json::array();
  if (!said.content.empty()) content.push_back({{"type", "text"}, {"text", std::move(said.content)}});
  for (const auto& call : said.calls) {
    auto input = Json::parse(call.arguments, nullptr, false);  // of a call that was cut off nothing is known
    content.push_back({{"type", "tool_use"},
                       {"id", call.id},
                       {"name", call.name},
                       {"input", input.is_discarded() ? Json::object() : std::move(input)}});
  }
  return dump(message_json(head_, std::move(content), reason_word(outcomes[0], !said.calls.empty()),
                           stop_sequence(outcomes[0]), message_usage(usage)));
}

std::string MessagesFormat::begin(uint32_t choice) {
  auto usage = message_usage(call_.requests[choice].prompt.size(), 0, 0);
  return event("message_start", {{"message", message_json(head_, Json::array(), nullptr, nullptr, std::move(usage))}});
}

std::string MessagesFormat::start(Open what, Json block) {
  auto out = stop();
  open_ = what;
  return out + event("content_block_start", {{"index", block_}, {"content_block", std::move(block)}});
}

std::string MessagesFormat::stop() {
  if (open_ == Open::kNothing) return {};
  open_ = Open::kNothing;
  return event("content_block_stop", {{"index", block_++}});
}

std::string MessagesFormat::delta(Json what) const {
  return event("content_block_delta", {{"index", block_}, {"delta", std::move(what)}});
}

std::string MessagesFormat::piece(uint32_t /*choice*/, const ChoiceText& piece) {
  if (piece.text.empty()) return {};
  std::string out;
  if (open_ != Open::kText) out = start(Open::kText, {{"type", "text"}, {"text", ""}});
  return out + delta({{"type", "text_delta"}, {"text", piece.text}});
}

std::string MessagesFormat::calls(uint32_t choice, const ToolCallSplitter::Piece& piece,
                                  const std::vector<GeneratedToken>& /*tokens*/) {
  auto out = this->piece(choice, {piece.content, {}, 0});
  for (const auto& call : piece.calls) {
    if (call.begins)
      out += start(Open::kCall,
                   {{"type", "tool_use"}, {"id", call.part.id}, {"name", call.part.name}, {"input", Json::object()}});
    else
      out += delta({{"type", "input_json_delta"}, {"partial_json", call.part.arguments}});
  }
  return out;
}

std::string MessagesFormat::end(uint32_t /*choice*/, const Outcome& outcome, bool called_tools,
                                const ApiUsage* /*timings*/) {
  outcome_ = outcome;
  called_ = called_tools;
  return stop();
}

std::string MessagesFormat::finish(const ApiUsage& usage) {
  return event(
             "message_delta",
             {{"delta", {{"stop_reason", reason_word(outcome_, called_)}, {"stop_sequence", stop_sequence(outcome_)}}},
              {"usage", message_usage(usage)}}) +
         event("message_stop", Json::object());
}

std::string MessagesFormat::error(const ApiError& error) const {
  return "event: error\ndata: " + messages_error(error) + "\n\n";
}

}  // namespace onebit::server
