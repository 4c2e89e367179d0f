// Everything that a program does with a model file, done to one that may be damaged or made to do harm.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace onebit::test {

struct Use {
  bool opened = false;    // H1bFile::open succeeded
  bool verified = false;  // and verify
  bool bound = false;     // the tensors are those of the config
  /// Of open, verify and bind_weights, which name the file.
  std::vector<Error> file_errors;
  /// Of forward, which knows no file.
  std::optional<Error> forward_error;
};

/// Opens, verifies, parses the tokenizer, binds the weights with either head, and runs one token through
/// gen-1, each as far as it goes; also where verify found damage, since programs need not call it.
Use use_model(const std::string& path);

}  // namespace onebit::test
