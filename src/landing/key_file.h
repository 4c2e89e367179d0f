// The API key that the server wants, in a file of its own.
#pragma once

#include <string>

#include "base/result.h"

namespace onebit::landing {

/// The first line of the file that is neither empty nor a comment (#). An error is a sentence without the file's name:
/// it may be shown to anybody.
Result<std::string> read_key(const std::string& path);

}  // namespace onebit::landing
