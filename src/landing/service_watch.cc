#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <cstring>

#include "landing/bus_watch.h"
#include "landing/system_bus.h"
#include "landing/words.h"
#include "server/await.h"

namespace onebit::landing {
namespace {

namespace asio = boost::asio;

constexpr const char* kSystemd = "org.freedesktop.systemd1";
constexpr const char* kManagerPath = "/org/freedesktop/systemd1";
constexpr const char* kManager = "org.freedesktop.systemd1.Manager";
constexpr const char* kPattern = "1bit-*.service";
constexpr size_t kMostUnits = 64;

/// One conversation with systemd.
class Units {
 public:
  explicit Units(std::function<void(ServiceState)> use) : use_(std::move(use)) {}

  /// Why there is none; empty where there is.
  std::string begin();
  asio::awaitable<std::string> serve() {
    const std::function<int()> work = [this] { return list(); };
    co_return co_await bus_.serve(work);
  }

 private:
  static int on_listed(sd_bus_message* reply, void* self, sd_bus_error* error);
  static int on_subscribed(sd_bus_message* reply, void* self, sd_bus_error* error);
  static int on_signal(sd_bus_message* signal, void* self, sd_bus_error* error);
  int list();
  int match(const std::string& what);
  void take(sd_bus_message* reply);

  std::function<void(ServiceState)> use_;
  bool listing_ = false, again_ = false;  // again: something changed while systemd was writing its list
  SystemBus bus_;                         // goes first: it calls the others
};

int Units::match(const std::string& what) {
  const auto rule = std::string("type='signal',sender='") + kSystemd + "'," + what;
  return sd_bus_add_match_async(bus_.get(), nullptr, rule.c_str(), on_signal, nullptr, this);
}

std::string Units::begin() {
  int result = bus_.open();
  if (result < 0) return bus_sentence("there is no system bus", result);
  for (const char* what : {"interface='org.freedesktop.systemd1.Manager',member='UnitNew'",
                           "interface='org.freedesktop.systemd1.Manager',member='UnitRemoved'",
                           "interface='org.freedesktop.DBus.Properties',member='PropertiesChanged',"
                           "path_namespace='/org/freedesktop/systemd1/unit',arg0='org.freedesktop.systemd1.Unit'"})
    if (result >= 0) result = match(what);
  if (result >= 0)
    result = sd_bus_call_method_async(bus_.get(), nullptr, kSystemd, kManagerPath, kManager, "Subscribe", on_subscribed,
                                      this, nullptr);
  if (result >= 0) result = list();
  return result < 0 ? bus_sentence("the system bus takes no requests", result) : std::string();
}

int Units::list() {
  again_ = listing_;
  if (std::exchange(listing_, true)) return 0;
  return sd_bus_call_method_async(bus_.get(), nullptr, kSystemd, kManagerPath, kManager, "ListUnitsByPatterns",
                                  on_listed, this, "asas", 0, 1, kPattern);
}

int Units::on_subscribed(sd_bus_message* reply, void* self, sd_bus_error*) {
  if (sd_bus_message_is_method_error(reply, nullptr) != 0)
    static_cast<Units*>(self)->bus_.lose("systemd is not on the system bus");
  return 0;
}

int Units::on_listed(sd_bus_message* reply, void* self, sd_bus_error*) {
  static_cast<Units*>(self)->take(reply);
  return 0;
}

void Units::take(sd_bus_message* reply) {
  listing_ = false;
  if (std::exchange(again_, false)) bus_.call_soon();
  if (sd_bus_message_is_method_error(reply, nullptr) != 0) {
    bus_.lose("systemd does not tell its units");
    return;
  }
  ServiceState state{.available = true, .reason = {}};
  const char *name = nullptr, *description = nullptr, *load = nullptr, *active = nullptr, *sub = nullptr;
  int result = sd_bus_message_enter_container(reply, 'a', "(ssssssouso)");
  while (result > 0 && state.units.size() < kMostUnits) {
    const char* rest[4];
    uint32_t job = 0;
    result = sd_bus_message_read(reply, "(ssssssouso)", &name, &description, &load, &active, &sub, &rest[0], &rest[1],
                                 &job, &rest[2], &rest[3]);
    if (result > 0) state.units.push_back({fit_to_show(name), fit_to_show(description), load, active, sub});
  }
  if (result < 0)
    bus_.lose(bus_sentence("systemd's list of units cannot be read", result));
  else
    use_(std::move(state));
}

/// Whatever it says of a unit of ours, the list is asked for again: one truth, and no message that could be missed.
int Units::on_signal(sd_bus_message* signal, void* self, sd_bus_error*) {
  const char* path = sd_bus_message_get_path(signal);
  const char* name = nullptr;
  bool ours = path != nullptr && std::strstr(path, "/unit/_31bit_2d") != nullptr;  // 1bit-, as paths write it
  if (!ours && sd_bus_message_read(signal, "s", &name) > 0) ours = std::strncmp(name, "1bit-", 5) == 0;
  if (ours) static_cast<Units*>(self)->bus_.call_soon();
  return 0;
}

}  // namespace

asio::awaitable<void> watch_services(std::function<void(ServiceState)> use) {
  asio::steady_timer pause(co_await asio::this_coro::executor);
  while (true) {
    ServiceState state;
    {
      Units units(use);
      state.reason = units.begin();
      if (state.reason.empty()) state.reason = co_await units.serve();
    }
    use(std::move(state));
    pause.expires_after(std::chrono::seconds(5));
    co_await pause.async_wait(server::kAwait);
  }
}

}  // namespace onebit::landing
