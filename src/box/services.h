// The systemd units of a box, asked and told through systemctl, and the server behind them.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"

namespace onebit::box {

inline constexpr char kServerUnit[] = "1bit-server.service";
inline constexpr char kSocketUnit[] = "1bit-server.socket";
inline constexpr char kLandingUnit[] = "1bit-landing.service";

/// As `systemctl show` has it.
struct UnitState {
  std::string name;
  std::string load;    // loaded, not-found, masked, …
  std::string active;  // active, inactive, failed, activating, …
  std::string sub;     // running, listening, dead, …
  std::string file;    // enabled, disabled, static; empty where there is none
  std::string since;   // when it became active; empty where it is not
  std::string result;  // success, exit-code, oom-kill, watchdog, …

  bool is_loaded() const { return load == "loaded"; }
  bool is_active() const { return active == "active"; }
};

/// What systemctl show prints of several units.
std::vector<UnitState> parse_units(std::string_view text);

/// Server, its socket, the live page, in this order. Errors: there is no systemctl, or no systemd to ask.
Result<std::vector<UnitState>> unit_states();
/// The one of that name; an unloaded one where it is not among them.
UnitState unit_named(const std::vector<UnitState>& units, std::string_view name);

/// Whether the server's socket listens and the server does not run: whoever connects starts it.
bool waits_for_a_request(const std::vector<UnitState>& units);

/// systemctl VERB UNIT…, such as restart.
Status control_units(const std::string& verb, const std::vector<std::string>& units);

/// What a server says of itself.
struct ServerFacts {
  bool healthy = false;
  std::string health;    // "ok", "loading", …; a sentence where there was no answer
  bool reached = false;  // something answered
  bool ours = false;     // and in the way that 1bit-server does
  std::string version;   // empty: it did not tell, for instance without a key
  std::vector<std::string> models;
};
/// At most about three times `timeout`.
ServerFacts ask_server(const std::string& url, const std::string& key, std::chrono::milliseconds timeout);

/// Asks /health until it is 200. Errors: it was not within `most`; what it said last. `waiting`: told once a second.
Status wait_for_health(const std::string& url, std::chrono::seconds most, const std::function<void()>& waiting = {});

}  // namespace onebit::box
