// Which kind of tokenizer a tokenizer.json describes.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/result.h"
#include "format/tokenizer_data.h"

namespace onebit {

/// Sets how text is prepared and cut and what its merging begins with, by everything in the file outside the vocabulary
/// that could change ids. What TokenizerData cannot say is refused by name. The post_processor is not looked at: it
/// puts special tokens around a text, which here its caller does.
Status read_hf_tokenizer_settings(const nlohmann::json& root, const std::string& path, TokenizerData& data);

}  // namespace onebit
