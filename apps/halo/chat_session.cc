#include "halo/chat_session.h"

#include <array>
#include <charconv>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/atomic_file.h"
#include "base/mapped_file.h"
#include "base/utf8.h"
#include "format/import/json.h"
#include "halo/common.h"
#include "halo/suggest.h"

namespace onebit::halo {
namespace {

using nlohmann::json;

constexpr const char* kHelp =
    "  /reset            forget the conversation\n"
    "  /system TEXT      instructions for the rest of it; without TEXT: none\n"
    "  /set NAME VALUE   temp, top_k, top_p, min_p, repetition_penalty, seed, max_tokens; /set alone shows them\n"
    "  /save FILE        keep the conversation as JSON;  /load FILE brings it back\n"
    "  /stats            tokens and speed of the last answer, and how full the context is\n"
    "  /exit             leave (or Ctrl-D); Ctrl-C stops an answer\n"
    "  A line that ends in \\ goes on in the next; a text of many lines stands between two lines of \"\"\".\n";

const std::vector<std::string> kCommands{"/reset", "/clear", "/system", "/set",  "/save",
                                         "/load",  "/stats", "/help",   "/exit", "/quit"};
const std::vector<std::string> kSettings{"temp", "top_k", "top_p", "min_p", "repetition_penalty", "seed", "max_tokens"};

template <class T>
Status parse_number(std::string_view name, std::string_view text, T& out) {
  T value{};
  const char* begin = text.data();
  const char* end = begin + text.size();
  const auto result = std::from_chars(begin, end, value);
  if (result.ec != std::errc() || result.ptr != end) return fail("{}: '{}' is not a number it can have", name, text);
  out = value;
  return {};
}

std::pair<std::string_view, std::string_view> split_word(std::string_view text) {
  const size_t space = std::min(text.find_first_of(" \t\n"), text.size());
  return {text.substr(0, space), trim_white_space(text.substr(space))};
}

Status set_one(GenerateParams& params, std::string_view name, std::string_view value) {
  auto& s = params.sampling;
  if (name == "temp" || name == "temperature") return parse_number(name, value, s.temperature);
  if (name == "top_k") return parse_number(name, value, s.top_k);
  if (name == "top_p") return parse_number(name, value, s.top_p);
  if (name == "min_p") return parse_number(name, value, s.min_p);
  if (name == "repetition_penalty") return parse_number(name, value, s.repetition_penalty);
  if (name == "seed") return parse_number(name, value, s.seed);
  if (name == "max_tokens") return parse_number(name, value, params.max_tokens);
  const auto near = nearest(name, kSettings);
  return fail("there is no setting '{}'{}", name, near.empty() ? "" : fmt::format("; did you mean '{}'?", near));
}

}  // namespace

Result<Generation> ChatSession::ask(std::string_view question, const TextSink& sink) {
  messages_.push_back({"user", std::string(question)});
  auto prompt = fitting_prompt();
  auto generation = prompt ? generate(sequence_, model_.tokenizer(), model_.file().config(), *prompt, params_, sink)
                           : Result<Generation>(tl::unexpected(prompt.error()));
  if (!generation) {
    messages_.pop_back();
    return generation;
  }
  messages_.push_back({"assistant", generation->text});
  last_ = *generation;
  return generation;
}

/// The conversation as tokens; the oldest exchanges are dropped until at least a quarter of the context is left
/// for the answer.
Result<std::vector<TokenId>> ChatSession::fitting_prompt() {
  const uint32_t context = model_.file().config().context;
  while (true) {
    std::vector<ChatMessage> all;
    if (!system_.empty()) all.push_back({"system", system_});
    all.insert(all.end(), messages_.begin(), messages_.end());
    ASSIGN_OR_RETURN(auto prompt, encode_chat(model_.tokenizer(), all, true));
    if (prompt.size() <= context - context / 4 || messages_.size() < 3) return prompt;
    messages_.erase(messages_.begin(), messages_.begin() + 2);
    fmt::print(stderr, "[the conversation no longer fits the context: its oldest exchange was dropped]\n");
  }
}

Result<bool> ChatSession::command(std::string_view line) {
  const auto [name, arguments] = split_word(trim_white_space(line));
  if (name == "/exit" || name == "/quit") return true;
  if (name == "/help") {
    fmt::print("{}", kHelp);
  } else if (name == "/reset" || name == "/clear") {
    messages_.clear();
  } else if (name == "/system") {
    system_ = arguments;
  } else if (name == "/set") {
    RETURN_IF_ERROR(set(arguments));
  } else if (name == "/save") {
    RETURN_IF_ERROR(save(std::string(arguments)));
  } else if (name == "/load") {
    RETURN_IF_ERROR(load(std::string(arguments)));
  } else if (name == "/stats") {
    print_stats();
  } else {
    const auto near = nearest(name, kCommands);
    return fail("there is no command '{}'{}; /help lists them", name,
                near.empty() ? "" : fmt::format("; did you mean '{}'?", near));
  }
  std::fflush(stdout);
  return false;
}

Status ChatSession::set(std::string_view arguments) {
  if (arguments.empty()) {
    print_settings();
    return {};
  }
  const auto [name, value] = split_word(arguments);
  auto changed = params_;
  RETURN_IF_ERROR(set_one(changed, name, value));
  RETURN_IF_ERROR(validate(changed.sampling, model_.file().config().vocabulary));
  params_ = std::move(changed);
  return {};
}

void ChatSession::print_settings() const {
  const auto& s = params_.sampling;
  fmt::print("  temp {}, top_k {}, top_p {}, min_p {}, repetition_penalty {}, seed {}, max_tokens {}\n", s.temperature,
             s.top_k, s.top_p, s.min_p, s.repetition_penalty, s.seed, params_.max_tokens);
}

void ChatSession::print_stats() const {
  fmt::print("  context: {} of {} tokens\n", sequence_.length(), model_.file().config().context);
  if (last_) fmt::print("  last answer: {}\n", timings_text(*last_));
}

Status ChatSession::save(const std::string& path) const {
  if (path.empty()) return fail("/save needs the name of a file");
  json root{{"format", "1bit chat"}, {"version", 1}, {"system", system_}, {"messages", json::array()}};
  for (const auto& m : messages_)
    root["messages"].push_back({{"role", m.role}, {"content", utf8_replace_invalid(m.content)}});
  const auto text = root.dump(1) + "\n";
  ASSIGN_OR_RETURN(auto file, AtomicFile::create(path));
  RETURN_IF_ERROR(file.write(std::as_bytes(std::span(text))));
  return file.commit();
}

Status ChatSession::load(const std::string& path) {
  if (path.empty()) return fail("/load needs the name of a file");
  ASSIGN_OR_RETURN(const auto text, read_text_file(path, size_t{16} << 20));
  ASSIGN_OR_RETURN(const auto root, parse_json_object(text, path));
  const auto is_text = [](const json& object, const char* key) {
    return object.is_object() && object.contains(key) && object[key].is_string();
  };
  const auto messages = root.find("messages");
  if (!is_text(root, "system") || messages == root.end() || !messages->is_array())
    return fail("{}: not a saved conversation: expected 'system' and 'messages'", path);
  std::vector<ChatMessage> loaded;
  for (const auto& m : *messages) {
    const char* expected = loaded.size() % 2 == 0 ? "user" : "assistant";
    if (!is_text(m, "role") || !is_text(m, "content") || m["role"] != expected)
      return fail("{}: messages: number {} is not one by the {}", path, loaded.size() + 1, expected);
    loaded.push_back({m["role"], m["content"]});
  }
  if (loaded.size() % 2 != 0) return fail("{}: messages: the last one has no answer", path);
  system_ = root["system"];
  messages_ = std::move(loaded);
  fmt::print("  {} messages\n", messages_.size());
  return {};
}

}  // namespace onebit::halo
