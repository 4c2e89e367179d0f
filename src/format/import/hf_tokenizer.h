// tokenizer.json and its companions (Hugging Face tokenizers) -> TokenizerData.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "format/tokenizer_data.h"

namespace onebit {

/// The texts of a model folder's tokenizer files; all but tokenizer_json may be empty. Names are for
/// error messages.
struct HfTokenizerFiles {
  std::string tokenizer_json;
  std::string tokenizer_config_json;   // chat_template, bos_token
  std::string generation_config_json;  // eos_token_id: number or array
  std::string config_json;             // bos_token_id, eos_token_id where the former says nothing
  std::string chat_template_jinja;     // where newer folders keep what tokenizer_config.json held
  std::string folder;                  // put before file names in errors
};

/// Byte-level BPE with LLaMA-3's pattern; anything else in the file that would change token ids
/// (another pattern, a normalizer, byte_fallback, …) is refused by name, never ignored. Merges may be
/// "a b" strings or [a, b] pairs. `vocabulary` is the model's: ids between the tokenizer's and it stay
/// empty; a tokenizer with more is refused.
/// `chat_layout` goes before what the folder's template is recognised as.
Result<TokenizerData> import_hf_tokenizer(const HfTokenizerFiles& files, uint32_t vocabulary,
                                          std::optional<ChatLayout> chat_layout = std::nullopt);

/// The layout whose markers the Jinja template holds; kNone where it is not one of ours.
ChatLayout recognise_chat_template(std::string_view jinja);

}  // namespace onebit
