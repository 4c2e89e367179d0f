// The systemd units 1bit-*.service: a snapshot, and what changed since, as events of /_live/services (docs/live.md).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace onebit::landing {

/// As systemd tells them.
struct Unit {
  std::string name, description;
  std::string load;    // loaded, not-found, …
  std::string active;  // active, inactive, failed, activating, …
  std::string sub;     // running, dead, …
  bool operator==(const Unit&) const = default;
};

/// What is known of them; `reason` is a sentence where nothing can be.
struct ServiceState {
  bool available = false;
  std::string reason = "systemd has not answered yet";
  std::vector<Unit> units{};  // by their names
  bool operator==(const ServiceState&) const = default;
};

/// Counts the states, and has their events.
class ServiceFeed {
 public:
  ServiceFeed();
  /// False where nothing changed. Units may come in any order.
  bool set(ServiceState state);
  /// Rises with each change.
  uint64_t number() const { return number_; }
  /// The events that bring somebody who knows state `seen` to the newest: nothing, one change, or all of it.
  std::shared_ptr<const std::string> events_since(uint64_t seen) const;

 private:
  ServiceState state_;
  uint64_t number_ = 1;
  std::shared_ptr<const std::string> snapshot_, delta_;  // delta: from the state before; null where there is none
};

}  // namespace onebit::landing
