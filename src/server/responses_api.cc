#include "server/responses_api.h"

#include <fmt/format.h>

#include <algorithm>
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

/// Fields that have another name or form in a chat completion, or none.
constexpr std::string_view kOwn[] = {"input",
                                     "instructions",
                                     "max_output_tokens",
                                     "text",
                                     "tools",
                                     "include",
                                     "tool_choice",
                                     "previous_response_id",
                                     "store",
                                     "metadata",
                                     "prompt",
                                     "reasoning",
                                     "truncation",
                                     "n",
                                     "background",
                                     "stop",
                                     "conversation",
                                     "stream_options",
                                     "messages",
                                     "max_tokens",
                                     "logprobs",
                                     "response_format",
                                     "max_completion_tokens",
                                     "top_logprobs"};

std::string type_of(const json& object) {
  const auto it = object.find("type");
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

/// A string, or parts that are texts.
std::optional<std::string> item_text(const json& content) {
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array()) return std::nullopt;
  std::string text;
  for (const auto& part : content) {
    if (!part.is_object()) return std::nullopt;
    const auto type = type_of(part);
    const bool is_text = type == "input_text" || type == "output_text" || type == "text" || type == "summary_text";
    const auto it = part.find(type == "refusal" ? "refusal" : "text");
    if ((!is_text && type != "refusal") || it == part.end() || !it->is_string()) return std::nullopt;
    text += it->get<std::string>();
  }
  return text;
}

class ResponsesTranslation {
 public:
  explicit ResponsesTranslation(const json& root) : root_(root), fields_(root) {}

  ApiResult<json> chat() {
    refuse_state();
    for (const auto& [name, value] : root_.items())
      if (std::find(std::begin(kOwn), std::end(kOwn), name) == std::end(kOwn)) chat_[name] = value;
    if (const auto* most = fields_.find("max_output_tokens")) chat_["max_completion_tokens"] = *most;
    if (const auto* stop = fields_.find("stop")) chat_["stop"] = *stop;  // not of the API, but of use
    messages();
    tools();
    text_format();
    log_probabilities();
    if (const auto* error = fields_.error()) return tl::unexpected(*error);
    return std::move(chat_);
  }

 private:
  void unsupported(const char* name, std::string message) {
    fields_.fault(name, std::move(message), 400, "unsupported_parameter");
  }

  void refuse_state() {
    for (const char* name : {"previous_response_id", "conversation", "prompt"})
      if (fields_.find(name) != nullptr)
        unsupported(name, fmt::format("{}: this server keeps nothing between requests; send the whole conversation in "
                                      "input",
                                      name));
    if (fields_.boolean("background", false)) unsupported("background", "background: this server answers at once");
    fields_.boolean("store", false);  // either way nothing is stored, and the answer says so
    if (fields_.string("truncation", "disabled") != "disabled")
      unsupported("truncation", "truncation: only disabled is supported by this server");
    if (const auto* metadata = fields_.find("metadata"); metadata != nullptr && !metadata->is_object())
      fields_.fault("metadata", "metadata must be an object");
  }

  void messages() {
    auto& list = chat_["messages"] = json::array();
    const auto instructions = fields_.string("instructions", "");
    if (!instructions.empty()) list.push_back({{"role", "system"}, {"content", instructions}});
    const auto* input = fields_.find("input");
    if (input != nullptr && input->is_string()) {
      list.push_back({{"role", "user"}, {"content", *input}});
    } else if (input != nullptr && input->is_array() && !input->empty()) {
      for (size_t i = 0; i < input->size() && !fields_.error(); ++i) item((*input)[i], fmt::format("input[{}]", i));
    } else {
      fields_.fault("input", "input must be a text or an array of at least one item");
    }
  }

  /// A string field of an item; a fault where it is none.
  std::string need(const json& item, const std::string& name, const char* field) {
    const auto it = item.find(field);
    if (it != item.end() && it->is_string()) return it->get<std::string>();
    fields_.fault(name + "." + field, fmt::format("{}.{} must be a string", name, field));
    return {};
  }

  void item(const json& item, const std::string& name) {
    if (!item.is_object()) return fields_.fault(name, name + " must be an object");
    const auto type = type_of(item);
    if (type.empty() || type == "message") return message(item, name);
    if (type == "function_call") return call(item, name);
    if (type == "function_call_output") return output(item, name);
    if (type == "reasoning") return;  // what a model said to itself is not told again
    fields_.fault(
        name + ".type",
        fmt::format("{}.type: items of the type '{}' are not supported by this server", name, printable(type)), 400,
        "unsupported_value");
  }

  void message(const json& item, const std::string& name) {
    const auto role = need(item, name, "role");
    const auto it = item.find("content");
    const auto text = it == item.end() ? std::nullopt : item_text(*it);
    if (!text) return fields_.fault(name + ".content", name + ".content must be a text or an array of texts");
    chat_["messages"].push_back({{"role", role}, {"content", *text}});
  }

  /// Calls that stand together are one message of the assistant's.
  void call(const json& item, const std::string& name) {
    json call{{"id", need(item, name, "call_id")},
              {"type", "function"},
              {"function", {{"name", need(item, name, "name")}, {"arguments", need(item, name, "arguments")}}}};
    auto& list = chat_["messages"];
    if (list.empty() || list.back()["role"] != "assistant")
      list.push_back({{"role", "assistant"}, {"content", nullptr}});
    list.back()["tool_calls"].push_back(std::move(call));
  }

  void output(const json& item, const std::string& name) {
    const auto id = need(item, name, "call_id");
    const auto it = item.find("output");
    const auto text = it == item.end() ? std::nullopt : item_text(*it);
    if (!text) return fields_.fault(name + ".output", name + ".output must be a text or an array of texts");
    chat_["messages"].push_back({{"role", "tool"}, {"tool_call_id", id}, {"content", *text}});
  }

  /// Functions, which a chat completion has one level deeper.
  void tools() {
    const auto nested = [](const json& flat) {
      auto function = flat;
      function.erase("type");
      return json{{"type", "function"}, {"function", std::move(function)}};
    };
    if (const auto* list = fields_.find("tools")) {
      if (!list->is_array()) return fields_.fault("tools", "tools must be an array");
      for (const auto& tool : *list) {
        if (!tool.is_object() || type_of(tool) != "function")
          return unsupported("tools", "tools: only those of the type function are supported by this server");
        chat_["tools"].push_back(nested(tool));
      }
    }
    if (const auto* choice = fields_.find("tool_choice"))
      chat_["tool_choice"] = choice->is_object() && type_of(*choice) == "function" ? nested(*choice) : *choice;
  }

  void text_format() {
    const auto* text = fields_.find("text");
    if (text == nullptr) return;
    if (!text->is_object()) return fields_.fault("text", "text must be an object");
    const auto it = text->find("format");
    if (it == text->end() || it->is_null()) return;
    if (!it->is_object()) return fields_.fault("text.format", "text.format must be an object");
    auto inner = *it;
    inner.erase("type");
    if (type_of(*it) == "json_schema")
      chat_["response_format"] = {{"type", "json_schema"}, {"json_schema", std::move(inner)}};
    else
      chat_["response_format"] = *it;
  }

  void log_probabilities() {
    if (const auto* top = fields_.find("top_logprobs")) chat_["top_logprobs"] = *top;
    const auto wanted = fields_.strings("include", 16);
    const bool told = std::find(wanted.begin(), wanted.end(), "message.output_text.logprobs") != wanted.end();
    if (told || chat_.contains("top_logprobs")) chat_["logprobs"] = true;
  }

  const json& root_;
  Fields fields_;
  json chat_ = json::object();
};

/// The names that a chat completion's fields have here.
ApiError renamed(ApiError error) {
  constexpr std::pair<std::string_view, const char*> kNames[] = {
      {"messages", "input"}, {"max_completion_tokens", "max_output_tokens"}, {"response_format", "text.format"}};
  for (const auto& [theirs, ours] : kNames)
    if (error.param == theirs) error.param = ours;
  return error;
}

/// What a response tells again of its request.
Json told_again(const json& root) {
  const std::pair<const char*, Json> kDefaults[] = {{"instructions", nullptr},
                                                    {"max_output_tokens", nullptr},
                                                    {"metadata", Json::object()},
                                                    {"parallel_tool_calls", true},
                                                    {"temperature", 1},
                                                    {"text", {{"format", {{"type", "text"}}}}},
                                                    {"tool_choice", "auto"},
                                                    {"tools", Json::array()},
                                                    {"top_p", 1},
                                                    {"top_logprobs", 0},
                                                    {"user", nullptr}};
  Json told = Json::object();
  for (const auto& [name, fallback] : kDefaults) {
    const auto it = root.find(name);
    told[name] = it == root.end() || it->is_null() ? fallback : Json(*it);
  }
  return told;
}

std::string message_id(const ApiHead& head) {
  return "msg_" + head.id.substr(head.id.find('_') + 1);
}

Json part_json(const Tokenizer& tokenizer, const ChoiceText& text) {
  return {{"type", "output_text"},
          {"text", text.text},
          {"annotations", Json::array()},
          {"logprobs", logprobs_json(tokenizer, text.tokens)}};
}

Json item_json(const ApiHead& head, const char* status, Json content) {
  return {{"id", message_id(head)},
          {"type", "message"},
          {"status", status},
          {"role", "assistant"},
          {"content", std::move(content)}};
}

Json call_json(const ToolCall& call, const char* status) {
  return {{"id", "fc_" + call.id}, {"type", "function_call"}, {"status", status},
          {"call_id", call.id},    {"name", call.name},       {"arguments", call.arguments}};
}

Json response_usage(const ApiUsage& u) {
  return {{"input_tokens", u.prompt_tokens},
          {"input_tokens_details", {{"cached_tokens", u.cached_tokens}}},
          {"output_tokens", u.answer_tokens},
          {"output_tokens_details", {{"reasoning_tokens", 0}}},
          {"total_tokens", u.prompt_tokens + u.answer_tokens}};
}

Json response_json(const ApiHead& head, const ApiCall& call, const char* status, Json output, const ApiUsage* usage) {
  const bool cut = std::string_view(status) == "incomplete";
  Json response{{"id", head.id},
                {"object", "response"},
                {"created_at", head.created},
                {"status", status},
                {"error", nullptr},
                {"incomplete_details", cut ? Json{{"reason", "max_output_tokens"}} : Json()},
                {"model", head.model},
                {"output", std::move(output)},
                {"previous_response_id", nullptr},
                {"reasoning", {{"effort", nullptr}, {"summary", nullptr}}},
                {"store", false},
                {"truncation", "disabled"},
                {"usage", usage != nullptr ? response_usage(*usage) : Json()}};
  response.update(Json::parse(call.details));
  return response;
}

const char* status_of(FinishReason reason) {
  return reason == FinishReason::kLength ? "incomplete" : "completed";
}

}  // namespace

ApiResult<json> chat_of_response(const json& root) {
  return ResponsesTranslation(root).chat();
}

ApiResult<ApiCall> read_response(std::string_view body, const ApiContext& context) {
  const auto root = parse_body(body);
  if (!root) return tl::unexpected(root.error());
  const auto chat = chat_of_response(*root);
  if (!chat) return tl::unexpected(chat.error());
  constexpr Moved kMoved[] = {{"tools/*/function/parameters", "tools/*/parameters"},
                              {"response_format/json_schema/schema", "text/format/schema"}};
  auto call = read_chat_object(*chat, context, in_written_order(*chat, body, kMoved));
  if (!call) return tl::unexpected(renamed(std::move(call).error()));
  call->details = dump(told_again(*root));
  return call;
}

const Protocol kResponsesProtocol{"resp_", read_response, make_format<ResponsesFormat>};

std::string ResponsesFormat::whole(const std::vector<ChoiceText>& choices, const std::vector<Outcome>& outcomes,
                                   const ApiUsage& usage) const {
  const auto* status = status_of(outcomes[0].reason);
  auto text = choices[0];
  std::vector<ToolCall> calls;
  if (call_.may_call()) {
    auto said = split_calls(text.text, call_.calls_in);
    text.text = std::move(said.content);
    calls = std::move(said.calls);
  }
  Json output = Json::array();
  if (!text.text.empty() || calls.empty())
    output.push_back(item_json(head_, status, Json::array({part_json(tokenizer_, text)})));
  for (size_t i = 0; i < calls.size(); ++i)
    output.push_back(call_json(calls[i], i + 1 < calls.size() ? "completed" : status));
  return dump(response_json(head_, call_, status, std::move(output), &usage));
}

std::string ResponsesFormat::event(const char* type, Json fields) {
  Json all{{"type", type}, {"sequence_number", events_++}};
  all.update(fields);
  return fmt::format("event: {}\ndata: {}\n\n", type, dump(all));
}

std::string ResponsesFormat::begin(uint32_t /*choice*/) {
  const auto response = response_json(head_, call_, "in_progress", Json::array(), nullptr);
  auto out = event("response.created", {{"response", response}});  // one after another: events are numbered
  return out + event("response.in_progress", {{"response", response}});
}

std::string ResponsesFormat::start_text() {
  auto out = stop("completed");
  open_ = Open::kText;
  so_far_ = {};
  out += event("response.output_item.added",
               {{"output_index", output_.size()}, {"item", item_json(head_, "in_progress", Json::array())}});
  return out + event("response.content_part.added", {{"item_id", message_id(head_)},
                                                     {"output_index", output_.size()},
                                                     {"content_index", 0},
                                                     {"part", part_json(tokenizer_, {})}});
}

std::string ResponsesFormat::start_call(const ToolCall& call) {
  auto out = stop("completed");
  open_ = Open::kCall;
  call_so_far_ = {call.id, call.name, {}};
  return out + event("response.output_item.added",
                     {{"output_index", output_.size()}, {"item", call_json(call_so_far_, "in_progress")}});
}

std::string ResponsesFormat::stop(const char* status) {
  std::string out;
  if (open_ == Open::kNothing) return out;
  Json item;
  if (open_ == Open::kText) {
    const auto part = part_json(tokenizer_, so_far_);
    const Json place{{"item_id", message_id(head_)}, {"output_index", output_.size()}, {"content_index", 0}};
    auto text = place, whole = place;
    text["text"] = part["text"];
    text["logprobs"] = part["logprobs"];
    whole["part"] = part;
    out += event("response.output_text.done", std::move(text));
    out += event("response.content_part.done", std::move(whole));
    item = item_json(head_, status, Json::array({part}));
  } else {
    item = call_json(call_so_far_, status);
    out += event("response.function_call_arguments.done", {{"item_id", item["id"]},
                                                           {"output_index", output_.size()},
                                                           {"name", call_so_far_.name},
                                                           {"arguments", call_so_far_.arguments}});
  }
  out += event("response.output_item.done", {{"output_index", output_.size()}, {"item", item}});
  output_.push_back(std::move(item));
  open_ = Open::kNothing;
  return out;
}

std::string ResponsesFormat::piece(uint32_t /*choice*/, const ChoiceText& piece) {
  std::string out;
  if (open_ != Open::kText) out = start_text();
  so_far_.text += piece.text;
  if (call_.logprobs) so_far_.tokens.insert(so_far_.tokens.end(), piece.tokens.begin(), piece.tokens.end());
  return out + event("response.output_text.delta",
                     {{"item_id", message_id(head_)},
                      {"output_index", output_.size()},
                      {"content_index", 0},
                      {"delta", piece.text},
                      {"logprobs", call_.logprobs ? logprobs_json(tokenizer_, piece.tokens) : Json::array()}});
}

std::string ResponsesFormat::calls(uint32_t choice, const ToolCallSplitter::Piece& piece,
                                   const std::vector<GeneratedToken>& tokens) {
  auto out = piece.content.empty() ? std::string() : this->piece(choice, {piece.content, tokens, 0});
  for (const auto& call : piece.calls) {
    if (call.begins) {
      out += start_call(call.part);
      continue;
    }
    call_so_far_.arguments += call.part.arguments;
    out +=
        event("response.function_call_arguments.delta",
              {{"item_id", "fc_" + call_so_far_.id}, {"output_index", output_.size()}, {"delta", call.part.arguments}});
  }
  return out;
}

std::string ResponsesFormat::end(uint32_t /*choice*/, const Outcome& outcome, bool /*called_tools*/,
                                 const ApiUsage* /*timings*/) {
  reason_ = outcome.reason;
  std::string out;
  if (open_ == Open::kNothing && output_.empty()) out = start_text();  // an answer without words
  return out + stop(status_of(reason_));
}

std::string ResponsesFormat::finish(const ApiUsage& usage) {
  const auto* status = status_of(reason_);
  return event(reason_ == FinishReason::kLength ? "response.incomplete" : "response.completed",
               {{"response", response_json(head_, call_, status, output_, &usage)}});
}

std::string ResponsesFormat::error(const ApiError& error) const {
  const Json fields{{"type", "error"},
                    {"sequence_number", events_},
                    {"code", error.code.empty() ? Json() : Json(error.code)},
                    {"message", error.message},
                    {"param", error.param.empty() ? Json() : Json(error.param)}};
  return fmt::format("event: error\ndata: {}\n\n", dump(fields));
}

}  // namespace onebit::server
