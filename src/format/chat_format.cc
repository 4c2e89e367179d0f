#include "format/chat_format.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/utf8.h"

namespace onebit {
namespace {

struct NamedLayout {
  ChatLayout layout;
  std::string_view name;
};
constexpr std::array kNames{NamedLayout{ChatLayout::kNone, "none"}, NamedLayout{ChatLayout::kLlama3, "llama3"},
                            NamedLayout{ChatLayout::kBitnet2B4T, "bitnet-2b-4t"},
                            NamedLayout{ChatLayout::kChatml, "chatml"}, NamedLayout{ChatLayout::kFalcon3, "falcon3"}};

constexpr uint32_t kHasSystem = 1, kBeginWithBos = 2, kTrim = 4;

ChatFormat::Turn llama3_turn(const char* role) {
  return {fmt::format("<|start_header_id|>{}<|end_header_id|>\n\n", role), "<|eot_id|>"};
}
ChatFormat::Turn chatml_turn(const char* role) {
  return {fmt::format("<|im_start|>{}\n", role), "<|im_end|>\n"};
}

}  // namespace

std::string_view name_of(ChatLayout layout) {
  for (const auto& known : kNames)
    if (known.layout == layout) return known.name;
  return layout == ChatLayout::kDescribed ? "described" : "unknown";
}

std::string chat_layout_names() {
  std::string names;
  for (const auto& known : kNames) names += (names.empty() ? "" : ", ") + std::string(known.name);
  return names;
}

Result<ChatLayout> chat_layout_by_name(std::string_view name) {
  for (const auto& known : kNames)
    if (known.name == name) return known.layout;
  return fail("chat layout: found '{}', this version knows {}", name, chat_layout_names());
}

bool is_known_chat_layout(uint32_t value) {
  return value == static_cast<uint32_t>(ChatLayout::kDescribed) ||
         std::any_of(kNames.begin(), kNames.end(), [&](auto& k) { return static_cast<uint32_t>(k.layout) == value; });
}

const ChatFormat& chat_format_of(ChatLayout layout) {
  static const ChatFormat none;
  static const ChatFormat llama3{
      .system = llama3_turn("system"), .user = llama3_turn("user"), .assistant = llama3_turn("assistant")};
  static const ChatFormat bitnet{.system = {"System: ", "<|eot_id|>"},
                                 .user = {"User: ", "<|eot_id|>"},
                                 .assistant = {"Assistant: ", "<|eot_id|>"}};
  static const ChatFormat chatml{.system = chatml_turn("system"),
                                 .user = chatml_turn("user"),
                                 .assistant = chatml_turn("assistant"),
                                 .begin_with_bos = false,
                                 .trim = false};
  static const ChatFormat falcon3{.system = {"<|system|>\n", "\n"},
                                  .user = {"<|user|>\n", "\n"},
                                  .assistant = {"<|assistant|>\n", "<|endoftext|>\n"},
                                  .begin_with_bos = false,
                                  .trim = false};
  switch (layout) {
    case ChatLayout::kLlama3:
      return llama3;
    case ChatLayout::kBitnet2B4T:
      return bitnet;
    case ChatLayout::kChatml:
      return chatml;
    case ChatLayout::kFalcon3:
      return falcon3;
    default:
      return none;
  }
}

const ChatFormat& ChatChoice::format() const {
  return layout == ChatLayout::kDescribed ? described : chat_format_of(layout);
}

std::string serialize(const ChatFormat& format) {
  std::string out;
  const auto put = [&](uint32_t value) { out.append(reinterpret_cast<const char*>(&value), sizeof value); };
  put((format.has_system ? kHasSystem : 0) | (format.begin_with_bos ? kBeginWithBos : 0) | (format.trim ? kTrim : 0));
  for (const auto* turn : {&format.system, &format.user, &format.assistant})
    for (const auto* text : {&turn->before, &turn->after}) {
      put(static_cast<uint32_t>(text->size()));
      out += *text;
    }
  return out;
}

Result<ChatFormat> parse_chat_format(std::span<const std::byte> bytes) {
  const auto take = [&](uint32_t& value) {
    if (bytes.size() < sizeof value) return false;
    std::memcpy(&value, bytes.data(), sizeof value);
    bytes = bytes.subspan(sizeof value);
    return true;
  };
  const auto cut = [] { return fail("chat format: cut short"); };
  uint32_t flags = 0;
  if (!take(flags)) return cut();
  if ((flags & ~(kHasSystem | kBeginWithBos | kTrim)) != 0)
    return fail("chat format: flags: found {:#x}, this version knows {:#x}", flags, kHasSystem | kBeginWithBos | kTrim);
  ChatFormat format;
  format.has_system = (flags & kHasSystem) != 0;
  format.begin_with_bos = (flags & kBeginWithBos) != 0;
  format.trim = (flags & kTrim) != 0;
  for (auto* turn : {&format.system, &format.user, &format.assistant})
    for (auto* text : {&turn->before, &turn->after}) {
      uint32_t size = 0;
      if (!take(size) || size > bytes.size()) return cut();
      text->assign(reinterpret_cast<const char*>(bytes.data()), size);
      if (!utf8_valid(*text)) return fail("chat format: a text is not UTF-8");
      bytes = bytes.subspan(size);
    }
  if (!bytes.empty()) return fail("chat format: {} bytes after its end", bytes.size());
  return format;
}

}  // namespace onebit
