#include "box/services.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/http_client.h"
#include "base/utf8.h"
#include "box/roots.h"

namespace onebit::box {
namespace {

using nlohmann::json;

constexpr auto kAskTime = std::chrono::seconds(10);
constexpr auto kControlTime = std::chrono::minutes(5);  // stopping a server may take its 90 s

HttpBounds small_answer() {
  return {.most_bytes = 1 << 20};
}

/// A member of an object that is a text; empty where there is none.
std::string text_in(const json& object, const char* key) {
  const auto it = object.is_object() ? object.find(key) : object.end();
  return object.is_object() && it != object.end() && it->is_string() ? printable(it->get_ref<const std::string&>(), 200)
                                                                     : std::string();
}

}  // namespace

std::vector<UnitState> parse_units(std::string_view text) {
  std::vector<UnitState> units;
  bool begins = true;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const auto line = text.substr(at, end - at);
    at = end + 1;
    const size_t equals = line.find('=');
    if (equals == std::string_view::npos) {
      begins = true;
      continue;
    }
    if (std::exchange(begins, false)) units.emplace_back();
    auto& unit = units.back();
    const auto key = line.substr(0, equals);
    const std::string value(line.substr(equals + 1));
    for (const auto& [name, member] : {std::pair{"Id", &UnitState::name},
                                       {"LoadState", &UnitState::load},
                                       {"ActiveState", &UnitState::active},
                                       {"SubState", &UnitState::sub},
                                       {"UnitFileState", &UnitState::file},
                                       {"ActiveEnterTimestamp", &UnitState::since},
                                       {"Result", &UnitState::result}})
      if (key == name) unit.*member = value;
  }
  return units;
}

Result<std::vector<UnitState>> unit_states() {
  if (!find_program("systemctl"))
    return fail("there is no systemctl on $PATH: this machine has no systemd, start the programs in another way");
  ASSIGN_OR_RETURN(const auto text,
                   output_of({"systemctl", "show", "--no-pager",
                              "--property=Id,LoadState,ActiveState,SubState,UnitFileState,ActiveEnterTimestamp,Result",
                              kServerUnit, kSocketUnit, kLandingUnit},
                             kAskTime));
  return parse_units(text);
}

UnitState unit_named(const std::vector<UnitState>& units, std::string_view name) {
  const auto found = std::find_if(units.begin(), units.end(), [&](const UnitState& unit) { return unit.name == name; });
  if (found != units.end()) return *found;
  return {std::string(name), "not-found", "inactive", "dead", "", "", ""};
}

bool waits_for_a_request(const std::vector<UnitState>& units) {
  return unit_named(units, kSocketUnit).is_active() && unit_named(units, kServerUnit).active == "inactive";
}

Status control_units(const std::string& verb, const std::vector<std::string>& units) {
  std::vector<std::string> command{"systemctl", verb};
  command.insert(command.end(), units.begin(), units.end());
  if (auto output = output_of(command, kControlTime); !output)
    return fail("{}{}", output.error().message, needs_root("halo …"));
  return {};
}

ServerFacts ask_server(const std::string& url, const std::string& key, std::chrono::milliseconds timeout) {
  ServerFacts facts;
  auto client = HttpClient::open(url, key, timeout);
  const auto health = client ? client->get("/health", small_answer()) : tl::unexpected(client.error());
  if (!health) {
    facts.health = health.error().message;
    return facts;
  }
  facts.reached = true;
  const auto status = json::parse(health->body, nullptr, false);
  facts.health = text_in(status, "status");
  facts.healthy = health->status == 200 && !facts.health.empty();
  if (facts.health.empty()) facts.health = fmt::format("HTTP {} without a status", health->status);
  const auto version = client->get("/api/version", small_answer());
  const bool refused = version && version->status == 401, starting = version && version->status == 503;
  if (version && version->status == 200) facts.version = text_in(json::parse(version->body, nullptr, false), "version");
  facts.ours = !text_in(status, "status").empty() && (refused || starting || !facts.version.empty());
  const auto models = facts.version.empty() ? version : client->get("/v1/models", small_answer());
  const auto list = models && models->status == 200 ? json::parse(models->body, nullptr, false) : json();
  const auto data = list.is_object() ? list.find("data") : list.end();
  if (list.is_object() && data != list.end() && data->is_array())
    for (const auto& model : *data)
      if (auto name = text_in(model, "id"); !name.empty()) facts.models.push_back(std::move(name));
  return facts;
}

Status wait_for_health(const std::string& url, std::chrono::seconds most, const std::function<void()>& waiting) {
  using Clock = std::chrono::steady_clock;
  const auto deadline = Clock::now() + most;
  auto told = Clock::now();
  while (true) {
    const auto facts = ask_server(url, "", std::chrono::seconds(2));
    if (facts.healthy) return {};
    if (Clock::now() >= deadline)
      return fail("{} is not healthy after {} s: {}; 'halo logs' tells more", url, most.count(), facts.health);
    if (waiting && Clock::now() - told >= std::chrono::seconds(1)) {
      told = Clock::now();
      waiting();
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
}

}  // namespace onebit::box
