// Flags, environment and one TOML file, in this order of precedence.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "server/server.h"

namespace onebit::server {

struct Settings {
  ServerOptions options;
  std::vector<std::string> api_keys;
  std::string api_key_file;
};

/// Reads them; the exit code where the program has nothing more to do (help, version, --print-config, a wrong flag).
struct ParsedSettings {
  std::optional<int> exit_code;
  Settings settings;
};
ParsedSettings parse_settings(int argc, char** argv);

}  // namespace onebit::server
