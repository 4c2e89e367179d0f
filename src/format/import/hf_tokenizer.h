// tokenizer.json, or tokenizer.model, and its companions (Hugging Face model folders) -> TokenizerData.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "format/tokenizer_data.h"

namespace onebit {

/// The texts of a model folder's tokenizer files; all but tokenizer_json or tokenizer_model may be empty. Names are for
/// error messages.
struct HfTokenizerFiles {
  std::string tokenizer_json;
  std::string tokenizer_model;         // SentencePiece's; read where there is no tokenizer_json
  std::string tokenizer_config_json;   // chat_template, bos_token
  std::string generation_config_json;  // eos_token_id: number or array
  std::string config_json;             // bos_token_id, eos_token_id where the former says nothing
  std::string chat_template_jinja;     // where newer folders keep what tokenizer_config.json held
  std::string folder;                  // put before file names in errors
};

/// Byte-level BPE with LLaMA-3's, GPT-2's or Qwen2's pattern, with or without NFC, or SentencePiece's BPE with byte
/// fallback; anything else in the file that would change token ids (another pattern or normalizer, …) is refused by
/// name, never ignored. Merges may be "a b" strings or [a, b] pairs. `vocabulary` is the model's: ids between the
/// tokenizer's and it stay empty; a tokenizer with more is refused. `chat` goes before what the folder's template is
/// recognised as. The special token that ends an assistant's turn in the layout becomes a stop token.
Result<TokenizerData> import_hf_tokenizer(const HfTokenizerFiles& files, uint32_t vocabulary,
                                          const std::optional<ChatChoice>& chat = std::nullopt);

/// The layout whose markers the Jinja template holds; kNone where it is not one of ours.
ChatLayout recognise_chat_template(std::string_view jinja);

/// A layout described as JSON (docs/h1b.md, "Chat format"): {"system": [before, after], "user": [before,
/// after], "assistant": [before, after], "bos": true, "trim": true}; system, bos and trim may be absent.
Result<ChatFormat> parse_chat_description(std::string_view json, std::string_view path);

}  // namespace onebit
