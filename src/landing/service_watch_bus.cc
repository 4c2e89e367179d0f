#include <poll.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <cstring>
#include <memory>

#include "landing/service_watch.h"
#include "server/await.h"

namespace onebit::landing {
namespace {

namespace asio = boost::asio;
using Clock = std::chrono::steady_clock;

constexpr const char* kSystemd = "org.freedesktop.systemd1";
constexpr const char* kManagerPath = "/org/freedesktop/systemd1";
constexpr const char* kManager = "org.freedesktop.systemd1.Manager";
constexpr const char* kPattern = "1bit-*.service";
constexpr std::chrono::milliseconds kGather{100};  // a start changes a unit several times
constexpr size_t kMostUnits = 64;

/// One connection to the bus. Its callbacks run within sd_bus_process(), that is in our coroutine.
class Bus {
 public:
  explicit Bus(std::function<void(ServiceState)> use) : use_(std::move(use)) {}
  Bus(const Bus&) = delete;
  Bus& operator=(const Bus&) = delete;
  ~Bus() { sd_bus_close_unref(bus_); }

  /// Why there is none; empty where there is.
  std::string open();
  sd_bus* get() const { return bus_; }
  /// Not empty once systemd cannot be asked any more.
  const std::string& lost() const { return lost_; }
  /// When the units are to be listed again; max() where nothing changed.
  Clock::time_point due() const { return listing_ ? Clock::time_point::max() : due_; }
  int list();

 private:
  static int on_listed(sd_bus_message* reply, void* self, sd_bus_error* error);
  static int on_subscribed(sd_bus_message* reply, void* self, sd_bus_error* error);
  static int on_signal(sd_bus_message* signal, void* self, sd_bus_error* error);
  int match(const std::string& what);
  void take(sd_bus_message* reply);

  std::function<void(ServiceState)> use_;
  sd_bus* bus_ = nullptr;
  std::string lost_;
  bool listing_ = false;
  Clock::time_point due_ = Clock::time_point::max();
};

std::string sentence(const char* what, int error) {
  return std::string(what) + ": " + std::strerror(error < 0 ? -error : error);
}

int Bus::match(const std::string& what) {
  const auto rule = std::string("type='signal',sender='") + kSystemd + "'," + what;
  return sd_bus_add_match_async(bus_, nullptr, rule.c_str(), on_signal, nullptr, this);
}

std::string Bus::open() {
  int result = sd_bus_open_system(&bus_);
  if (result < 0) return sentence("there is no system bus", result);
  for (const char* what : {"interface='org.freedesktop.systemd1.Manager',member='UnitNew'",
                           "interface='org.freedesktop.systemd1.Manager',member='UnitRemoved'",
                           "interface='org.freedesktop.DBus.Properties',member='PropertiesChanged',"
                           "path_namespace='/org/freedesktop/systemd1/unit',arg0='org.freedesktop.systemd1.Unit'"})
    if (result >= 0) result = match(what);
  if (result >= 0)
    result = sd_bus_call_method_async(bus_, nullptr, kSystemd, kManagerPath, kManager, "Subscribe", on_subscribed, this,
                                      nullptr);
  if (result >= 0) result = list();
  return result < 0 ? sentence("the system bus takes no requests", result) : std::string();
}

int Bus::list() {
  due_ = Clock::time_point::max();
  listing_ = true;
  return sd_bus_call_method_async(bus_, nullptr, kSystemd, kManagerPath, kManager, "ListUnitsByPatterns", on_listed,
                                  this, "asas", 0, 1, kPattern);
}

int Bus::on_subscribed(sd_bus_message* reply, void* self, sd_bus_error*) {
  if (sd_bus_message_is_method_error(reply, nullptr) != 0)
    static_cast<Bus*>(self)->lost_ = "systemd is not on the system bus";
  return 0;
}

int Bus::on_listed(sd_bus_message* reply, void* self, sd_bus_error*) {
  static_cast<Bus*>(self)->take(reply);
  return 0;
}

void Bus::take(sd_bus_message* reply) {
  listing_ = false;
  if (sd_bus_message_is_method_error(reply, nullptr) != 0) {
    lost_ = "systemd does not tell its units";
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
    if (result > 0) state.units.push_back({name, description, load, active, sub});
  }
  if (result < 0)
    lost_ = sentence("systemd's list of units cannot be read", result);
  else
    use_(std::move(state));
}

/// Whatever it says of a unit of ours, the list is asked for again: one truth, and no message that could be missed.
int Bus::on_signal(sd_bus_message* signal, void* self, sd_bus_error*) {
  auto* bus = static_cast<Bus*>(self);
  const char* path = sd_bus_message_get_path(signal);
  const char* name = nullptr;
  bool ours = path != nullptr && std::strstr(path, "/unit/_31bit_2d") != nullptr;  // 1bit-, as paths write it
  if (!ours && sd_bus_message_read(signal, "s", &name) > 0) ours = std::strncmp(name, "1bit-", 5) == 0;
  if (ours && bus->due_ == Clock::time_point::max()) bus->due_ = Clock::now() + kGather;
  return 0;
}

/// When sd-bus, or we, have something to do though nothing comes.
Clock::time_point next_moment(const Bus& bus) {
  uint64_t microseconds = UINT64_MAX;  // of CLOCK_MONOTONIC, as Clock is
  sd_bus_get_timeout(bus.get(), &microseconds);
  const auto bus_moment = microseconds >= uint64_t{INT64_MAX} / 1000
                              ? Clock::time_point::max()
                              : Clock::time_point(std::chrono::microseconds(microseconds));
  return std::min({bus_moment, bus.due(), Clock::now() + std::chrono::seconds(60)});
}

/// Until the bus is lost; returns why.
asio::awaitable<std::string> watch_once(std::function<void(ServiceState)> use) {
  const auto executor = co_await asio::this_coro::executor;
  Bus bus(std::move(use));
  auto wrong = bus.open();
  if (!wrong.empty()) co_return wrong;
  // A copy: the descriptor closes it, and the bus its own.
  asio::posix::stream_descriptor socket(executor, ::dup(sd_bus_get_fd(bus.get())));
  const auto timer = std::make_shared<asio::steady_timer>(executor);
  const auto waits = std::make_shared<std::pair<bool, bool>>();  // for reading, for writing
  while (true) {
    int more = 1;
    while (more > 0 && bus.lost().empty()) more = sd_bus_process(bus.get(), nullptr);
    if (more >= 0 && bus.lost().empty() && bus.due() <= Clock::now()) more = bus.list();
    if (more < 0) co_return sentence("the system bus is lost", more);
    if (!bus.lost().empty()) co_return bus.lost();
    timer->expires_at(next_moment(bus));
    const auto look = [&](auto kind, bool& waiting) {
      if (std::exchange(waiting, true)) return;
      socket.async_wait(kind, [timer, waits, &waiting](boost::system::error_code) {
        waiting = false;
        timer->cancel();
      });
    };
    look(asio::posix::descriptor_base::wait_read, waits->first);
    const int events = sd_bus_get_events(bus.get());
    if (events > 0 && (events & POLLOUT) != 0) look(asio::posix::descriptor_base::wait_write, waits->second);
    co_await timer->async_wait(server::kAwait);
  }
}

}  // namespace

asio::awaitable<void> watch_services(std::function<void(ServiceState)> use) {
  asio::steady_timer pause(co_await asio::this_coro::executor);
  while (true) {
    ServiceState state;
    state.reason = co_await watch_once(use);
    use(std::move(state));
    pause.expires_after(std::chrono::seconds(5));
    co_await pause.async_wait(server::kAwait);
  }
}

}  // namespace onebit::landing
