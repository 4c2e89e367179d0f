// tokenizer.* metadata of a GGUF file -> TokenizerData.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "format/import/gguf_file.h"
#include "format/tokenizer_data.h"

namespace onebit {

/// Vocabulary, merges, special and stop tokens and chat layout. Of tokenizer.ggml.model this version reads "gpt2"
/// (byte-level BPE); of tokenizer.ggml.pre, how text is cut, the names of LLaMA-3's pattern. A file without that key is
/// taken for one of these where its special tokens are LLaMA-3's, and `notes` says so; any other is refused, since no
/// field would tell. `vocabulary` is the model's: ids between the tokenizer's and it stay empty. `chat` goes before
/// what the template is recognised as.
Result<TokenizerData> import_gguf_tokenizer(const GgufFile& file, uint32_t vocabulary,
                                            const std::optional<ChatChoice>& chat, std::vector<std::string>& notes);

}  // namespace onebit
