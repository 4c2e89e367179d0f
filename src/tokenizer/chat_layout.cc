#include "tokenizer/chat_layout.h"

#include <algorithm>
#include <utility>

#include "base/utf8.h"

namespace onebit {
namespace {

/// Ids of plain text and markers in turn. Text between two markers is encoded as a whole, since pieces
/// may span what a layout puts together from parts (LLaMA-3's "\n\n" and the content after it).
class PromptWriter {
 public:
  PromptWriter(const Tokenizer& tokenizer, bool begin_with_bos) : tokenizer_(tokenizer) {
    const auto bos = tokenizer.bos();
    if (begin_with_bos && bos) ids_.push_back(*bos);
  }

  void text(std::string_view plain) { pending_ += plain; }

  /// The layout's own words: what stands between <| and |> is the name of a special token.
  Status layout(std::string_view words) {
    while (!words.empty()) {
      const size_t begin = std::min(words.find("<|"), words.size());
      text(words.substr(0, begin));
      words.remove_prefix(begin);
      if (words.empty()) break;
      const size_t end = words.find("|>");
      if (end == std::string_view::npos) return fail("the chat layout has a '<|' without its '|>'");
      RETURN_IF_ERROR(marker(words.substr(0, end + 2)));
      words.remove_prefix(end + 2);
    }
    return {};
  }

  std::vector<TokenId> take() {
    flush();
    return std::move(ids_);
  }

 private:
  Status marker(std::string_view name) {
    const auto id = tokenizer_.special_token(name);
    if (!id) return fail("the tokenizer has no special token {}, which its chat layout needs", printable(name));
    flush();
    ids_.push_back(*id);
    return {};
  }

  void flush() {
    tokenizer_.encode(pending_, SpecialTokens::kAsText, ids_);
    pending_.clear();
  }

  const Tokenizer& tokenizer_;
  std::string pending_;
  std::vector<TokenId> ids_;
};

/// The words around a role's contents; null for a role that the layout does not know.
const ChatFormat::Turn* turn_of(const ChatFormat& format, std::string_view role) {
  if (role == "system" && format.has_system) return &format.system;
  if (role == "user") return &format.user;
  if (role == "assistant") return &format.assistant;
  return nullptr;
}

}  // namespace

Result<std::vector<TokenId>> encode_chat(const Tokenizer& tokenizer, std::span<const ChatMessage> messages,
                                         bool open_answer) {
  if (tokenizer.chat_layout() == ChatLayout::kNone)
    return fail("this model has no chat layout: it completes plain text only");
  const ChatFormat& format = tokenizer.chat_format();
  PromptWriter prompt(tokenizer, format.begin_with_bos);
  for (const ChatMessage& message : messages) {
    const auto* turn = turn_of(format, message.role);
    if (turn == nullptr)
      return fail("role '{}' is not one that the {} chat layout knows: {}user, assistant",
                  utf8_replace_invalid(std::string_view(message.role).substr(0, 40)), name_of(tokenizer.chat_layout()),
                  format.has_system ? "system, " : "");
    RETURN_IF_ERROR(prompt.layout(turn->before));
    prompt.text(format.trim ? trim_white_space(message.content) : std::string_view(message.content));
    RETURN_IF_ERROR(prompt.layout(turn->after));
  }
  if (open_answer) RETURN_IF_ERROR(prompt.layout(format.assistant.before));
  return prompt.take();
}

}  // namespace onebit
