// A GGUF file -> an .h1b file.
#pragma once

#include <string>

#include "base/result.h"
#include "format/gguf_architecture.h"
#include "format/import/convert.h"
#include "format/import/gguf_file.h"
#include "format/rope.h"

namespace onebit {

/// What general.architecture and the keys under it say. Errors name the key.
struct GgufConfig {
  const GgufArchitecture* architecture = nullptr;
  ModelConfig model;
  RopeScaling rope;
};
Result<GgufConfig> read_gguf_config(const GgufFile& file);

/// Reads `options.folder`, a file here, and writes `options.output` whole or not at all. Errors name the file and the
/// key or tensor. `notes` of the summary say what was assumed where a file does not tell.
Result<ConvertSummary> convert_gguf(const ConvertOptions& options, const WriteProgress& progress = {});

}  // namespace onebit
