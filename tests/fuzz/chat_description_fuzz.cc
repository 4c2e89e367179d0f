// A chat layout described as JSON: any text is an error that names the file, or a format that the model file
// gives back as it was. The same bytes as the model file's own form are an error or written back as they were read.
#include <cstdlib>

#include "format/import/hf_tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace onebit;
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  if (const auto stored = parse_chat_format(std::as_bytes(std::span(text))); stored && serialize(*stored) != text)
    std::abort();
  const auto format = parse_chat_description(text, "layout.json");
  if (!format) {
    const auto& message = format.error().message;
    if (message.find("layout.json: ") != 0 || message.find('\n') != std::string::npos || message.size() > 400)
      std::abort();
    return 0;
  }
  const auto section = serialize(*format);
  const auto read = parse_chat_format(std::as_bytes(std::span(section)));
  if (!read || *read != *format) std::abort();
  return 0;
}
