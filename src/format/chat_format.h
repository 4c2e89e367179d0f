// How a conversation becomes text: the layouts known by name, and those that a model file describes itself.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace onebit {

/// Recognised or named when a model is converted.
enum class ChatLayout : uint32_t {
  kNone = 0,
  kLlama3 = 1,       // <|start_header_id|>role<|end_header_id|>\n\ncontent<|eot_id|>
  kBitnet2B4T = 2,   // Role: content<|eot_id|>
  kChatml = 3,       // <|im_start|>role\ncontent<|im_end|>\n
  kFalcon3 = 4,      // <|role|>\ncontent\n, the assistant's ended by <|endoftext|>
  kDescribed = 255,  // by the ChatFormat in the file
};

/// The words around each role's content. Names of special tokens in them (<|…|>) become these tokens;
/// contents never do.
struct ChatFormat {
  struct Turn {
    std::string before, after;
    bool operator==(const Turn&) const = default;
  };
  Turn system{}, user{}, assistant{};  // assistant.before also opens the answer
  bool has_system = true;              // false: a system message is refused
  bool begin_with_bos = true;
  bool trim = true;  // white space at the ends of contents is dropped
  bool operator==(const ChatFormat&) const = default;
};

/// A layout by name, or a described one.
struct ChatChoice {
  ChatLayout layout = ChatLayout::kNone;
  ChatFormat described{};  // for ChatLayout::kDescribed only
  const ChatFormat& format() const;
};

std::string_view name_of(ChatLayout layout);
Result<ChatLayout> chat_layout_by_name(std::string_view name);
/// "none, llama3, …": every layout that has a name.
std::string chat_layout_names();
bool is_known_chat_layout(uint32_t value);

/// The format of a named layout; not for kNone and kDescribed.
const ChatFormat& chat_format_of(ChatLayout layout);

/// As an .h1b file holds a described format (docs/h1b.md, "Chat format").
std::string serialize(const ChatFormat& format);
Result<ChatFormat> parse_chat_format(std::span<const std::byte> bytes);

}  // namespace onebit
