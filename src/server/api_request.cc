#include "server/api_request.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include <nlohmann/json.hpp>
#include <random>

#include "base/utf8.h"
#include "grammar/tools.h"
#include "server/fields.h"
#include "server/json_body.h"
#include "server/structure.h"
#include "server/tools.h"
#include "tokenizer/chat_layout.h"

namespace onebit::server {
namespace {

using nlohmann::json;

uint64_t draw_seed() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

/// Every token in whose text one of the strings stands.
std::vector<TokenId> tokens_with(const std::vector<std::string>& strings, const Tokenizer& tokenizer) {
  std::vector<TokenId> ids;
  for (TokenId id = 0; static_cast<size_t>(id) < tokenizer.vocabulary_size(); ++id) {
    const auto bytes = tokenizer.token_bytes(id);
    const auto stands = [&](const std::string& s) { return !s.empty() && bytes.find(s) != std::string_view::npos; };
    if (std::any_of(strings.begin(), strings.end(), stands)) ids.push_back(id);
  }
  return ids;
}

void read_dry(Fields& fields, SamplingParams& s, const Tokenizer& tokenizer) {
  s.dry_multiplier = static_cast<float>(fields.number("dry_multiplier", 0, 0, 100));
  s.dry_base = static_cast<float>(fields.number("dry_base", 1.75, 1, 100));
  s.dry_allowed_length = static_cast<uint32_t>(fields.integer("dry_allowed_length", 2, 0, INT32_MAX));
  s.dry_last_n = static_cast<uint32_t>(std::max<int64_t>(0, fields.integer("dry_penalty_last_n", -1, -1, INT32_MAX)));
  const auto breakers = fields.find("dry_sequence_breakers") == nullptr ? std::vector<std::string>{"\n", ":", "\"", "*"}
                                                                        : fields.strings("dry_sequence_breakers", 32);
  if (s.dry_multiplier > 0.0f && !fields.error()) s.dry_breakers = tokens_with(breakers, tokenizer);
}

void read_logit_bias(Fields& fields, SamplingParams& sampling, uint32_t vocabulary) {
  const auto* bias = fields.find("logit_bias");
  if (bias == nullptr) return;
  if (!bias->is_object() || bias->size() > 1024)
    return fields.fault("logit_bias", "logit_bias must be an object of at most 1024 token ids and numbers");
  for (const auto& [key, value] : bias->items()) {
    uint32_t id = 0;
    const auto end = std::from_chars(key.data(), key.data() + key.size(), id);
    if (end.ec != std::errc() || end.ptr != key.data() + key.size() || id >= vocabulary)
      return fields.fault("logit_bias",
                          fmt::format("logit_bias: '{}' is not a token id below {}", printable(key), vocabulary));
    if (!value.is_number() || !(std::abs(value.get<double>()) <= 100))
      return fields.fault("logit_bias", fmt::format("logit_bias of {} must be a number from -100 to 100", id));
    sampling.logit_bias.emplace_back(static_cast<TokenId>(id), static_cast<float>(value.get<double>()));
  }
}

SamplingParams read_sampling(Fields& fields, const ApiContext& context) {
  const auto number = [&](const char* name, double fallback, double low, double high) {
    return static_cast<float>(fields.number(name, fallback, low, high));
  };
  SamplingParams s;
  s.temperature = number("temperature", 1, 0, 100);
  s.top_k = static_cast<uint32_t>(std::max<int64_t>(0, fields.integer("top_k", 0, -1, INT32_MAX)));
  s.top_p = number("top_p", 1, 0, 1);
  s.typical_p = number("typical_p", 1, 0, 1);
  s.min_p = number("min_p", 0, 0, 1);
  s.xtc_probability = number("xtc_probability", 0, 0, 1);
  s.xtc_threshold = number("xtc_threshold", 0.1, 0, 1);
  s.repetition_penalty = number("repetition_penalty", number("repeat_penalty", 1, 0.01, 100), 0.01, 100);
  s.frequency_penalty = number("frequency_penalty", 0, -100, 100);
  s.presence_penalty = number("presence_penalty", 0, -100, 100);
  s.seed = fields.find("seed") == nullptr ? draw_seed()
                                          : static_cast<uint64_t>(fields.integer("seed", 0, INT64_MIN, INT64_MAX));
  read_dry(fields, s, context.tokenizer);
  read_logit_bias(fields, s, context.config.vocabulary);
  return s;
}

/// {"type": "text", …}
bool is_text_type(const json& object) {
  const auto it = object.find("type");
  return it != object.end() && it->is_string() && it->get_ref<const std::string&>() == "text";
}

/// What this server cannot do yet is refused, not ignored: an answer without it would be the wrong one.
void refuse_unsupported(Fields& fields) {
  for (const char* name : {"functions", "audio", "modalities"}) {
    const auto* value = fields.find(name);
    const bool harmless = value == nullptr || (value->is_array() && value->empty()) || *value == json::array({"text"});
    if (!harmless)
      fields.fault(name, fmt::format("{} is not supported by this server", name), 400, "unsupported_parameter");
  }
}

constexpr size_t kLongestStop = 1024;

/// What both kinds share.
Request read_common(Fields& fields, const ApiContext& context, ApiCall& call) {
  Request request;
  auto& p = request.params;
  p.sampling = read_sampling(fields, context);
  p.stop = fields.strings("stop", 16);
  for (const auto& stop : p.stop)
    if (stop.size() > kLongestStop)
      fields.fault("stop", fmt::format("stop: a string is longer than {} bytes", kLongestStop));
  p.ignore_eos = fields.boolean("ignore_eos", false);
  call.stream = fields.boolean("stream", false);
  if (const auto* options = fields.find("stream_options")) {
    if (!options->is_object()) {
      fields.fault("stream_options", "stream_options must be an object");
    } else {
      Fields inner(*options);
      call.include_usage = inner.boolean("include_usage", false);
      if (const auto* error = inner.error()) fields.fault("stream_options.include_usage", error->message);
    }
  }
  check_model(fields, context);
  refuse_unsupported(fields);
  return request;
}

uint32_t limited_tokens(int64_t wanted, const ApiContext& context) {
  const uint32_t most = context.limits.max_tokens;
  if (most == 0) return static_cast<uint32_t>(wanted);
  return wanted == 0 ? most : std::min(most, static_cast<uint32_t>(wanted));
}

/// Text of a message: a string, or an array of parts of type text.
std::optional<std::string> text_of(const json& content) {
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array()) return std::nullopt;
  std::string text;
  for (const auto& part : content) {
    if (!part.is_object() || !is_text_type(part)) return std::nullopt;
    const auto it = part.find("text");
    if (it == part.end() || !it->is_string()) return std::nullopt;
    text += it->get<std::string>();
  }
  return text;
}

std::vector<ChatMessage> read_messages(Fields& fields) {
  std::vector<ChatMessage> messages;
  const auto* list = fields.find("messages");
  if (list == nullptr || !list->is_array() || list->empty()) {
    fields.fault("messages", "messages must be an array of at least one message");
    return messages;
  }
  for (size_t i = 0; i < list->size(); ++i) {
    const auto& message = (*list)[i];
    const auto name = fmt::format("messages[{}]", i);
    if (!message.is_object()) {
      fields.fault(name, name + " must be an object");
      break;
    }
    const auto role = message.find("role"), content = message.find("content");
    const bool has_role = role != message.end() && role->is_string();
    const bool silent = content == message.end() || content->is_null();
    // Clients send back what they got, and an answer that called a tool has no text.
    const bool may_be = has_role && *role == "assistant";
    auto text = !silent ? text_of(*content) : may_be ? std::optional<std::string>("") : std::nullopt;
    if (may_be && text) text = with_tool_calls(fields, message, name, *std::move(text));
    if (!has_role) fields.fault(name + ".role", name + ".role must be a string");
    if (!text) fields.fault(name + ".content", name + ".content must be a string or an array of parts of type text");
    if (fields.error()) break;
    const auto word = role->get<std::string>();
    if (word == "tool" && i > 0 && (*list)[i - 1].value("role", "") == "tool")
      messages.back().content += "\n" + tool_response(*text);  // answers to calls of one message
    else if (word == "tool")
      messages.push_back({"user", tool_response(*text)});
    else
      messages.push_back({word == "developer" ? "system" : word, text.value_or("")});
  }
  return messages;
}

/// Their prompt, or the fault.
std::vector<TokenId> read_chat_prompt(Fields& fields, const ApiContext& context, const Tools& tools, bool open_answer) {
  auto messages = read_messages(fields);
  const bool goes_on = fields.boolean("continue_final_message", false);  // an answer's beginning is its last message
  if (fields.error()) return {};
  std::string beginning;
  if (goes_on && messages.back().role == "assistant") {
    beginning = std::move(messages.back().content);
    messages.pop_back();
    open_answer = true;
  }
  if (context.tokenizer.chat_layout() != ChatLayout::kNone)
    describe_tools(tools, context.tokenizer.chat_format().has_system, messages);
  auto prompt = encode_chat(context.tokenizer, messages, open_answer);
  if (prompt) context.tokenizer.encode(beginning, SpecialTokens::kAsText, *prompt);
  if (prompt) return *std::move(prompt);
  fields.fault("messages", prompt.error().message);
  return {};
}

/// Before it is copied for each choice.
bool fits_context(Fields& fields, const std::vector<TokenId>& prompt, const char* field, const ApiContext& context) {
  if (prompt.size() < context.config.context) return true;
  fields.fault(field,
               fmt::format("the prompt has {} tokens, which leaves no room for an answer in the model's context of {}",
                           prompt.size(), context.config.context),
               400, "context_length_exceeded");
  return false;
}

/// The same request for each choice.
void add_choices(ApiCall& call, Request request, uint32_t n, uint32_t hidden) {
  for (uint32_t choice = 0; choice < n; ++choice) {
    request.params.sampling.choice = choice;
    call.requests.push_back(request);
    call.hidden_prompt_tokens.push_back(hidden);
  }
}

struct Prompt {
  std::vector<TokenId> ids;
  uint32_t hidden = 0;  // a BOS of ours
};

Prompt text_prompt(const std::string& text, const ApiContext& context) {
  Prompt prompt{context.tokenizer.encode(text, SpecialTokens::kParse)};
  const auto bos = context.tokenizer.bos();
  if (bos && (prompt.ids.empty() || prompt.ids.front() != *bos)) {
    prompt.ids.insert(prompt.ids.begin(), *bos);
    prompt.hidden = 1;
  }
  return prompt;
}

/// A text, token ids, or an array of either; at most `most`.
std::vector<Prompt> read_prompts(Fields& fields, const ApiContext& context, size_t most) {
  const auto* value = fields.find("prompt");
  if (value != nullptr && value->is_array() && !is_token_ids(*value) && value->size() > most) {
    fields.fault("prompt",
                 fmt::format("{} prompts with this n are more than {} answers", value->size(), context.limits.answers));
    return {};
  }
  std::vector<Prompt> prompts;
  if (value != nullptr && value->is_string()) {
    prompts.push_back(text_prompt(value->get<std::string>(), context));
  } else if (value != nullptr && is_token_ids(*value)) {
    prompts.push_back({.ids = token_ids(*value)});
  } else if (value != nullptr && value->is_array()) {
    for (const auto& item : *value) {
      if (item.is_string())
        prompts.push_back(text_prompt(item.get<std::string>(), context));
      else if (is_token_ids(item))
        prompts.push_back({.ids = token_ids(item)});
      else
        break;
    }
    if (prompts.size() != value->size()) prompts.clear();
  }
  if (prompts.empty()) fields.fault("prompt", "prompt must be a text, an array of token ids, or an array of either");
  return prompts;
}

/// What the answer has to be: of a form that was asked for, or with calls of tools.
void read_form(Fields& fields, std::string_view body, const Tools& tools, const ApiContext& context, ApiCall& call,
               Request& request) {
  auto form = read_structure(fields, body);
  if (fields.error()) return;
  if (tools.offered()) {
    if (form && form->language != grammar::Language::kJsonSchema)
      return fields.fault(form->field, form->field + " and tools cannot both be given");
    const bool called_at_once = tools.choice != Tools::Choice::kAuto;
    call.calls_in = called_at_once ? CallsIn::kCalls : form ? CallsIn::kJson : CallsIn::kWords;
    form = tools.structure(form);
    // Within a call a stop string would leave half of one.
    if (called_at_once)
      request.params.stop.clear();
    else
      request.params.stop_before = grammar::kCallMarker;
    call.named_tool = tools.choice == Tools::Choice::kNamed;
  }
  if (form) request.params.grammar = compile_structure(fields, *form, context.grammars);
}

ApiResult<ApiCall> finish(Fields& fields, ApiCall call) {
  if (const auto* error = fields.error()) return tl::unexpected(*error);
  return call;
}

}  // namespace

void check_model(Fields& fields, const ApiContext& context) {
  const auto model = fields.string("model", context.model_name);
  if (model != context.model_name && !context.any_model)
    fields.fault("model",
                 fmt::format("the model '{}' does not exist: there is '{}'", printable(model), context.model_name), 404,
                 "model_not_found");
}

ApiResult<ApiCall> read_chat(std::string_view body, const ApiContext& context) {
  const auto root = parse_body(body);
  if (!root) return tl::unexpected(root.error());
  return read_chat_object(*root, context, body);
}

ApiResult<ApiCall> read_chat_object(const json& root, const ApiContext& context, std::string_view body) {
  Fields fields(root);
  ApiCall call;
  auto request = read_common(fields, context, call);
  call.logprobs = request.params.logprobs = fields.boolean("logprobs", false);
  request.params.top_logprobs =
      static_cast<uint32_t>(fields.integer("top_logprobs", 0, 0, context.limits.top_logprobs));
  if (request.params.top_logprobs > 0 && !call.logprobs)
    fields.fault("top_logprobs", "top_logprobs needs logprobs to be true");
  const int64_t most = fields.integer("max_tokens", 0, 1, INT32_MAX);
  request.params.max_tokens = limited_tokens(fields.integer("max_completion_tokens", most, 1, INT32_MAX), context);
  const auto n = static_cast<uint32_t>(fields.integer("n", 1, 1, context.limits.choices));
  const auto tools = read_tools(fields, body);
  request.prompt = read_chat_prompt(fields, context, tools, true);
  if (!fields.error()) fits_context(fields, request.prompt, "messages", context);
  if (!fields.error()) read_form(fields, body, tools, context, call, request);
  if (fields.error()) request.prompt.clear();
  add_choices(call, std::move(request), n, 0);
  return finish(fields, std::move(call));
}

ApiResult<ApiCall> read_completion(std::string_view body, const ApiContext& context) {
  const auto root = parse_body(body);
  if (!root) return tl::unexpected(root.error());
  return read_completion_object(*root, context, body);
}

ApiResult<ApiCall> read_completion_object(const json& root, const ApiContext& context, std::string_view body) {
  Fields fields(root);
  ApiCall call;
  call.kind = ApiCall::Kind::kCompletion;
  auto request = read_common(fields, context, call);
  call.logprobs = request.params.logprobs = fields.find("logprobs") != nullptr;
  request.params.top_logprobs = static_cast<uint32_t>(fields.integer("logprobs", 0, 0, context.limits.top_logprobs));
  call.echo = fields.boolean("echo", false);
  const int64_t most = fields.integer("max_tokens", 16, 0, INT32_MAX);
  if (most == 0 && !call.echo) fields.fault("max_tokens", "max_tokens of 0 needs echo");
  request.prompt_only = most == 0;
  request.prompt_logprobs = call.echo && call.logprobs;
  request.params.max_tokens = limited_tokens(most, context);
  const auto n = static_cast<uint32_t>(fields.integer("n", 1, 1, context.limits.choices));
  if (fields.integer("best_of", n, 1, INT32_MAX) != n) fields.fault("best_of", "best_of other than n is not supported");
  if (fields.find("tools") != nullptr)
    fields.fault("tools", "tools are for chats; /v1/completions has none", 400, "unsupported_parameter");
  if (!fields.string("suffix", "").empty()) fields.fault("suffix", "suffix is not supported");
  if (!fields.error()) read_form(fields, body, {}, context, call, request);
  const auto prompts = read_prompts(fields, context, context.limits.answers / n);
  for (const auto& prompt : prompts) {
    if (fields.error()) break;
    if (!fits_context(fields, prompt.ids, "prompt", context)) break;
    request.prompt = prompt.ids;
    add_choices(call, request, n, prompt.hidden);
  }
  return finish(fields, std::move(call));
}

ApiResult<std::string> tokenize(std::string_view body, const ApiContext& context) {
  auto root = parse_body(body);
  if (!root) return tl::unexpected(root.error());
  Fields fields(*root);
  const bool special = fields.boolean("parse_special", true);
  const bool add_bos = fields.boolean("add_special", false);
  if (fields.find("content") == nullptr) fields.fault("content", "content, the text, is missing");
  const auto text = fields.string("content", "");
  const bool pieces = fields.boolean("with_pieces", false);
  if (const auto* error = fields.error()) return tl::unexpected(*error);
  auto ids = context.tokenizer.encode(text, special ? SpecialTokens::kParse : SpecialTokens::kAsText);
  if (const auto bos = context.tokenizer.bos(); add_bos && bos) ids.insert(ids.begin(), *bos);
  if (pieces && ids.size() > context.limits.pieces)
    return tl::unexpected(ApiError{
        413, fmt::format("{} tokens; with_pieces tells at most {}", ids.size(), context.limits.pieces), "content"});
  json tokens = json::array();
  for (const TokenId id : ids) {
    if (!pieces) {
      tokens.push_back(id);
      continue;
    }
    const auto bytes = context.tokenizer.token_bytes(id);
    json piece = utf8_valid(bytes) ? json(bytes) : json(std::vector<uint8_t>(bytes.begin(), bytes.end()));
    tokens.push_back({{"id", id}, {"piece", std::move(piece)}});
  }
  return json{{"tokens", std::move(tokens)}, {"count", ids.size()}}.dump();
}

ApiResult<std::string> detokenize(std::string_view body, const ApiContext& context) {
  auto root = parse_body(body);
  if (!root) return tl::unexpected(root.error());
  const auto it = root->find("tokens");
  std::vector<TokenId> ids;
  if (it != root->end() && is_token_ids(*it)) ids = token_ids(*it);
  const bool empty = it != root->end() && it->is_array() && it->empty();
  const auto in_range = [&](TokenId id) { return id >= 0 && static_cast<uint32_t>(id) < context.config.vocabulary; };
  if ((ids.empty() && !empty) || !std::all_of(ids.begin(), ids.end(), in_range))
    return tl::unexpected(
        ApiError{.message = fmt::format("tokens must be an array of token ids below {}", context.config.vocabulary),
                 .param = "tokens"});
  return json{{"content", utf8_replace_invalid(context.tokenizer.decode(ids, false))}}.dump();
}

ApiResult<std::string> apply_template(std::string_view body, const ApiContext& context) {
  auto root = parse_body(body);
  if (!root) return tl::unexpected(root.error());
  Fields fields(*root);
  const bool open_answer = fields.boolean("add_generation_prompt", true);
  const auto tools = read_tools(fields, body);
  const auto ids = read_chat_prompt(fields, context, tools, open_answer);
  if (const auto* error = fields.error()) return tl::unexpected(*error);
  return json{{"prompt", utf8_replace_invalid(context.tokenizer.decode(ids, false))}, {"tokens", ids}}.dump();
}

std::string tokenizer_info(const ApiContext& context) {
  const auto& t = context.tokenizer;
  json info{{"vocabulary", t.vocabulary_size()},
            {"context", context.config.context},
            {"chat_layout", name_of(t.chat_layout())},
            {"bos_token", nullptr},
            {"bos_token_id", nullptr},
            {"stop_token_ids", json::array()},
            {"special_tokens", json::object()}};
  if (const auto bos = t.bos()) {
    info["bos_token"] = utf8_replace_invalid(t.token_bytes(*bos));
    info["bos_token_id"] = *bos;
  }
  for (TokenId id = 0; static_cast<size_t>(id) < t.vocabulary_size(); ++id) {
    if (t.is_stop(id)) info["stop_token_ids"].push_back(id);
    if (t.is_special(id) && utf8_valid(t.token_bytes(id))) info["special_tokens"][std::string(t.token_bytes(id))] = id;
  }
  return info.dump();
}

}  // namespace onebit::server
