#include "server/tools.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

#include "base/utf8.h"
#include "grammar/tools.h"

namespace onebit::server {
namespace {

using grammar::JsonValue;
using nlohmann::json;

constexpr size_t kMostTools = 128;

bool is_name(std::string_view name) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
           c == '.';
  };
  return !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), fits);
}

/// The `function` of a tool, or the fault.
const JsonValue* function_of(Fields& fields, const JsonValue& tool, const std::string& field) {
  const auto* type = tool.find("type");
  if (type == nullptr || type->text != "function") {
    fields.fault("tools", field + ": only tools of type function are supported by this server");
    return nullptr;
  }
  const auto* function = tool.find("function");
  const auto* name = function == nullptr ? nullptr : function->find("name");
  if (name == nullptr || !is_name(name->text)) {
    fields.fault("tools", field + ".function.name must be 1 to 64 letters, digits, '_', '-' and '.'");
    return nullptr;
  }
  return function;
}

void read_choice(Fields& fields, const JsonValue* choice, Tools& tools) {
  tools.choice = tools.described.empty() ? Tools::Choice::kNone : Tools::Choice::kAuto;
  if (choice == nullptr || choice->is(JsonValue::Kind::kNull)) return;
  const auto fault = [&](const std::string& what) { fields.fault("tool_choice", "tool_choice: " + what); };
  if (choice->is(JsonValue::Kind::kString)) {
    if (choice->text == "none")
      tools.choice = Tools::Choice::kNone;
    else if (choice->text == "required")
      tools.choice = Tools::Choice::kRequired;
    else if (choice->text != "auto")
      return fault("must be none, auto, required or a function");
  } else {
    const auto* type = choice->find("type");
    const auto* function = choice->find("function");
    const auto* name = function == nullptr ? nullptr : function->find("name");
    if (type == nullptr || type->text != "function" || name == nullptr)
      return fault("must be none, auto, required or {\"type\": \"function\", \"function\": {\"name\": …}}");
    tools.choice = Tools::Choice::kNamed;
    tools.named = name->text;
    const auto is_it = [&](const JsonValue& tool) { return tool.find("function")->find("name")->text == tools.named; };
    if (std::none_of(tools.described.begin(), tools.described.end(), is_it))
      return fault(fmt::format("there is no tool '{}'", printable(tools.named)));
  }
  if (tools.offered() && tools.described.empty()) fault("needs tools");
}

std::string random_call_id() {
  constexpr std::string_view kLetters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  static thread_local std::random_device device;
  std::string id = "call_";
  for (int i = 0; i < 24; ++i) id += kLetters[device() % kLetters.size()];
  return id;
}

/// Bytes at the end of `text` that `mark` begins with.
size_t begun(std::string_view text, std::string_view mark) {
  for (size_t n = std::min(text.size(), mark.size() - 1); n > 0; --n)
    if (text.ends_with(mark.substr(0, n))) return n;
  return 0;
}

}  // namespace

Structure Tools::structure(const std::optional<Structure>& text) const {
  JsonValue list{.kind = JsonValue::Kind::kArray};
  for (const auto& tool : described) {
    const auto& function = *tool.find("function");
    if (choice == Choice::kNamed && function.find("name")->text != named) continue;
    JsonValue entry{.kind = JsonValue::Kind::kObject};
    entry.members.emplace_back("name", *function.find("name"));
    const auto* parameters = function.find("parameters");
    if (parameters != nullptr && !parameters->is(JsonValue::Kind::kNull))
      entry.members.emplace_back("parameters", *parameters);
    list.items.push_back(std::move(entry));
  }
  JsonValue source{.kind = JsonValue::Kind::kObject};
  source.members.emplace_back("tools", std::move(list));
  const auto flag = [&](const char* name, bool value) {
    source.members.emplace_back(name, JsonValue{.kind = JsonValue::Kind::kBoolean, .boolean = value});
  };
  flag("parallel", parallel && choice != Choice::kNamed);
  flag("text", choice == Choice::kAuto && !text);
  if (choice == Choice::kAuto && text) {
    auto schema = grammar::parse_json(text->source);
    if (!schema) return *text;  // its own reader says what is wrong with it
    source.members.emplace_back("schema", *std::move(schema));
  }
  return {grammar::Language::kTools, to_json(source), "tools"};
}

Tools read_tools(Fields& fields, std::string_view body) {
  Tools tools;
  const auto* sent = fields.find("tools");
  tools.parallel = fields.boolean("parallel_tool_calls", true);
  const bool asked = sent != nullptr || fields.find("tool_choice") != nullptr;
  if (!asked) return tools;
  const auto root = grammar::parse_json(body);  // for the order of its members
  if (!root) {
    fields.fault("", fmt::format("the body: {}", root.error().message));
    return tools;
  }
  if (sent != nullptr && (!sent->is_array() || sent->size() > kMostTools)) {
    fields.fault("tools", fmt::format("tools must be an array of at most {} tools", kMostTools));
    return tools;
  }
  std::set<std::string> names;
  if (sent != nullptr)
    for (const auto& tool : root->find("tools")->items) {
      const auto field = fmt::format("tools[{}]", names.size());
      const auto* function = function_of(fields, tool, field);
      if (function == nullptr) return tools;
      if (!names.insert(function->find("name")->text).second)
        fields.fault("tools", field + ": a tool of this name was there already");
      tools.described.push_back(tool);
    }
  read_choice(fields, root->find("tool_choice"), tools);
  return tools;
}

void describe_tools(const Tools& tools, bool has_system, std::vector<ChatMessage>& messages) {
  if (!tools.offered() || messages.empty()) return;
  std::string text = "You can call functions. <tools> describes them, one a line:\n<tools>\n";
  for (const auto& tool : tools.described) text += to_json(tool) + "\n";
  text += "</tools>\nTo call one, write its name and its arguments as JSON in <tool_call>, once for each call:\n";
  text += std::string(grammar::kCallBegin) + "\"NAME\"" + std::string(grammar::kCallMiddle) + "{...}" +
          std::string(grammar::kCallEnd);
  if (!has_system) {
    const auto user = std::find_if(messages.begin(), messages.end(), [](const auto& m) { return m.role == "user"; });
    if (user != messages.end()) user->content = text + "\n\n" + user->content;
  } else if (messages.front().role == "system") {
    messages.front().content += "\n\n" + text;
  } else {
    messages.insert(messages.begin(), {"system", std::move(text)});
  }
}

std::string with_tool_calls(Fields& fields, const json& message, const std::string& name, std::string content) {
  const auto calls = message.find("tool_calls");
  if (calls == message.end() || calls->is_null()) return content;
  const auto fault = [&](const std::string& what) {
    fields.fault(name + ".tool_calls", name + ".tool_calls " + what);
    return content;
  };
  if (!calls->is_array()) return fault("must be an array");
  bool first = true;
  for (const auto& call : *calls) {
    const auto function = call.is_object() ? call.find("function") : call.end();
    if (!call.is_object() || function == call.end() || !function->is_object())
      return fault("must be calls of functions");
    const auto called = function->find("name"), arguments = function->find("arguments");
    if (called == function->end() || !called->is_string() || arguments == function->end() || !arguments->is_string())
      return fault("must have the function's name and its arguments, a string");
    if (!first) content += '\n';
    first = false;
    content += std::string(grammar::kCallBegin) + grammar::to_json(called->get_ref<const std::string&>()) +
               std::string(grammar::kCallMiddle) + arguments->get<std::string>() + std::string(grammar::kCallEnd);
  }
  return content;
}

std::string tool_response(const std::string& content) {
  return "<tool_response>\n" + content + "\n</tool_response>";
}

ToolCallSplitter::Piece ToolCallSplitter::push(std::string_view text) {
  held_ += text;
  Piece piece;
  while (advance(piece)) {
  }
  return piece;
}

/// Words up to a marker, or to what may become one.
bool ToolCallSplitter::take_text(Piece& piece) {
  if (state_ == State::kText && in_ == CallsIn::kJson && !grammar::kCallMarker.starts_with(held_) &&
      !held_.starts_with(grammar::kCallMarker)) {
    state_ = State::kWordsOnly;
    return true;
  }
  const size_t at = held_.find(grammar::kCallMarker);
  const bool found = at != std::string::npos;
  const size_t certain = found ? at : held_.size() - begun(held_, grammar::kCallMarker);
  if (state_ == State::kText) piece.content += held_.substr(0, certain);
  held_.erase(0, found ? at + grammar::kCallMarker.size() : certain);
  if (found) state_ = State::kHead;
  return found;
}

/// Whether there may be more to do.
bool ToolCallSplitter::advance(Piece& piece) {
  if (state_ == State::kText || state_ == State::kBetween) return take_text(piece);
  if (state_ == State::kWordsOnly) {
    piece.content += held_;
    held_.clear();
    return false;
  }
  if (state_ == State::kHead) {
    const auto before = grammar::kCallBegin.substr(grammar::kCallMarker.size());
    const size_t end = held_.find(grammar::kCallMiddle);
    if (end == std::string::npos) return false;
    auto name =
        json::parse(held_.substr(std::min(before.size(), end), end - std::min(before.size(), end)), nullptr, false);
    piece.calls.push_back({calls_++, true, {random_call_id(), name.is_string() ? name.get<std::string>() : "", ""}});
    held_.erase(0, end + grammar::kCallMiddle.size());
    state_ = State::kArguments;
    return true;
  }
  const size_t at = held_.find(grammar::kCallEnd);
  const bool found = at != std::string::npos;
  const size_t certain = found ? at : held_.size() - begun(held_, grammar::kCallEnd);
  if (certain > 0) piece.calls.push_back({calls_ - 1, false, {"", "", held_.substr(0, certain)}});
  held_.erase(0, found ? at + grammar::kCallEnd.size() : certain);
  if (found) state_ = State::kBetween;
  return found;
}

ToolCallSplitter::Piece ToolCallSplitter::finish() {
  Piece piece;
  // Of a marker that was cut off nothing is told where it cannot be a word.
  if (state_ == State::kText && in_ != CallsIn::kCalls) piece.content = std::move(held_);
  if (state_ == State::kArguments && !held_.empty()) piece.calls.push_back({calls_ - 1, false, {"", "", held_}});
  held_.clear();
  return piece;
}

void SaidAndCalled::add(const ToolCallSplitter::Piece& piece) {
  content += piece.content;
  for (const auto& call : piece.calls) {
    if (call.begins)
      calls.push_back(call.part);
    else
      calls.back().arguments += call.part.arguments;
  }
}

SaidAndCalled split_calls(std::string_view text, CallsIn in) {
  ToolCallSplitter splitter(in);
  SaidAndCalled all;
  all.add(splitter.push(text));
  all.add(splitter.finish());
  return all;
}

}  // namespace onebit::server
