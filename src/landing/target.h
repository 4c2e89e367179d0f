// Where the server is.
#pragma once

#include <string>

#include "base/result.h"

namespace onebit::landing {

struct Target {
  std::string host, port;
  std::string path;  // of its metrics: /metrics, after the URL's own path
};

/// `url`: http://HOST[:PORT][/PREFIX]. An error says what is wrong with it.
Result<Target> parse_target(const std::string& url);

}  // namespace onebit::landing
