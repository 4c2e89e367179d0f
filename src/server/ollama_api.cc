#include "server/ollama_api.h"

#include <fmt/chrono.h>

#include <nlohmann/json.hpp>

#include "server/fields.h"
#include "server/json_body.h"
#include "server/protocol.h"
#include "server/written_order.h"

namespace onebit::server {
namespace {

using nlohmann::json;
using Json = nlohmann::ordered_json;

constexpr const char* kGenerate = "generate";  // details of such a call

/// 2026-01-31T12:00:00.123456789Z
std::string iso_time(std::chrono::system_clock::time_point when) {
  const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(when.time_since_epoch()).count();
  const auto seconds = static_cast<std::time_t>(ns / 1'000'000'000);
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:09}Z", fmt::gmtime(seconds), ns % 1'000'000'000);
}

std::string iso_time(int64_t unix_seconds) {
  return iso_time(std::chrono::system_clock::time_point(std::chrono::seconds(unix_seconds)));
}

class OllamaTranslation {
 public:
  explicit OllamaTranslation(const json& root) : root_(root), fields_(root) {}

  ApiResult<json> chat() {
    common();
    auto& list = chat_["messages"] = json::array();
    const auto* messages = fields_.find("messages");
    if (messages != nullptr && !messages->is_array()) fields_.fault("messages", "messages must be an array");
    for (size_t i = 0; !fields_.error() && messages != nullptr && i < messages->size(); ++i) {
      auto message = (*messages)[i];
      const auto name = fmt::format("messages[{}]", i);
      if (!message.is_object()) {
        fields_.fault(name, name + " must be an object");
        break;
      }
      no_images(message, name + ".images");
      calls_as_text(message);
      list.push_back(std::move(message));
    }
    for (const char* name : {"tools", "tool_choice", "parallel_tool_calls"})  // only the first is Ollama's
      if (const auto* value = fields_.find(name)) chat_[name] = *value;
    return result();
  }

  /// A prompt is a user's message, or with raw the text itself.
  ApiResult<json> generate(bool& raw) {
    common();
    raw = fields_.boolean("raw", false);
    const auto prompt = fields_.string("prompt", ""), system = fields_.string("system", "");
    for (const char* name : {"suffix", "template"})
      if (!fields_.string(name, "").empty())
        fields_.fault(name, fmt::format("{} is not supported by this server", name));
    if (const auto* context = fields_.find("context"); context != nullptr && !context->empty())
      fields_.fault("context", "context is not supported by this server: use /api/chat for a conversation");
    no_images(root_, "images");
    if (raw) {
      chat_["prompt"] = prompt;
      if (!chat_.contains("max_tokens")) chat_["max_tokens"] = INT32_MAX;
      return result();
    }
    auto& list = chat_["messages"] = json::array();
    if (!system.empty()) list.push_back({{"role", "system"}, {"content", system}});
    list.push_back({{"role", "user"}, {"content", prompt}});
    return result();
  }

 private:
  ApiResult<json> result() {
    if (const auto* error = fields_.error()) return tl::unexpected(*error);
    return std::move(chat_);
  }

  void no_images(const json& object, const std::string& name) {
    const auto it = object.find("images");
    if (it != object.end() && !it->empty()) fields_.fault(name, name + ": this model sees no images");
  }

  /// Arguments of calls are objects here, and texts in a chat completion.
  static void calls_as_text(json& message) {
    const auto calls = message.find("tool_calls");
    if (calls == message.end() || !calls->is_array()) return;
    size_t number = 0;
    for (auto& call : *calls) {
      if (!call.is_object() || !call.contains("function") || !call["function"].is_object()) continue;
      auto& arguments = call["function"]["arguments"];
      if (!arguments.is_string()) arguments = dump(Json(arguments));
      call["type"] = "function";
      if (!call.contains("id")) call["id"] = fmt::format("call_{}", number);
      ++number;
    }
  }

  void common() {
    if (const auto* model = fields_.find("model")) chat_["model"] = *model;
    chat_["stream"] = fields_.boolean("stream", true);
    chat_["temperature"] = 0.8;
    chat_["top_k"] = 40;
    chat_["top_p"] = 0.9;
    if (const auto* think = fields_.find("think"); think != nullptr && *think != false)
      fields_.fault("think", "think: this model has no thinking to tell");
    const auto* format = fields_.find("format");
    if (format != nullptr && *format == "json")
      chat_["response_format"] = {{"type", "json_object"}};
    else if (format != nullptr && format->is_object())
      chat_["response_format"] = {{"type", "json_schema"}, {"json_schema", {{"name", "format"}, {"schema", *format}}}};
    else if (format != nullptr && *format != "")
      fields_.fault("format", "format must be \"json\" or a schema");
    const auto* options = fields_.find("options");
    if (options == nullptr) return;
    if (!options->is_object()) return fields_.fault("options", "options must be an object");
    for (const char* name : {"temperature", "top_k", "top_p", "min_p", "typical_p", "repeat_penalty",
                             "presence_penalty", "frequency_penalty", "seed", "stop"})
      if (const auto it = options->find(name); it != options->end() && !it->is_null()) chat_[name] = *it;
    Fields inner(*options);
    const int64_t most = inner.integer("num_predict", -1, -2, INT32_MAX);  // below 0: what the context holds
    if (most == 0) inner.fault("num_predict", "num_predict must not be 0");
    if (most > 0) chat_["max_tokens"] = most;
    if (inner.error() != nullptr) fields_.fault("options." + inner.error()->param, inner.error()->message);
  }

  const json& root_;
  Fields fields_;
  json chat_ = json::object();
};

/// Nothing is asked but that the model be loaded, which it is.
ApiResult<ApiCall> loads_only(const json& root, const ApiContext& context, std::string details) {
  Fields fields(root);
  check_model(fields, context);
  if (const auto* error = fields.error()) return tl::unexpected(*error);
  ApiCall call;
  call.details = std::move(details);
  return call;
}

Json details_json(const ModelFacts& f) {
  const auto millions = static_cast<double>(f.parameters) / 1e6;
  return {
      {"parent_model", ""},
      {"format", "h1b"},
      {"family", family_name(f.config)},
      {"families", {family_name(f.config)}},
      {"parameter_size", millions < 1000 ? fmt::format("{:.0f}M", millions) : fmt::format("{:.1f}B", millions / 1000)},
      {"quantization_level", f.weights}};
}

Json model_json(const OllamaModel& m) {
  return {{"name", m.name},        {"model", m.name},          {"modified_at", iso_time(m.facts.modified)},
          {"size", m.facts.bytes}, {"digest", m.facts.digest}, {"details", details_json(m.facts)}};
}

}  // namespace

std::string_view without_tag(std::string_view name) {
  constexpr std::string_view kTag = ":latest";
  return name.ends_with(kTag) ? name.substr(0, name.size() - kTag.size()) : name;
}

void without_tag(json& root) {
  if (!root.contains("model") && root.contains("name")) root["model"] = root["name"];
  const auto it = root.find("model");
  if (it != root.end() && it->is_string()) *it = std::string(without_tag(it->get_ref<const std::string&>()));
}

int64_t nanoseconds(double milliseconds) {
  return static_cast<int64_t>(milliseconds * 1e6);
}

constexpr Moved kKeptInOrder[] = {{"tools", "tools"}, {"response_format/json_schema/schema", "format"}};

ApiResult<ApiCall> read_ollama_chat(std::string_view body, const ApiContext& context) {
  auto root = parse_body(body);
  if (!root) return tl::unexpected(root.error());
  without_tag(*root);
  const auto chat = OllamaTranslation(*root).chat();
  if (!chat) return tl::unexpected(chat.error());
  if ((*chat)["messages"].empty()) return loads_only(*root, context, {});
  return read_chat_object(*chat, context, in_written_order(*chat, body, kKeptInOrder));
}

ApiResult<ApiCall> read_ollama_generate(std::string_view body, const ApiContext& context) {
  auto root = parse_body(body);
  if (!root) return tl::unexpected(root.error());
  without_tag(*root);
  bool raw = false;
  const auto translated = OllamaTranslation(*root).generate(raw);
  if (!translated) return tl::unexpected(translated.error());
  if (Fields(*root).string("prompt", "").empty()) return loads_only(*root, context, kGenerate);
  const auto text = in_written_order(*translated, body, kKeptInOrder);
  auto call = raw ? read_completion_object(*translated, context, text) : read_chat_object(*translated, context, text);
  if (call) call->details = kGenerate;
  return call;
}

const Protocol kOllamaChatProtocol{"", read_ollama_chat, make_format<OllamaFormat>, "application/x-ndjson", ""};
const Protocol kOllamaGenerateProtocol{"", read_ollama_generate, make_format<OllamaFormat>, "application/x-ndjson", ""};

std::string ollama_error(const ApiError& error) {
  return dump(Json{{"error", error.message}});
}

/// Arguments are an object here, so a call that was cut off is none.
static Json calls_json(const std::vector<ToolCall>& calls) {
  Json list = Json::array();
  for (const auto& call : calls)
    if (auto arguments = Json::parse(call.arguments, nullptr, false); !arguments.is_discarded())
      list.push_back({{"function", {{"name", call.name}, {"arguments", std::move(arguments)}}}});
  return list;
}

Json OllamaFormat::object(const std::string& text) const {
  Json object{{"model", head_.model}, {"created_at", iso_time(std::chrono::system_clock::now())}};
  if (call_.details == kGenerate)
    object["response"] = text;
  else
    object["message"] = {{"role", "assistant"}, {"content", text}};
  object["done"] = false;
  return object;
}

Json OllamaFormat::last(const std::string& text, FinishReason reason, const ApiUsage& u) const {
  auto object = this->object(text);
  object["done"] = true;
  object["done_reason"] = name_of(reason);
  object["total_duration"] = nanoseconds(u.first_token_ms + u.answer_ms);
  object["load_duration"] = 0;
  object["prompt_eval_count"] = u.prompt_tokens;
  object["prompt_eval_duration"] = nanoseconds(u.prompt_ms);
  object["eval_count"] = u.answer_tokens;
  object["eval_duration"] = nanoseconds(u.answer_ms);
  return object;
}

std::string OllamaFormat::whole(const std::vector<ChoiceText>& choices, const std::vector<Outcome>& outcomes,
                                const ApiUsage& usage) const {
  if (!choices.empty()) {
    const auto said =
        call_.may_call() ? split_calls(choices[0].text, call_.calls_in) : SaidAndCalled{choices[0].text, {}};
    auto whole = last(said.content, outcomes[0].reason, usage);
    if (auto calls = calls_json(said.calls); !calls.empty()) whole["message"]["tool_calls"] = std::move(calls);
    return dump(whole);
  }
  auto loaded = object("");
  loaded["done"] = true;
  loaded["done_reason"] = "load";
  return dump(loaded);
}

std::string OllamaFormat::begin(uint32_t /*choice*/) {
  return {};
}

std::string OllamaFormat::piece(uint32_t /*choice*/, const ChoiceText& piece) {
  return dump(object(piece.text)) + "\n";
}

std::string OllamaFormat::calls(uint32_t choice, const ToolCallSplitter::Piece& piece,
                                const std::vector<GeneratedToken>& /*tokens*/) {
  called_.add(piece);
  return piece.content.empty() ? std::string() : this->piece(choice, {piece.content, {}, 0});
}

std::string OllamaFormat::end(uint32_t /*choice*/, const Outcome& outcome, bool /*called_tools*/,
                              const ApiUsage* /*timings*/) {
  reason_ = outcome.reason;
  auto calls = calls_json(called_.calls);
  if (calls.empty()) return {};
  auto told = object("");
  told["message"]["tool_calls"] = std::move(calls);
  return dump(told) + "\n";
}

std::string OllamaFormat::finish(const ApiUsage& usage) {
  return dump(last("", reason_, usage)) + "\n";
}

std::string OllamaFormat::error(const ApiError& error) const {
  return ollama_error(error) + "\n";
}

std::string ollama_tags(std::span<const OllamaModel> models) {
  Json list = Json::array();
  for (const auto& model : models) list.push_back(model_json(model));
  return dump(Json{{"models", std::move(list)}});
}

std::string ollama_ps(std::span<const OllamaModel> models) {
  Json list = Json::array();
  for (const auto& model : models) {
    auto one = model_json(model);
    one.erase("modified_at");
    one["context_length"] = model.facts.config.context;
    list.push_back(std::move(one));
  }
  return dump(Json{{"models", std::move(list)}});
}

std::string ollama_show(const OllamaModel& m, const Tokenizer* tokenizer) {
  const auto& c = m.facts.config;
  const std::string family(family_name(c));
  Json info{{"general.architecture", family}, {"general.parameter_count", m.facts.parameters}};
  for (const auto& [key, value] : {std::pair{".context_length", c.context},
                                   {".embedding_length", c.hidden},
                                   {".block_count", c.layers},
                                   {".feed_forward_length", c.ffn},
                                   {".attention.head_count", c.heads},
                                   {".attention.head_count_kv", c.kv_heads},
                                   {".vocab_size", c.vocabulary}})
    info[family + key] = value;
  if (tokenizer != nullptr) info["tokenizer.chat_layout"] = name_of(tokenizer->chat_layout());
  return dump({{"modelfile", ""},
               {"parameters", ""},
               {"template", ""},
               {"details", details_json(m.facts)},
               {"model_info", std::move(info)},
               {"capabilities", {"completion", "tools", "embedding"}},
               {"modified_at", iso_time(m.facts.modified)}});
}

}  // namespace onebit::server
