// What the installed services were told in /etc/1bit/*.env, as far as it matters to whoever looks after them.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "box/roots.h"

namespace onebit::box {

/// The variables of a file for systemd's EnvironmentFile=: lines of NAME=VALUE, comments, quotes around values.
std::map<std::string, std::string> parse_environment(std::string_view text);

struct ServiceSettings {
  std::string model;  // empty: not told
  std::string server_host = "127.0.0.1", landing_host = "127.0.0.1";
  uint32_t server_port = 8080, landing_port = 8190;
  std::string api_key;     // one of the server's, if it can be read; empty: none
  std::string unreadable;  // a file that is there and cannot be read; empty: none

  std::string server_url() const;
  std::string landing_url() const;
};

/// Options in ONEBIT_SERVER_OPTIONS and ONEBIT_LANDING_OPTIONS come before variables, as they do for the programs.
ServiceSettings read_service_settings(const Roots& roots);

}  // namespace onebit::box
