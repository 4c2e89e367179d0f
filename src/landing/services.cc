#include "landing/services.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace onebit::landing {
namespace {

using Json = nlohmann::ordered_json;

Json json_of(const Unit& unit) {
  return {{"name", unit.name},
          {"description", unit.description},
          {"load", unit.load},
          {"active", unit.active},
          {"sub", unit.sub}};
}

std::shared_ptr<const std::string> event(const char* name, const Json& data) {
  auto text = std::string("event: ") + name + "\ndata: ";
  text += data.dump(-1, ' ', false, Json::error_handler_t::replace);
  return std::make_shared<const std::string>(text + "\n\n");
}

std::shared_ptr<const std::string> snapshot_of(const ServiceState& state) {
  auto units = Json::array();
  for (const auto& unit : state.units) units.push_back(json_of(unit));
  Json json{{"available", state.available}, {"reason", nullptr}, {"units", units}};
  if (!state.available) json["reason"] = state.reason;
  return event("snapshot", json);
}

const Unit* find(const std::vector<Unit>& units, const std::string& name) {
  const auto found = std::find_if(units.begin(), units.end(), [&](const Unit& unit) { return unit.name == name; });
  return found == units.end() ? nullptr : &*found;
}

std::shared_ptr<const std::string> delta_of(const ServiceState& before, const ServiceState& now) {
  auto changed = Json::array(), removed = Json::array();
  for (const auto& unit : now.units) {
    const auto* old = find(before.units, unit.name);
    if (old == nullptr || *old != unit) changed.push_back(json_of(unit));
  }
  for (const auto& unit : before.units)
    if (find(now.units, unit.name) == nullptr) removed.push_back(unit.name);
  return event("delta", {{"changed", changed}, {"removed", removed}});
}

}  // namespace

ServiceFeed::ServiceFeed() : snapshot_(snapshot_of(state_)) {}

bool ServiceFeed::set(ServiceState state) {
  std::sort(state.units.begin(), state.units.end(), [](const Unit& a, const Unit& b) { return a.name < b.name; });
  if (state == state_) return false;
  delta_ = state.available && state_.available ? delta_of(state_, state) : nullptr;
  state_ = std::move(state);
  snapshot_ = snapshot_of(state_);
  ++number_;
  return true;
}

std::shared_ptr<const std::string> ServiceFeed::events_since(uint64_t seen) const {
  if (seen == number_) return nullptr;
  return seen + 1 == number_ && seen > 0 && delta_ != nullptr ? delta_ : snapshot_;
}

}  // namespace onebit::landing
