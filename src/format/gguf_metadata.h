// A model's config, tokenizer and chat layout as GGUF metadata.
#pragma once

#include <string>

#include "format/gguf_architecture.h"
#include "format/gguf_writer.h"
#include "format/h1b_file.h"

namespace onebit {

/// Under the usual keys, and under `onebit.` what these cannot hold: that a gate is not the architecture's, stop
/// tokens, the chat layout's name or description, whether pieces that are tokens are taken without merging, theta where
/// float32 rounds it.
GgufMetadata gguf_metadata_of(const H1bFile& model, const TokenizerData& tokenizer,
                              const GgufArchitecture& architecture);

/// A Jinja template that says the same as the format.
std::string jinja_of(const ChatFormat& format);

}  // namespace onebit
