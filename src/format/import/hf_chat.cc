// The chat layout of a Hugging Face folder, and layouts described as JSON.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "format/import/hf_tokenizer.h"
#include "format/import/json.h"
#include "format/import/json_fields.h"

namespace onebit {
namespace {

using nlohmann::json;

/// A ChatML template that opens with a message of its own (Qwen's "You are …") or with a BOS is another layout.
bool is_plain_chatml(std::string_view jinja) {
  if (jinja.find("bos_token") != std::string_view::npos) return false;
  constexpr std::string_view kSystem = "<|im_start|>system";
  for (size_t at = jinja.find(kSystem); at != std::string_view::npos; at = jinja.find(kSystem, at + 1)) {
    auto rest = jinja.substr(at + kSystem.size());
    for (const std::string_view line_end : {"\\n", "\n"})  // as Jinja writes it, or as it is
      if (rest.starts_with(line_end)) rest.remove_prefix(line_end.size());
    const char next = rest.empty() ? '\'' : rest.front();
    if (next != '\'' && next != '"' && next != '{') return false;
  }
  return true;
}

}  // namespace

Result<ChatFormat> parse_chat_description(std::string_view text, std::string_view path) {
  ASSIGN_OR_RETURN(const json root, parse_json_object(text, path));
  RETURN_IF_ERROR(check_keys(root, path, {"system", "user", "assistant", "bos", "trim"}));
  ChatFormat format;
  const auto read_turn = [&](const char* role, ChatFormat::Turn& turn) -> Status {
    const json* pair = find_field(root, role);
    const auto is_text = [](const json& value) { return value.is_string(); };
    if (pair == nullptr || !pair->is_array() || pair->size() != 2 || !std::all_of(pair->begin(), pair->end(), is_text))
      return fail("{}: {}: expected the two texts around the contents, [before, after]", path, role);
    turn = {(*pair)[0].get<std::string>(), (*pair)[1].get<std::string>()};
    return {};
  };
  format.has_system = find_field(root, "system") != nullptr;
  if (format.has_system) RETURN_IF_ERROR(read_turn("system", format.system));
  RETURN_IF_ERROR(read_turn("user", format.user));
  RETURN_IF_ERROR(read_turn("assistant", format.assistant));
  for (const auto& [key, flag] : {std::pair{"bos", &format.begin_with_bos}, {"trim", &format.trim}}) {
    const json* value = find_field(root, key);
    if (value == nullptr) continue;
    if (!value->is_boolean()) return fail("{}: {}: expected true or false", path, key);
    *flag = value->get<bool>();
  }
  return format;
}

ChatLayout recognise_chat_template(std::string_view jinja) {
  const auto has = [&](std::string_view marker) { return jinja.find(marker) != std::string_view::npos; };
  if (has("<|start_header_id|>") && has("<|end_header_id|>") && has("<|eot_id|>")) return ChatLayout::kLlama3;
  if (has("capitalize") && has("<|eot_id|>") && has("Assistant: ")) return ChatLayout::kBitnet2B4T;
  if (has("<|im_start|>") && has("<|im_end|>") && !has("<|im_sep|>"))  // Phi-4 has the last
    return is_plain_chatml(jinja) ? ChatLayout::kChatml : ChatLayout::kNone;
  // Zephyr and Phi-3 have Falcon3's three markers too, but end a user's turn with one.
  const auto user = jinja.substr(std::min(jinja.find("<|user|>"), jinja.size()));
  const auto user_turn = user.substr(0, user.find("}}")).substr(std::min<size_t>(user.size(), 8));
  const bool ended = user_turn.find("eos_token") != std::string_view::npos ||
                     user_turn.find("<|") != std::string_view::npos || user_turn.find("</s>") != std::string_view::npos;
  if (!user.empty() && !ended && has("<|assistant|>") && has("<|system|>")) return ChatLayout::kFalcon3;
  return ChatLayout::kNone;
}

}  // namespace onebit
