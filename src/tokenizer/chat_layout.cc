#include "tokenizer/chat_layout.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/utf8.h"

namespace onebit {
namespace {

constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kRoles = {
    {{"system", "System"}, {"user", "User"}, {"assistant", "Assistant"}}};

/// Ids of plain text and markers in turn. Text between two markers is encoded as a whole, since pieces
/// may span what a layout puts together from parts (LLaMA-3's "\n\n" and the content after it).
class PromptWriter {
 public:
  explicit PromptWriter(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {
    if (const auto bos = tokenizer.bos()) ids_.push_back(*bos);
  }

  void text(std::string_view plain) { pending_ += plain; }

  Status marker(std::string_view name) {
    const auto id = tokenizer_.special_token(name);
    if (!id) return fail("the tokenizer has no special token {}, which its chat layout needs", name);
    flush();
    ids_.push_back(*id);
    return {};
  }

  std::vector<TokenId> take() {
    flush();
    return std::move(ids_);
  }

 private:
  void flush() {
    tokenizer_.encode(pending_, SpecialTokens::kAsText, ids_);
    pending_.clear();
  }

  const Tokenizer& tokenizer_;
  std::string pending_;
  std::vector<TokenId> ids_;
};

Status write_llama3_header(PromptWriter& prompt, std::string_view role) {
  RETURN_IF_ERROR(prompt.marker("<|start_header_id|>"));
  prompt.text(role);
  RETURN_IF_ERROR(prompt.marker("<|end_header_id|>"));
  prompt.text("\n\n");
  return {};
}

Status write_opening(PromptWriter& prompt, ChatLayout layout, std::string_view role, std::string_view title) {
  if (layout == ChatLayout::kLlama3) return write_llama3_header(prompt, role);
  prompt.text(title);
  prompt.text(": ");
  return {};
}

}  // namespace

Result<std::vector<TokenId>> encode_chat(const Tokenizer& tokenizer, std::span<const ChatMessage> messages,
                                         bool open_answer) {
  const ChatLayout layout = tokenizer.chat_layout();
  if (layout == ChatLayout::kNone) return fail("this model has no chat layout: it completes plain text only");
  PromptWriter prompt(tokenizer);
  for (const ChatMessage& message : messages) {
    const auto* role =
        std::find_if(kRoles.begin(), kRoles.end(), [&](const auto& known) { return known.first == message.role; });
    if (role == kRoles.end())
      return fail("role '{}' is not one that the {} chat layout knows: system, user, assistant",
                  utf8_replace_invalid(std::string_view(message.role).substr(0, 40)), name_of(layout));
    RETURN_IF_ERROR(write_opening(prompt, layout, role->first, role->second));
    prompt.text(trim_white_space(message.content));
    RETURN_IF_ERROR(prompt.marker("<|eot_id|>"));
  }
  if (open_answer) RETURN_IF_ERROR(write_opening(prompt, layout, "assistant", "Assistant"));
  return prompt.take();
}

}  // namespace onebit
