#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <memory>
#include <optional>

#include "landing/bus_watch.h"
#include "landing/system_bus.h"
#include "landing/words.h"
#include "server/await.h"

namespace onebit::landing {
namespace {

namespace asio = boost::asio;

/// power-profiles-daemon by its name of today, and by the one before 0.20. The interface is named as the daemon is.
struct PowerDaemon {
  const char *name, *path;
};
constexpr PowerDaemon kPowerDaemons[] = {
    {"org.freedesktop.UPower.PowerProfiles", "/org/freedesktop/UPower/PowerProfiles"},
    {"net.hadess.PowerProfiles", "/net/hadess/PowerProfiles"}};

/// One conversation with it.
class PowerProfile {
 public:
  explicit PowerProfile(std::function<void(std::optional<std::string>)> use) : use_(std::move(use)) {}

  /// False where there is no bus.
  bool begin();
  asio::awaitable<std::string> serve() {
    const std::function<int()> work = [this] { return ask(0); };
    co_return co_await bus_.serve(work);
  }

 private:
  static int on_change(sd_bus_message* signal, void* self, sd_bus_error* error);
  static int on_answer(sd_bus_message* reply, void* self, sd_bus_error* error);
  int match(const std::string& rule);
  int ask(size_t daemon);
  int take(sd_bus_message* reply);

  std::function<void(std::optional<std::string>)> use_;
  size_t asked_ = 0;
  bool asking_ = false, again_ = false;  // again: something changed meanwhile
  SystemBus bus_;                        // goes first: it calls the others
};

int PowerProfile::match(const std::string& rule) {
  return sd_bus_add_match_async(bus_.get(), nullptr, ("type='signal'," + rule).c_str(), on_change, nullptr, this);
}

bool PowerProfile::begin() {
  if (bus_.open() < 0) return false;
  for (const auto& daemon : kPowerDaemons) {
    const auto name = std::string(daemon.name);
    const auto properties = "sender='" + name + "',path='" + daemon.path +
                            "',interface='org.freedesktop.DBus.Properties',member='PropertiesChanged'";
    const auto owner = "sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='" + name + "'";
    if (match(properties) < 0 || match(owner) < 0) return false;
  }
  return ask(0) >= 0;
}

int PowerProfile::ask(size_t daemon) {
  if (daemon == 0) {
    again_ = asking_;
    if (std::exchange(asking_, true)) return 0;
  }
  asked_ = daemon;
  sd_bus_message* call = nullptr;
  int result = sd_bus_message_new_method_call(bus_.get(), &call, kPowerDaemons[daemon].name, kPowerDaemons[daemon].path,
                                              "org.freedesktop.DBus.Properties", "Get");
  const std::unique_ptr<sd_bus_message, decltype(&sd_bus_message_unref)> held(call, sd_bus_message_unref);
  if (result >= 0) result = sd_bus_message_set_auto_start(call, 0);
  if (result >= 0) result = sd_bus_message_append(call, "ss", kPowerDaemons[daemon].name, "ActiveProfile");
  return result < 0 ? result : sd_bus_call_async(bus_.get(), nullptr, call, on_answer, this, 0);
}

int PowerProfile::on_change(sd_bus_message* /*signal*/, void* self, sd_bus_error* /*error*/) {
  static_cast<PowerProfile*>(self)->bus_.call_soon();
  return 0;
}

int PowerProfile::on_answer(sd_bus_message* reply, void* self, sd_bus_error* /*error*/) {
  return static_cast<PowerProfile*>(self)->take(reply);
}

int PowerProfile::take(sd_bus_message* reply) {
  const char* word = nullptr;
  const bool told = sd_bus_message_is_method_error(reply, nullptr) == 0 &&
                    sd_bus_message_read(reply, "v", "s", &word) > 0 && *word != '\0';
  if (!told && asked_ + 1 < std::size(kPowerDaemons)) return ask(asked_ + 1);
  asking_ = false;
  if (std::exchange(again_, false)) bus_.call_soon();
  use_(told ? std::optional(fit_to_show(word)) : std::nullopt);
  return 0;
}

}  // namespace

asio::awaitable<void> watch_power_profile(std::function<void(std::optional<std::string>)> use) {
  asio::steady_timer pause(co_await asio::this_coro::executor);
  while (true) {
    {
      PowerProfile profile(use);
      if (profile.begin()) co_await profile.serve();
    }
    use(std::nullopt);
    pause.expires_after(std::chrono::seconds(5));
    co_await pause.async_wait(server::kAwait);
  }
}

}  // namespace onebit::landing
